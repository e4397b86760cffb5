"""The effect of a preprocessing step: one small network trained with and without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import config, training
from fer_utils.data import Dataset, preprocess, split
from fer_utils.runs import claims, store
from fer_utils.scores import SCORE

MODEL = "basic_cnn"


def run(
    dataset: Dataset,
    steps: dict[str, Callable[[np.ndarray], np.ndarray]],
    folder: Path,
    train_limit: int,
    epochs: int,
    seed: int = 0,
) -> dict[str, store.Run]:
    """A run of the Basic CNN for each step, on `train_limit` Training images (0: all).

    Selected and scored on the validation images of the common protocol, which are PublicTest (or a
    part of Training where there is none); the test images are left out of the data altogether.
    """
    parts = split(dataset, "official", seed)
    train, validation = parts["train"], parts["validation"]
    if 0 < train_limit < len(train):
        train = np.random.default_rng([seed, 1]).permutation(train)[:train_limit]
    part = dataset.take(np.concatenate([train, validation]))
    usage = np.repeat(["Training", "PublicTest"], [len(train), len(validation)])
    part = replace(part, usage=usage)
    limits: dict[str, Any] = {"epochs": epochs, "early_stopping": None}
    params = config.model(MODEL, **limits) | {"protocol": "publictest"}
    runs = {}
    for name, step in steps.items():
        place = folder / "".join(c if c.isalnum() else "_" for c in name)
        done = preprocess.apply(part, name, step)
        runs[name] = training.run(params, done, place, seed, say=lambda line: None)
        print(f"step {name}: accuracy {runs[name].test['accuracy']:.3f}")
    return runs


def of_one_class(runs: dict[str, store.Run]) -> list[str]:
    """The steps after which the network calls every image the same: trained too briefly to tell."""
    of = {name: run.predictions(run.metrics["protocol"]["test"]) for name, run in runs.items()}
    return [name for name, p in of.items() if len(set(p["probabilities"].argmax(axis=1))) == 1]


def table(runs: dict[str, store.Run]) -> pd.DataFrame:
    """Accuracy of each step with its interval, and the paired difference to the first, "none"."""
    plain, rows = next(iter(runs.values())), []
    for name, done in runs.items():
        score = [done.test[key] for key in SCORE]
        rows.append((name, *score, *claims.accuracy_difference(done, plain)))
    columns = "step n accuracy low high difference difference_low difference_high".split()
    return pd.DataFrame(rows, columns=columns)
