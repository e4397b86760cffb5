"""Figures of the data: counts, samples, statistics, balancing and preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fer_utils.plots.style import (
    EMOTION_COLOURS,
    FIRST,
    PART_COLOURS,
    SECOND,
    SPLIT_COLOURS,
    panels,
    picture,
)


def class_counts(counts: pd.DataFrame) -> Figure:
    """Bars of images per class and split; `counts` has classes as rows and splits as columns."""
    figure, [[axis]] = panels()
    splits = [name for name in SPLIT_COLOURS if name in counts]
    left = np.zeros(len(counts))
    for split in splits:
        axis.barh(counts.index, counts[split], left=left, color=SPLIT_COLOURS[split], label=split)
        left += counts[split].to_numpy()
    for row, total in enumerate(left):
        axis.annotate(f" {int(total):,}", (total, row), va="center")
    axis.invert_yaxis()
    axis.set_xlabel("images")
    axis.grid(axis="y", visible=False)
    axis.margins(x=0.1)
    axis.legend(loc="lower right")
    return figure


def sample_grid(dataset: Any, per_class: int = 8, seed: int = 0) -> Figure:
    """Random images of every class, one row a class."""
    rng = np.random.default_rng(seed)
    classes = dataset.classes
    size = (per_class, 1.02 * len(classes))
    figure, axes = panels(len(classes), per_class, size)
    for label, row in enumerate(axes):
        members = np.flatnonzero(dataset.labels == label)
        chosen = rng.choice(members, min(per_class, len(members)), replace=False)
        for axis in row:
            axis.set_axis_off()
        for axis, i in zip(row, chosen, strict=False):
            picture(axis, dataset.images[i])
        row[0].set_title(classes[label], fontsize=9)
    return figure


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


def distributions(statistics: pd.DataFrame, labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Box plots per class of the columns brightness, contrast and sharpness."""
    units = {
        "brightness": "brightness (mean grey, 0-255)",
        "contrast": "contrast (deviation of grey)",
        "sharpness": "sharpness (variance of Laplacian)",
    }
    figure, [axes] = panels(1, 3, (9, 3.2))
    names = np.array(classes)[labels]
    for axis, (column, unit) in zip(axes, units.items(), strict=True):
        sns.boxplot(
            x=statistics[column].to_numpy(), y=names, order=classes, hue=names, hue_order=classes,
            palette=EMOTION_COLOURS, showfliers=False, legend=False, ax=axis,
        )  # fmt: skip
        axis.set(xlabel=unit, ylabel="")
        axis.grid(axis="y", visible=False)
        if axis is not axes[0]:
            axis.set_yticklabels([])
    return figure


def before_after(plans: dict[str, pd.DataFrame], classes: Sequence[str]) -> Figure:
    """Images per class before (line) and after (bars) each balancing strategy."""
    figure, [axes] = panels(1, len(plans), (2.3 * len(plans), 3.3))
    for axis, (strategy, plan) in zip(axes, plans.items(), strict=True):
        axis.barh(range(len(classes)), plan["kept"], color=FIRST, label="originals")
        axis.barh(
            range(len(classes)), plan["added"], left=plan["kept"], color=SECOND, label="added"
        )
        axis.plot(plan["before"], range(len(classes)), "|", color="black", markersize=14,
                  markeredgewidth=2, label="before")  # fmt: skip
        axis.set_yticks(range(len(classes)), classes if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.set_title(strategy)
        axis.set_xlabel("images")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def pairs(originals: Sequence[np.ndarray], copies: Sequence[Sequence[np.ndarray]]) -> Figure:
    """Originals in the first column, their augmented copies beside them."""
    columns = 1 + max(len(row) for row in copies)
    figure, axes = panels(len(originals), columns, (1.1 * columns, 1.15 * len(originals)))
    for row, original, made in zip(axes, originals, copies, strict=True):
        for axis in row:
            axis.set_axis_off()
        picture(row[0], original)
        for axis, image in zip(row[1:], made, strict=False):
            picture(axis, image)
    axes[0][0].set_title("original", fontsize=9)
    axes[0][1].set_title("copies", fontsize=9)
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


def marked_faces(
    images: Sequence[np.ndarray],
    titles: Sequence[str],
    boxes: Sequence[Sequence[np.ndarray]] | None = None,
    points: Sequence[np.ndarray] | None = None,
    parts: dict[str, range] | None = None,
    columns: int = 7,
) -> Figure:
    """Images with boxes (left, top, width, height) and landmarks, each part in a colour."""
    columns = min(columns, max(1, len(images)))
    rows = max(1, -(-len(images) // columns))
    side = 1.3 if columns > 3 else 3.5
    width = max(side * columns, 4)
    legend_columns = 4 if width > 6 else 2
    legend = 2.4 / legend_columns if points is not None else 0.0
    size = width, 1.2 * side * rows + legend
    figure, axes = panels(rows, columns, size)
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
        picture(axis, image, titles[i])
        for left, top, width, height in boxes[i] if boxes is not None else ():
            if width:
                corner = (left - 0.5, top - 0.5)
                axis.add_patch(
                    plt.Rectangle(corner, width, height, fill=False, color="#009E73", linewidth=2)
                )
        for shape in points[i] if points is not None else ():
            for (name, part), colour in zip(parts.items(), PART_COLOURS, strict=True):
                axis.plot(*shape[part].T, ".-", color=colour, markersize=2, linewidth=1, label=name)
    if points is not None and len(images):
        handles, labels = axes.flat[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(
            unique.values(), unique.keys(), loc="outside lower center", ncols=legend_columns
        )
    return figure
