"""Figures of the study in one style; every function returns a Figure and touches no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from fer_utils.plots.style import (
    EMOTION_COLOURS,
    FIRST,
    PLAIN,
    SECOND,
    panels,
    picture,
)


def faces(images: Sequence[np.ndarray], titles: Sequence[str], columns: int = 7) -> Figure:
    """Images in rows of `columns`, each with its title."""
    rows = max(1, -(-len(images) // columns))
    height = 1.4 + 0.16 * max((title.count("\n") for title in titles), default=0)
    figure, axes = panels(rows, columns, (1.15 * columns, height * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        picture(axis, image, title)
    return figure


def stages(images: dict[str, np.ndarray], titles: Sequence[str]) -> Figure:
    """One row of images for each named stage, the same faces in every row."""
    count = len(titles)
    figure, axes = panels(len(images), count, (1.3 + 1.05 * count, 1.2 * len(images)))
    for row, (name, pictures) in zip(axes, images.items(), strict=True):
        for axis, image in zip(row, pictures, strict=True):
            picture(axis, image)
        row[0].text(-0.15, 0.5, name, transform=row[0].transAxes, ha="right", va="center")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9, fontweight="normal", loc="center")
    return figure


def confusion(score: dict[str, Any]) -> Figure:
    """Confusion matrix of a score record: counts, and the share of each label's images."""
    import seaborn as sns

    names, counts = list(score["per_class"]), np.array(score["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [
        [f"{n:,}\n{share:.0%}" for n, share in zip(*row, strict=True)]
        for row in zip(counts, shares, strict=True)
    ]
    figure, [[axis]] = panels(size=(1.6 + 0.82 * len(names), 1.1 + 0.62 * len(names)))
    sns.heatmap(
        shares, vmin=0, vmax=1, cmap="Blues", cbar=False, annot=texts, fmt="",
        annot_kws={"fontsize": 8}, xticklabels=names, yticklabels=names, ax=axis,
    )  # fmt: skip
    axis.tick_params(axis="x", rotation=30)
    axis.set(xlabel="prediction", ylabel="label")
    axis.grid(visible=False)
    return figure


def learning_curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Loss and accuracy by epoch in training and validation; the kept epoch is marked."""
    figure, axes = panels(1, 2, (9, 3.2))
    for axis, what in zip(axes[0], ("loss", "accuracy"), strict=True):
        for column, name, colour in (
            (what, "training", FIRST),
            (f"val_{what}", "validation", SECOND),
        ):
            axis.plot(history["epoch"], history[column], ".-", color=colour, label=name)
        axis.axvline(best_epoch, color="#888888", linewidth=1, linestyle=":")
        axis.annotate(
            f"kept: {best_epoch}", (best_epoch, 1), xycoords=("data", "axes fraction"),
            xytext=(3, -10), textcoords="offset points", fontsize=8, color="#555555",
        )  # fmt: skip
        axis.set_xlabel("epoch")
        axis.set_ylabel(what if what == "accuracy" else "loss (cross-entropy, nats)")
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes[0][1].yaxis.set_major_formatter(PercentFormatter(1))
    axes[0][0].legend()
    return figure


def mistakes(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Images with their label and the three leading predictions in percent; may be none."""
    rows = max(1, -(-len(images) // 6))
    figure, axes = panels(rows, 6, (9, 2.25 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, label, row in zip(axes.flat, images, labels, probabilities, strict=False):
        picture(axis, image, f"label: {classes[label]}")
        leading = np.argsort(-row, kind="stable")[:3]
        text = "\n".join(f"{classes[i]} {row[i]:.0%}" for i in leading)
        axis.text(0.5, -0.04, text, transform=axis.transAxes, ha="center", va="top", fontsize=8)
    return figure


def accuracy_bars(comparison: pd.DataFrame, claims: pd.DataFrame | None = None) -> Figure:
    """Test accuracy of each model's first seed with its 95 % interval, other seeds as circles.

    Diamonds are the papers' values, columns run and claimed of `claims`.
    """
    claims = pd.DataFrame(columns=["run", "claimed"]) if claims is None else claims
    table = comparison.sort_values("seed").drop_duplicates("run_id").sort_values("accuracy")
    others = comparison.drop(table.index)
    figure, [[axis]] = panels(size=(8, 1.3 + 0.42 * len(table)))
    errors = [table.accuracy - table.accuracy_low, table.accuracy_high - table.accuracy]
    axis.barh(table.title, table.accuracy, xerr=errors, color=PLAIN, height=0.6, capsize=4)
    printed = claims.merge(table, left_on="run", right_on="run_id")
    if len(others):
        circles = {"color": "black", "mfc": "white", "ms": 5, "label": "another seed"}
        axis.plot(others.accuracy, others.title, "o", **circles)
    if len(printed):
        diamonds = {"color": "black", "mec": "white", "ms": 8, "label": "claimed in the paper"}
        axis.plot(printed.claimed, printed.title, "D", **diamonds)
    for entry in table.itertuples():
        of = [entry.accuracy_high, *others.loc[others.run_id == entry.run_id, "accuracy"]]
        of += [c for c in printed.loc[printed.run == entry.run_id, "claimed"] if c < max(of) + 0.13]
        axis.annotate(f"   {entry.accuracy:.1%}", (max(of), entry.title), va="center")
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set_xlabel("accuracy on the test split, with 95 % interval")
    axis.grid(axis="y", visible=False)
    if len(others) or len(printed):
        axis.legend(loc="lower right")
    return figure


# classical systems


def explained_variance(ratios: np.ndarray, marks: Sequence[int]) -> Figure:
    """Cumulated share of variance by number of principal components; `marks` are labelled."""
    figure, [[axis]] = panels(size=(7, 3))
    total = np.cumsum(ratios)
    axis.plot(np.arange(1, len(total) + 1), total, color=FIRST)
    for count in (mark for mark in marks if mark <= len(total)):
        axis.plot(count, total[count - 1], "o", color=SECOND)
        axis.annotate(
            f"{count}: {total[count - 1]:.0%}", (count, total[count - 1]), xytext=(6, -12),
            textcoords="offset points",
        )  # fmt: skip
    axis.set(xlabel="principal components", ylabel="explained variance", ylim=(0, 1.02))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def scatter(points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Two principal components of images, coloured by class, with each class' mean as a cross."""
    figure, [[axis]] = panels(size=(7.5, 5))
    for label, name in enumerate(classes):
        own, colour = points[labels == label], EMOTION_COLOURS[name]
        axis.scatter(*own.T, s=6, color=colour, alpha=0.35, linewidths=0)
        axis.plot(*own.mean(axis=0), "P", color=colour, markersize=13, markeredgecolor="white",
                  label=name)  # fmt: skip
    axis.set(xlabel="first principal component", ylabel="second principal component")
    axis.legend(title="class mean", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def grid_scores(grid: pd.DataFrame) -> Figure:
    """Validation accuracy of every entry of a grid, the best one marked."""
    names = [c for c in grid if c not in ("val_accuracy", "seconds") and grid[c].nunique() > 1]
    table = grid.sort_values("val_accuracy", ascending=False, ignore_index=True).head(20)
    labels = [", ".join(f"{n} {row[n]}" for n in names) for _, row in table.iterrows()]
    figure, [[axis]] = panels(size=(8, 0.8 + 0.24 * len(table)))
    colours = [SECOND, *[FIRST] * (len(table) - 1)]
    axis.barh(labels, table["val_accuracy"], color=colours, height=0.65)
    for row, value in enumerate(table["val_accuracy"]):
        axis.annotate(f" {value:.1%}", (value, row), va="center", fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("accuracy on the validation split")
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.grid(axis="y", visible=False)
    return figure


# inside a network

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
        if kind in KINDS and not weighs:
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


def feature_maps(image: np.ndarray, maps: dict[str, np.ndarray], columns: int = 8) -> Figure:
    """The image, then the first channels of each layer, one row a layer, each in its own range."""
    figure, axes = panels(len(maps), columns + 1, (columns + 2.2, 1.1 * len(maps)))
    for axis in axes.flat:
        axis.set_axis_off()
    picture(axes[0][0], image)
    for row, (name, channels) in zip(axes, maps.items(), strict=True):
        height, width, count = channels.shape
        row[0].text(-0.1, 0.5, f"{name}\n{height}x{width}x{count}", fontsize=7,
                    transform=row[0].transAxes, ha="right", va="center")  # fmt: skip
        for axis, channel in zip(row[1:], np.moveaxis(channels, 2, 0), strict=False):
            axis.imshow(channel, cmap="viridis", interpolation="nearest")
    return figure


def filters(kernels: np.ndarray, columns: int = 16) -> Figure:
    """Kernels (n, k, k) in one common range, dark negative, light positive."""
    rows = -(-len(kernels) // columns)
    figure, axes = panels(rows, columns, (9, 0.62 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    top = float(np.abs(kernels).max()) or 1.0
    for axis, kernel in zip(axes.flat, kernels, strict=False):
        axis.imshow(kernel, cmap="gray", vmin=-top, vmax=top, interpolation="nearest")
    return figure
