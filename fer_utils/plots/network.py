"""Figures about a network itself: its layers, and what changes of its recipe bring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from fer_utils.plots import FIRST, SECOND, panels

KINDS = {
    "Conv2D": ("convolution", "#56B4E9"),
    "MaxPooling2D": ("max-pool", "#E69F00"),
    "GlobalAveragePooling2D": ("global average pooling", "#009E73"),
    "Dropout": ("dropout", "#BBBBBB"),
    "Dense": ("dense, softmax last", "#CC79A7"),
}


def architecture(network: Any) -> Figure:
    """The layers of a Keras network from left to right, as high as their maps, with channels.

    Arcs are sums with what lies before. Layers inside an arc's branch that weigh it, and those
    that keep shape and values apart (normalisation, activations), are not drawn.
    """
    boxes: list[tuple[str, int, int]] = []  # kind, side of the maps, channels
    arcs: list[tuple[int, int]] = []
    last: dict[str, int] = {}  # by layer, the box that its output belongs to
    for layer in network.layers:
        before = [last[name] for name in _inputs(layer) if name in last]
        kind, shape = type(layer).__name__, layer.output.shape
        weighs = len(shape) == 4 and shape[1] == 1  # squeeze and excitation
        if kind in KINDS and not weighs and not getattr(layer, "noise_shape", None):
            boxes.append((kind, shape[1] if len(shape) == 4 else 1, shape[-1]))
            last[layer.name] = len(boxes) - 1
        else:
            last[layer.name] = max(before, default=-1)
        if kind == "Add":
            arcs.append((min(before), max(before)))
    figure, [[axis]] = panels(size=(9, 2.9))
    shown: set[str] = set()
    for x, (kind, side, channels) in enumerate(boxes):
        name, colour = KINDS[kind]
        height = max(side, 4)
        label = None if name in shown else name
        axis.add_patch(Rectangle((x, -height / 2), 0.7, height, color=colour, label=label))
        shown.add(name)
        if kind in ("Conv2D", "Dense"):
            axis.text(x + 0.35, height / 2 + 1, f"{channels}", ha="center", va="bottom", fontsize=8)
        if side > 1 and (x == 0 or boxes[x - 1][1] != side):
            text = f"{side}x{side}"
            axis.text(x + 0.35, -height / 2 - 1, text, ha="center", va="top", fontsize=8)
    for start, end in arcs:
        top = max(boxes[i][1] for i in range(start, end + 1)) / 2 + 6
        axis.annotate(
            "", (end + 0.35, top), (start + 0.35, top),
            arrowprops={"arrowstyle": "-|>", "connectionstyle": "arc3,rad=-0.4", "color": "grey"},
        )  # fmt: skip
    axis.set_xlim(-0.3, len(boxes))
    axis.set_ylim(-32, 42)
    axis.set_axis_off()
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _inputs(layer: Any) -> list[str]:
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in tensors]


def gains(trials: pd.DataFrame) -> Figure:
    """Gain of each trial over the unchanged recipe, in points, with its 95 % interval."""
    table = trials[trials["gain"].notna()].sort_values("gain", ignore_index=True)
    figure, [[axis]] = panels(size=(8, 1.2 + 0.36 * max(1, len(table))))
    rows = np.arange(len(table))
    for row, entry in zip(rows, table.itertuples(), strict=True):
        axis.plot([entry.gain_low, entry.gain_high], [row, row], color=FIRST, linewidth=3)
        axis.plot(entry.gain, row, "o", color=FIRST)
    axis.axvline(0, color=SECOND, linewidth=1)
    several = table["seed"].nunique() > 1
    names = table["change"] + (", seed " + table["seed"].astype(str) if several else "")
    axis.set_yticks(rows, names)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{round(100 * share, 2):+g}"))
    # of the figure: the names leave the axis no room for it
    figure.supxlabel("points of PublicTest accuracy gained, with 95 % interval", fontsize="medium")
    axis.grid(axis="y", visible=False)
    return figure
