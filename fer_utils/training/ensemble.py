"""An ensemble: the mean of what finished runs predict, recorded like a run of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import config
from fer_utils.base import ResultError
from fer_utils.data import Dataset
from fer_utils.runs import store
from fer_utils.runs.store import NOTEBOOK_STUDY, VIEWS
from fer_utils.training.task import NO_EPOCHS, Task


def members(params: dict[str, Any], dataset: Dataset, study: str | Path) -> list[store.Run]:
    """The finished runs, all seeds, of the networks that a parameter file names.

    Those of the common protocol on these images in this order; ResultError if there are fewer than
    two. In the folder of notebooks that are opened by themselves two short ones are made instead.
    """
    names, task = params["members"], Task(params, dataset, 0)
    found = task.networks(study, names)
    if len(found) < 2 and store.study_folder(study) == store.study_folder(NOTEBOOK_STUDY):
        _examples(names[0], dataset, study)
        found = task.networks(study, names)
    if len(found) < 2:
        raise ResultError(
            f"{params['id']} needs two or more finished runs of {' or '.join(names)} on these "
            f"images in {study}, there are {len(found)}; run more of them, or more --seeds"
        )
    return found


def _examples(name: str, dataset: Dataset, study: str | Path) -> None:
    from fer_utils import training

    print(f"no two finished runs here: two of {name} are trained briefly, to have some")
    slim = {"filters": [8, 16]} if config.model(name)["builder"] == "fer_net" else None
    thin = config.model(name, options=slim, epochs=1)
    for seed in (0, 1):
        training.run(thin, dataset, study, seed)


def run(params: dict[str, Any], dataset: Dataset, study: str | Path, seed: int = 0) -> store.Run:
    """Average the members' probabilities, also those of several views, score and record them.

    ResultError if there are too few members or if they were not trained on the same images.
    """
    found, task = members(params, dataset, study), Task(params, dataset, seed)
    splits = list(dict.fromkeys(task.names.values()))
    counts = {run.metrics["model"].get("views") for run in found}
    several = len(counts) == 1 and None not in counts  # the same number of views of every member
    if several:
        views = [name + VIEWS for name in splits]
        splits += [name for name in views if all(name in run.metrics["scores"] for run in found)]
    predictions = {name: _mean(name, found) for name in splits}
    timing = [run.metrics["timing"] for run in found]
    engine = found[0].metrics["environment"]
    metrics = task.record(
        predictions,
        model=NO_EPOCHS
        | ({"views": counts.pop()} if several else {})
        | {
            "members": {run.place: run.metrics["timing"]["finished_at"] for run in found},
            "parameters": sum(run.metrics["model"]["parameters"] for run in found),
        },
        timing={
            "training_seconds": round(sum(each["training_seconds"] for each in timing), 3),
            "images_per_second": float(np.median([each["images_per_second"] for each in timing])),
            "stages": {},
        },
        engine={key: engine[key] for key in ("backend", "precision", "device")},
    )
    rules = {run.metrics["protocol"]["selected_on"] for run in found}
    chosen_by = " and ".join(sorted(rule for rule in rules if not rule.startswith("nothing")))
    metrics["protocol"]["selected_on"] = (
        f"{chosen_by}, of members" if chosen_by else "nothing, every member counts"
    )
    validation = metrics["protocol"]["validation"]
    scores = [run.metrics["scores"] for run in found]
    rows = {
        "member": [run.label for run in found],
        "accuracy": [of[validation]["accuracy"] for of in scores],
        "accuracy_views": [of.get(validation + VIEWS, {}).get("accuracy") for of in scores],
    }
    folder = store.run_folder(study, params["id"], seed)
    with store.locked(folder):
        return store.write_run(folder, metrics, pd.DataFrame(rows), predictions)


def _mean(split: str, runs: list[store.Run]) -> dict[str, np.ndarray]:
    try:
        parts = [run.predictions(split) for run in runs]
    except ResultError:
        parts = []
    if not parts or any(not np.array_equal(part["index"], parts[0]["index"]) for part in parts):
        places = ", ".join(run.place for run in runs)
        raise ResultError(
            f"{places}: not all have predictions of the whole of {split}; members are trained on "
            "the same images, without train_limit"
        )
    mean = np.mean([part["probabilities"] for part in parts], axis=0, dtype=np.float64)
    return parts[0] | {"probabilities": mean.astype(np.float32)}
