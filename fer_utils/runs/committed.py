"""FER-Net's weights in results/reference: where they are, and how they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fer_utils.base import ROOT, replacing
from fer_utils.runs import predictors, store

RUN = ROOT / "results" / "reference" / "runs" / "fer_net" / "seed_0"
FILE = "weights.npz"


def save(run: store.Run, folder: Path) -> Path:
    """Write a run's weights as weights.npz: kernels int8 with a scale for each filter.

    What is no kernel (biases, batch normalisation) stays float32.
    """
    import keras

    network = predictors.network(run)
    pixels = next(layer for layer in network.layers if isinstance(layer, keras.layers.Rescaling))
    arrays = {"scaling": np.array([pixels.scale, pixels.offset])}
    for i, weight in enumerate(network.get_weights()):
        if weight.ndim < 2:
            arrays[f"weight_{i}"] = weight
        else:
            scale = np.abs(weight).max(axis=tuple(range(weight.ndim - 1))) / 127
            scale[scale == 0] = 1
            arrays[f"weight_{i}"] = np.round(weight / scale).astype(np.int8)
            arrays[f"scale_{i}"] = scale
    with replacing(folder / FILE) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    return folder / FILE


def available() -> bool:
    """Are there committed weights in this checkout?"""
    return (RUN / FILE).is_file()
