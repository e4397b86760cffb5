"""Finished runs as predictors, and their speed under one setting."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fer_utils.base import ResultError
from fer_utils.runs.store import Run

if TYPE_CHECKING:
    import keras

BATCHES = (1, 256)  # images at once where speed is measured


def predictor(run: Run) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities float32 (n, classes) of images uint8 (n, 48, 48), by a run's saved model."""
    if (run.folder / "model.joblib").is_file():
        import joblib

        return joblib.load(run.folder / "model.joblib").predict
    return of_network(network(run))


def network(run: Run) -> keras.Model:
    """The saved network of a run; ResultError if the run has none."""
    if not (run.folder / "model.keras").is_file():
        raise ResultError(f"{run.folder}: no model.keras here; re-run the model")
    import keras

    return keras.models.load_model(run.folder / "model.keras", compile=False)


def of_network(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities float32 (n, classes) of images uint8 (n, 48, 48), by a network."""

    def predict(images: np.ndarray) -> np.ndarray:
        # batch by batch: Keras' own loop costs more than a small network on one image
        parts = range(0, len(images), max(BATCHES))
        inputs = (images[start : start + max(BATCHES), ..., None] for start in parts)
        return np.concatenate([network.predict_on_batch(part) for part in inputs])

    return predict
