"""Run folders made of chosen predictions, for tests of what is derived from records."""

import numpy as np
import pandas as pd

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils.runs import store
from fer_utils.scores import score_predictions

NAMES = {
    "official": ("Training", "PublicTest", "PrivateTest"),
    "publictest": ("Training", "PublicTest", "PublicTest"),
    "holdout": ("train", "validation", "PublicTest"),
    "kaggle": ("Training", "test", "test"),
    "pooled": ("train", "test", "test"),
}


def make_run(
    study, model="basic_cnn", correct=30, seed=0, synthetic=False, pixels="a" * 64, n=60,
    protocol="official", labels=None, predicted=None, history=None, options=None, totals=None,
    **training,
):  # fmt: skip
    """A run folder whose predictions are right for the first `correct` of n images of each split.

    `predicted` gives the predicted labels instead; true labels are 0, 1, ... over and over, or
    `labels`.
    """
    own = protocol if protocol == "official" else "paper"
    params = parameters.model(model, protocol=own)
    params["training"] |= training
    params["options"] = {**params.get("options", {}), **(options or {})}
    params.pop("from_scratch", None)
    classes = tuple(params.get("classes") or datasets.EMOTIONS)
    labels = np.arange(n) % len(classes) if labels is None else labels
    if predicted is None:
        predicted = np.where(np.arange(n) < correct, labels, (labels + 1) % len(classes))
    probabilities = np.full((n, len(classes)), 0.05, np.float32)
    probabilities[np.arange(n), predicted] = 0.7
    of = {"probabilities": probabilities, "labels": labels, "index": np.arange(n)}
    score = score_predictions(labels, probabilities, classes)
    train, validation, test = NAMES[protocol]
    metrics = {
        "schema_version": 1,
        "run_id": model,
        "seed": seed,
        "params": params,
        "data": {
            "kind": "csv", "source": "fer2013.csv", "sha256": "a" * 64, "pixels_sha256": pixels,
            "synthetic": synthetic, "counts": {"PrivateTest": {"anger": n}},
            "content_sha256": pixels,
            "totals": totals or {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589},
        },
        "protocol": {
            "name": protocol, "train": train, "validation": validation, "test": test,
            "classes": list(classes), "selected_on": "val_loss",
        },
        "environment": {
            "python": "3.12", "packages": {}, "backend": "tensorflow", "precision": "float32",
            "device": "cpu", "cores": 2, "processor": "a processor",
            "git_commit": "x", "training_version": 1,
        },
        "timing": {
            "training_seconds": 1.0, "images_per_second": 10.0, "stages": {},
            "peak_memory_mb": 1, "finished_at": f"2026-01-0{1 + seed}T00:00:00+00:00",
        },
        "model": {"parameters": 5, "epochs_run": 1, "best_epoch": 1, "stopped_early": False},
        "scores": dict.fromkeys((train, validation, test), score),
    }  # fmt: skip
    if history is None:
        history = {
            "epoch": [1], "loss": [1.0], "accuracy": [0.5], "val_loss": [1.0],
            "val_accuracy": [0.6], "seconds": [1.0],
        }  # fmt: skip
    metrics["model"]["epochs_run"] = len(history["epoch"])
    metrics["timing"]["training_seconds"] = float(sum(history.get("seconds", [1.0])))
    folder = store.run_folder(study, model, seed, protocol)
    splits = dict.fromkeys((train, validation, test), of)
    return store.write_run(folder, metrics, pd.DataFrame(history), splits)
