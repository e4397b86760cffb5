"""Figures of the study in one style; every function returns a Figure and touches no file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

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
FIRST, SECOND = "#0072B2", "#D55E00"

STYLE = {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.hashsalt": "fer-study",
}


def use_style() -> None:
    """Give this session's figures the look of the study."""
    plt.rcParams.update(STYLE)


def _figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (8, 3.4)) -> Any:
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    plt.close(figure)  # the notebook shows it when told to, not by itself
    return figure, axes


def _picture(axis: Any, image: np.ndarray, title: str = "", colour: str = "black") -> None:
    axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_axis_off()
    if title:
        axis.set_title(title, fontsize=8, color=colour, loc="center", fontweight="normal")


def class_counts(counts: pd.DataFrame) -> Figure:
    """Bars of images per class and split; `counts` has classes as rows and splits as columns."""
    figure, [[axis]] = _figure()
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
    figure, axes = _figure(len(classes), per_class, size)
    for label, row in enumerate(axes):
        members = np.flatnonzero(dataset.labels == label)
        chosen = rng.choice(members, min(per_class, len(members)), replace=False)
        for axis in row:
            axis.set_axis_off()
        for axis, i in zip(row, chosen, strict=False):
            _picture(axis, dataset.images[i])
        row[0].set_title(classes[label], fontsize=9)
    return figure


def faces(images: Sequence[np.ndarray], titles: Sequence[str], columns: int = 7) -> Figure:
    """Images in rows of `columns`, each with its title."""
    rows = max(1, -(-len(images) // columns))
    figure, axes = _figure(rows, columns, (1.15 * columns, 1.4 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        _picture(axis, image, title)
    return figure


def distributions(statistics: pd.DataFrame, labels: np.ndarray, classes: Sequence[str]) -> Figure:
    """Box plots per class of the columns brightness, contrast and sharpness."""
    units = {
        "brightness": "brightness (mean grey, 0-255)",
        "contrast": "contrast (deviation of grey)",
        "sharpness": "sharpness (variance of Laplacian)",
    }
    figure, [axes] = _figure(1, 3, (9, 3.2))
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


def heatmap(table: pd.DataFrame, rows: str, columns: str, title: str = "") -> Figure:
    """Counts with the share of their row as shade and second line; a confusion matrix, say."""
    counts = table.to_numpy(dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width = 1.6 + 0.82 * counts.shape[1]
    figure, [[axis]] = _figure(size=(width, 1.1 + 0.62 * len(counts)))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        axis.text(
            column, row, f"{int(counts[row, column]):,}\n{share:.0%}", ha="center", va="center",
            fontsize=8, color="white" if share > 0.5 else "black",
        )  # fmt: skip
    axis.set_xticks(range(counts.shape[1]), table.columns, rotation=30, ha="right")
    axis.set_yticks(range(len(counts)), table.index)
    axis.set_xlabel(columns)
    axis.set_ylabel(rows)
    axis.grid(visible=False)
    axis.set_title(title)
    return figure


def confusion(score: dict[str, Any], title: str = "") -> Figure:
    """Confusion matrix of a score record, counts and row shares."""
    names = list(score["per_class"])
    table = pd.DataFrame(score["confusion"], index=names, columns=names)
    return heatmap(table, "label", "prediction", title)


def learning_curves(history: pd.DataFrame, best_epoch: int) -> Figure:
    """Loss and accuracy by epoch in training and validation; the kept epoch is marked."""
    figure, axes = _figure(1, 2, (9, 3.2))
    for axis, what in zip(axes[0], ("loss", "accuracy"), strict=True):
        for column, name, colour in (
            (what, "training (augmented)", FIRST),
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
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0][1].yaxis.set_major_formatter(PercentFormatter(1))
    axes[0][0].legend()
    return figure


def mistakes(
    images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Figure:
    """Images with their label and the three leading predictions in percent; may be none."""
    rows = max(1, -(-len(images) // 6))
    figure, axes = _figure(rows, 6, (9, 2.25 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image, label, row in zip(axes.flat, images, labels, probabilities, strict=False):
        _picture(axis, image, f"label: {classes[label]}")
        leading = np.argsort(-row, kind="stable")[:3]
        text = "\n".join(f"{classes[i]} {row[i]:.0%}" for i in leading)
        axis.text(0.5, -0.04, text, transform=axis.transAxes, ha="center", va="top", fontsize=8)
    return figure


def accuracy_bars(comparison: pd.DataFrame, claims: pd.DataFrame) -> Figure:
    """Test accuracy of every run with its 95 % interval, and the papers' values as diamonds."""
    table = comparison.sort_values("accuracy", ignore_index=True)
    figure, [[axis]] = _figure(size=(8, 1.3 + 0.5 * len(table)))
    names = [f"{row.title}, seed {row.seed}" for row in table.itertuples()]
    errors = [table.accuracy - table.accuracy_low, table.accuracy_high - table.accuracy]
    axis.barh(names, table.accuracy, xerr=errors, color=FIRST, height=0.55, capsize=4)
    for row, entry in enumerate(table.itertuples()):
        axis.annotate(f"  {entry.accuracy:.1%}", (entry.accuracy_high, row), va="center")
        claimed = claims.loc[claims.run == entry.run_id, "claimed"]
        axis.plot(
            claimed, [row] * len(claimed), "D", color=SECOND, label="claimed" if row == 0 else None
        )
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set_xlabel("accuracy on the test split (bars: measured, with 95 % interval)")
    axis.grid(axis="y", visible=False)
    return figure


def before_after(plans: dict[str, pd.DataFrame], classes: Sequence[str]) -> Figure:
    """Images per class before (line) and after (bars) each balancing strategy."""
    figure, [axes] = _figure(1, len(plans), (2.3 * len(plans), 3.3))
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
    figure, axes = _figure(len(originals), columns, (1.1 * columns, 1.15 * len(originals)))
    for row, original, made in zip(axes, originals, copies, strict=True):
        for axis in row:
            axis.set_axis_off()
        _picture(row[0], original)
        for axis, image in zip(row[1:], made, strict=False):
            _picture(axis, image)
    axes[0][0].set_title("original", fontsize=9)
    axes[0][1].set_title("copies", fontsize=9)
    return figure
