"""Colours, style and panels of every figure."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

FIRST, SECOND = "#0072B2", "#D55E00"
PLAIN = "#8794A1"  # of bars that mean the same thing
# Okabe and Ito 2008: told apart by colour-blind readers; one emotion, one colour, throughout
EMOTION_COLOURS = {
    "anger": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happiness": "#E69F00",
    "sadness": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#6B6B6B",
}

SPLIT_COLOURS = {"Training": "#0072B2", "PublicTest": "#E69F00", "PrivateTest": "#009E73"}

# the study's systems in the order of its tables
MODEL_COLOURS = {
    "basic_cnn": "#56B4E9",
    "deep_cnn": "#0072B2",
    "resnet50": "#332288",
    "six_layer_cnn": "#E69F00",
    "dcnn_three_class": "#CC79A7",
    "heavy_cnn": "#D55E00",
    "light_cnn": "#F0A080",
    "pipeline_cnn": "#009E73",
    "pca_knn": "#999999",
    "hog_svm": "#555555",
    "fer_net": "#882255",
    "fer_net_large": "#AA4499",
    "fer_net_ensemble": "#661100",
}

OTHER_COLOURS = ("#44AA99", "#117733", "#DDCC77", "#BB4466", "#6699CC")  # of a user's own models


VERDICT_COLOURS = {
    "reproduced": "#00775A", "holds": "#4DA88F", "higher": "#0072B2", "lower": "#C75000",
    "does not hold": "#8C2D19", "holds for some seeds": "#A67C00", "depends on": "#A0568A",
    "not tested": "#8A8A8A",
}  # fmt: skip


def use_style() -> None:
    """Give this session's figures the look of the study."""
    plt.style.use(Path(__file__).with_name("matplotlibrc"))


def model_colour(run_id: str) -> str:
    """The colour of a model in every figure."""
    other = OTHER_COLOURS[zlib.crc32(run_id.encode()) % len(OTHER_COLOURS)]
    return MODEL_COLOURS.get(run_id, other)


def panels(rows: int = 1, columns: int = 1, size: tuple[float, float] = (8, 3.4)) -> Any:
    """A figure of rows x columns axes (always a grid), size in inches."""
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    plt.close(figure)  # the notebook shows it when told to, not by itself
    return figure, axes


def picture(axis: Any, image: np.ndarray, title: str = "") -> None:
    """Draw a grey image, 0 to 255, with a small title."""
    axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_axis_off()
    if title:
        axis.set_title(title, fontsize=8, loc="center", fontweight="normal")
