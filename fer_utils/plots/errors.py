"""Figures of the errors chapter, in the style of `plots`; every function returns a Figure."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_utils.plots import EMOTION_COLOURS, FIRST, model_colour, panels, picture


def right_answers(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Images, each beside the bars of its class probabilities, the label's bar in its colour."""
    columns = 4
    rows = max(1, -(-len(images) // columns))
    figure, axes = panels(rows, 2 * columns, (10.5, 1.6 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (image, label, row) in enumerate(zip(images, labels, probabilities, strict=True)):
        left, bars = axes.flat[2 * i], axes.flat[2 * i + 1]
        picture(left, image, classes[label])
        bars.set_axis_on()
        colours = ["#BBBBBB"] * len(classes)
        colours[label] = EMOTION_COLOURS.get(classes[label], FIRST)
        bars.barh(range(len(classes)), row, color=colours)
        bars.set_yticks(range(len(classes)), [str(c) for c in classes], fontsize=7)
        bars.set_xlim(0, 1)
        bars.set_xticks([0, 1], ["0", "100 %"], fontsize=7)
        bars.invert_yaxis()
        bars.grid(visible=False)
    return figure


def heat_maps(images: np.ndarray, heats: np.ndarray, titles: Sequence[str]) -> Figure:
    """Images above themselves with heat (n, 48, 48), from 0 to 1, laid over them."""
    columns = min(8, max(1, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure, axes = panels(2 * rows, columns, (1.3 * columns, 2.9 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (image, heat, title) in enumerate(zip(images, heats, titles, strict=True)):
        row, column = 2 * (i // columns), i % columns
        picture(axes[row][column], image, title)
        picture(axes[row + 1][column], image)
        axes[row + 1][column].imshow(heat, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
    return figure


def reliability(tables: dict[str, pd.DataFrame]) -> Figure:
    """Accuracy against confidence, a panel for each table of `certainty.calibration`."""
    figure, axes = panels(1, len(tables), (3.3 * len(tables), 3.3))
    for axis, (name, table) in zip(axes[0], tables.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="#888888", linewidth=1)
        axis.annotate("as sure as right", (0.03, 0.08), rotation=45, fontsize=8, color="#666666")
        spans = [table.accuracy - table.accuracy_low, table.accuracy_high - table.accuracy]
        axis.errorbar(table.confidence, table.accuracy, spans, fmt="o-", color=FIRST, capsize=3)
        axis.set(xlim=(0, 1), ylim=(0, 1), title=name, xlabel="confidence")
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(PercentFormatter(1, 0))
    axes[0][0].set_ylabel("share right")
    return figure


def lines(
    tables: dict[str, pd.DataFrame], x: str, y: str, labels: tuple[str, str], names: dict[str, str]
) -> Figure:
    """One line for each model (by run id), its name at the line's end; `labels` of the axes."""
    figure, [[axis]] = panels(size=(8, 4))
    ends = []
    for run_id, table in tables.items():
        axis.plot(table[x], table[y], color=model_colour(run_id))
        ends.append((float(table[y].iloc[-1]), float(table[x].iloc[-1]), run_id))
    step = 0.045 * (axis.get_ylim()[1] - axis.get_ylim()[0])
    place = -np.inf
    for value, end, run_id in sorted(ends):  # names apart from each other
        place = max(value, place + step)
        axis.annotate(
            f" {names[run_id]}", (end, place), color=model_colour(run_id), va="center", fontsize=8,
            annotation_clip=False,
        )  # fmt: skip
    axis.set(xlabel=labels[0], ylabel=labels[1])
    axis.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axis.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axis.margins(x=0)
    return figure


def robustness(tables: dict[str, pd.DataFrame], names: dict[str, str]) -> Figure:
    """Accuracy by strength, a panel for each corruption, a line for each model (by run id)."""
    kinds = list(dict.fromkeys(next(iter(tables.values()))["kind"]))
    columns = min(4, len(kinds))
    rows = -(-len(kinds) // columns)
    figure, axes = panels(rows, columns, (2.4 * columns, 2.3 * rows + 0.5))
    for axis in axes.flat[len(kinds) :]:
        axis.set_axis_off()
    for i, (axis, kind) in enumerate(zip(axes.flat, kinds, strict=False)):
        for run_id, table in tables.items():
            part = table[table["kind"] == kind]
            axis.plot(
                part["strength"], part["accuracy"], "o-", markersize=3,
                color=model_colour(run_id), label=names[run_id],
            )  # fmt: skip
        axis.set(title=kind, ylim=(0, 1), xticks=range(6))
        axis.yaxis.set_major_formatter(PercentFormatter(1, 0))
        if i // columns == rows - 1 or i + columns >= len(kinds):
            axis.set_xlabel("strength")
    axes[0][0].set_ylabel("accuracy")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def by_property(tables: dict[str, pd.DataFrame], names: dict[str, str]) -> Figure:
    """Accuracy with its interval in five parts of the images, from a property's lowest to highest.

    `tables` of `errors.by_fifth`, by run id.
    """
    properties = list(dict.fromkeys(next(iter(tables.values()))["property"]))
    step = 0.12  # the models side by side, for their intervals not to cover each other
    figure, axes = panels(1, len(properties), (2.5 * len(properties), 3))
    for axis, name in zip(axes[0], properties, strict=True):
        for k, (run_id, table) in enumerate(tables.items()):
            part = table[table["property"] == name]
            values, places = part["accuracy"], part["part"] + step * (k - (len(tables) - 1) / 2)
            axis.errorbar(
                places, values, [values - part["accuracy_low"], part["accuracy_high"] - values],
                fmt="o-", markersize=3, capsize=2, color=model_colour(run_id), label=names[run_id],
            )  # fmt: skip
        axis.set(title=name, xticks=[1, 5], xticklabels=["lowest\nfifth", "highest\nfifth"])
        axis.yaxis.set_major_formatter(PercentFormatter(1, 0))
    axes[0][0].set_ylabel("accuracy")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def photo_faces(
    photo: np.ndarray, boxes: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """A photo with its numbered faces, and below it the class probabilities of each face."""
    columns = max(1, min(4, len(boxes)))
    rows = -(-len(boxes) // columns)
    figure = plt.figure(figsize=(8, 4.5 + 1.7 * rows))
    plt.close(figure)
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[3] + [1] * rows)
    whole = figure.add_subplot(grid[0, :])
    picture(whole, photo)
    for number, (x, y, w, h) in enumerate(boxes, 1):
        whole.add_patch(plt.Rectangle((x, y), w, h, fill=False, color="#009E73", linewidth=2))
        whole.annotate(str(number), (x, y), color="white", backgroundcolor="#00664B", fontsize=9)
        place = divmod(number - 1, columns)
        axis = figure.add_subplot(grid[1 + place[0], place[1]])
        colours = [EMOTION_COLOURS.get(c, FIRST) for c in classes]
        axis.barh(range(len(classes)), probabilities[number - 1], color=colours)
        axis.set_yticks(range(len(classes)), classes, fontsize=7)
        axis.set(xlim=(0, 1), title=f"face {number}")
        axis.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axis.invert_yaxis()
    return figure
