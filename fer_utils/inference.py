"""Finished runs as predictors, and their speed under one setting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fer_utils import devices, export
from fer_utils.results import ResultError, Run, read_run

if TYPE_CHECKING:
    import keras

BATCHES = (1, 256)  # images at once where speed is measured


def predictor(run: Run) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities float32 (n, classes) of images uint8 (n, 48, 48), by a run's saved model."""
    if (run.folder / "model.joblib").is_file():
        import joblib

        return joblib.load(run.folder / "model.joblib").predict
    if run.metrics["model"].get("members"):
        parts = [predictor(member) for member in members(run)]
        return lambda images: np.mean([predict(images) for predict in parts], axis=0)
    return of_network(network(run))


def members(run: Run) -> list[Run]:
    """The runs that an ensemble averages; ResultError if one was trained again since."""
    told, study = run.metrics["model"]["members"], run.folder.resolve().parents[2]
    runs = [read_run(study / place) for place in told]
    if any(member.metrics["timing"]["finished_at"] != told[member.place] for member in runs):
        raise ResultError(
            f"{run.folder}: its members were trained again since; --only "
            f"{run.metrics['run_id']} averages them anew"
        )
    return runs


def network(run: Run) -> keras.Model:
    """The saved network of a run; ResultError if the run has none."""
    if not (run.folder / "model.keras").is_file():
        raise ResultError(f"{run.folder}: no model.keras here; re-run the model")
    import keras

    devices.quiet()
    return keras.models.load_model(run.folder / "model.keras", compile=False)


def of_network(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities float32 (n, classes) of images uint8 (n, 48, 48), by a network."""

    def predict(images: np.ndarray) -> np.ndarray:
        # batch by batch: Keras' own loop costs more than a small network on one image
        parts = range(0, len(images), max(BATCHES))
        inputs = (images[start : start + max(BATCHES), ..., None] for start in parts)
        return np.concatenate([network.predict_on_batch(part) for part in inputs])

    return predict


def speeds(
    runs: list[Run],
    images: np.ndarray,
    seconds: float = 1.0,
    batches: Sequence[int] = BATCHES,
) -> pd.DataFrame:
    """Images per second and file size of each run, one after the other on the same images.

    A row for each form of a run, as it was saved and as it was exported; a column `batch_N` for
    each batch size N, the median of the calls, at most 25, that `seconds` allow after a first one,
    which is not counted. ValueError for a batch that is not 1 to 256 images.
    """
    if not all(1 <= batch <= max(BATCHES) for batch in batches):
        raise ValueError(f"batch sizes are {list(batches)} but must be 1 to {max(BATCHES)}")
    rows = []
    for run in runs:
        for form, name, there in (
            ("Keras", "model.keras", (run.folder / "model.keras").is_file()),
            ("scikit-learn", "model.joblib", (run.folder / "model.joblib").is_file()),
            ("TensorFlow Lite, int8", export.FILE, export.read(run)),
        ):
            if not there:
                continue
            path = run.folder / name
            row = {"run_id": run.metrics["run_id"], "seed": run.metrics["seed"], "form": form}
            row["megabytes"] = round(path.stat().st_size / 1e6, 2)
            predict = export.predictor(path) if path.suffix == ".tflite" else predictor(run)
            rows.append(row | {f"batch_{b}": _speed(predict, images, b, seconds) for b in batches})
    return pd.DataFrame(rows)


def _speed(predict: Callable, images: np.ndarray, batch: int, seconds: float) -> float:
    inputs = np.resize(images, (batch, 48, 48))
    predict(inputs)  # builds graphs and buffers
    taken: list[float] = []
    while not taken or (sum(taken) < seconds and len(taken) < 25):
        start = time.perf_counter()
        predict(inputs)
        taken.append(time.perf_counter() - start)
    return round(batch / float(np.median(taken)), 1)
