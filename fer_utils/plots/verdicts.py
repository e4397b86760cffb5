"""All claims of the papers against all measurements, on one screen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer_utils.plots.style import VERDICT_COLOURS, panels

FAR = 0.06  # points farther than this from the printed value get a name


def claims(verdicts: pd.DataFrame) -> Figure:
    """Above, claimed and measured shares with their intervals; below, the verdicts by paper.

    `verdicts` is a table of verdicts.csv. Losses, epochs and statements are counted below alone.
    """
    words = verdicts["verdict"].where(
        ~verdicts["verdict"].str.startswith("depends on"), "depends on"
    )
    table = verdicts.assign(word=words)
    papers = list(dict.fromkeys(table["paper"]))
    figure, axes = panels(2, 1, (4.2, 4.8 + 0.3 * len(papers)))
    _values(axes[0][0], table)
    _counts(axes[1][0], table, papers)
    axes[0][0].set_box_aspect(0.95)
    axes[1][0].set_box_aspect((0.33 * len(papers) + 0.1) / 3)
    handles, labels = axes[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _values(axis, table: pd.DataFrame) -> None:
    percent = table["printed"].fillna("").str.contains("%| of ")
    number = table["measure"].str.contains("^(?:precision|recall|f1|macro|weighted)", na=False)
    shown = table[(percent | number) & table["measured"].notna() & table["claimed"].notna()]
    axis.plot([0, 1], [0, 1], color="#AAAAAA", linewidth=1, zorder=0)
    named = []
    for row in shown.itertuples():
        colour = VERDICT_COLOURS[row.word]
        last = row.claimed if pd.isna(row.up_to) else row.up_to
        x = (row.claimed + last) / 2
        axis.plot([row.claimed, last], [row.measured] * 2, color=colour, linewidth=1)
        axis.plot([x, x], [row.low, row.high], color=colour, linewidth=1.5, alpha=0.6)
        axis.plot(x, row.measured, "o", color=colour, markersize=4, zorder=4)
        if row.word != "reproduced" and abs(row.measured - x) > FAR:
            named.append((row.measured, x, row.claim, colour))
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="printed in the paper", ylabel="measured")
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    _names(axis, named)


def _names(axis, named: list[tuple[float, float, str, str]]) -> None:
    """Name points in the empty corners, above the diagonal at the left, below it at the right."""
    for above in (True, False):
        some = sorted((each for each in named if (each[0] > each[1]) == above), reverse=True)
        place = 0.96 if above else min(0.5, 0.058 * len(some) - 0.01)
        for y, x, text, colour in some:
            short = text if len(text) <= 27 else text[:26].rsplit(" ", 1)[0] + " ..."
            axis.annotate(
                short, (x, y), xytext=(0.02 if above else 0.99, place), color=colour, fontsize=7.5,
                ha="left" if above else "right", va="center",
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "alpha": 0.5},
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6}, zorder=3,
            )  # fmt: skip
            place -= 0.058


def _counts(axis, table: pd.DataFrame, papers: list[str]) -> None:
    counts = pd.crosstab(table["paper"], table["word"]).reindex(papers)
    left = np.zeros(len(papers))
    for word, colour in VERDICT_COLOURS.items():
        if word not in counts:
            continue
        number = counts[word].to_numpy()
        label = f"{word} ({number.sum()})"
        bars = axis.barh(papers, number, left=left, color=colour, height=0.75, label=label)
        axis.bar_label(bars, [n or "" for n in number], label_type="center", color="white",
                       fontsize=8, fontweight="bold")  # fmt: skip
        left += number
    axis.invert_yaxis()
    axis.set_xlabel(f"{len(table)} claims by verdict")
    axis.grid(visible=False)
    axis.tick_params(axis="y", labelsize=8)
