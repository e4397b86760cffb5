"""The first screen: what the tables of a study, or of the reference, say of the papers."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from fer_utils import plots
from fer_utils.base import ROOT, ResultError
from fer_utils.runs import claims
from fer_utils.runs.store import Run

REFERENCE = ROOT / "results" / "reference"
OWN = ("this study", "baseline")  # the "paper" of systems that no paper describes
BASELINE, OURS = "hog_svm", "fer_net"
FILES = {"comparison": "compare", "verdicts": "compare", "mcnemar_without_known": "errors"}
CLAIMS = "Above, printed shares and what was measured; below, the verdicts on all claims by paper"
COMMON = (
    "Accuracy of all models on PrivateTest without the images that also occur in Training; the "
    "number is the mean of the seeds"
)


class Study:
    """The tables and records of a finished study: `comparison`, `verdicts`, `pairs`, `runs`.

    `pairs` are differences of accuracy on the same images, without duplicates of training images.
    """

    def __init__(self, folder: str | Path = REFERENCE):
        self.folder = Path(folder)
        self.comparison, self.verdicts, self.pairs = (
            pd.read_csv(self.file(name)) for name in FILES
        )
        paths = sorted(self.folder.glob("runs/*/seed_*/**/metrics.json"), key=lambda p: p.parent)
        self.runs = [Run(p.parent, json.loads(p.read_text(encoding="utf-8"))) for p in paths]

    def file(self, name: str) -> Path:
        """A table's CSV file; ResultError without it."""
        for path in (self.folder / FILES[name] / f"{name}.csv", self.folder / f"{name}.csv"):
            if path.is_file():
                return path
        raise ResultError(f"{self.folder}: there is no {name}.csv; run the chapter {FILES[name]}")

    @cached_property
    def printed(self) -> pd.DataFrame:
        """The test accuracies that papers print and a run tests, the highest first."""
        rows = self.verdicts.query("measure == 'accuracy' and verdict != 'not tested'")
        rows = rows[rows["measured"].notna()]
        titles = self.comparison.drop_duplicates("run_id").set_index("run_id")["title"]
        rows = rows.assign(title=rows["run_id"].map(titles))
        return rows.sort_values("claimed", ascending=False, ignore_index=True)

    @cached_property
    def common(self) -> pd.DataFrame:
        """One row per run of all seven classes under the common protocol, the best model first."""
        rows = self.comparison.query("protocol == 'official' and classes == 7")
        rows = rows.dropna(subset="accuracy_not_in_training")
        mean = rows.groupby("run_id")["accuracy_not_in_training"].transform("mean")
        rows = rows.assign(mean=mean, own=rows["paper"].isin(OWN))
        return rows.sort_values(["mean", "run_id", "seed"], ascending=[False, True, True])

    @cached_property
    def images(self) -> int:
        """How many PrivateTest images are left without duplicates."""
        scores = [run.metrics["scores"].get("PrivateTest_not_in_training") for run in self.runs]
        return max((score["n"] for score in scores if score), default=0)

    def pair(self, first: str, second: str) -> dict[str, float]:
        """Accuracy of one title minus that of another on the same images: value, low, high."""
        for row in self.pairs.to_dict("records"):
            if (row["first"], row["second"]) == (first, second):
                return {"value": row["difference"], "low": row["low"], "high": row["high"]}
            if (row["first"], row["second"]) == (second, first):
                return {"value": -row["difference"], "low": -row["high"], "high": -row["low"]}
        return {}

    @cached_property
    def misleading(self) -> dict[str, Any]:
        """The two models whose printed difference is the farthest from that on the same images."""
        claimed = self.printed.set_index("title")["claimed"]
        pairs = self.pairs[self.pairs[["first", "second"]].isin(claimed.index).all(axis=1)]
        if pairs.empty:
            return {}
        gaps = pairs["first"].map(claimed) - pairs["second"].map(claimed)
        both = pairs.loc[(gaps - pairs["difference"]).abs().idxmax(), ["first", "second"]]
        above, below = sorted(both, key=claimed.get, reverse=True)
        printed = claimed[above] - claimed[below]
        return {"above": above, "below": below, "printed": printed} | self.pair(above, below)

    @cached_property
    def fair(self) -> dict[str, Any]:
        """The best of the papers' networks, its difference to the classical baseline, the rest."""
        first = self.common.drop_duplicates("run_id").set_index("title")
        (baseline,) = first.index[first["run_id"] == BASELINE]
        pairs = {title: self.pair(title, baseline) for title in first.index[~first["own"]]}
        pairs = {title: pair for title, pair in pairs.items() if pair}
        best, own = next(iter(pairs)), first[first["run_id"] == OURS]
        found = {"best": best, "baseline": baseline, "accuracy": first["mean"][best], **pairs[best]}
        found["alike"] = [title for title, of in pairs.items() if of["low"] <= 0 <= of["high"]]
        if len(own):
            found |= {"own": own.index[0], "own_accuracy": own["mean"].iloc[0]}
        return found


def whole(runs: list[Run]) -> bool:
    """Are the runs of whole recipes on the whole of FER2013?"""
    if not runs or runs[0].metrics["data"]["synthetic"] or claims.shortened(runs):
        return False
    return not claims.not_fer2013(runs[0].metrics["data"]["totals"])


def source(study: str | Path, runs: list[Run]) -> Study:
    """Whose findings the report opens with: the study's if it ran what they need, else ours."""
    reference = Study()
    needed = {BASELINE, *reference.printed["run_id"]}
    own = whole(runs) and needed <= {run.metrics["run_id"] for run in runs}
    return Study(study) if own else reference


def findings(study: Study) -> list[tuple[str, str]]:
    """Five sentences in HTML, each with its topic: claims, printed, misleading, fair, sure."""
    template = Path(__file__).with_name("template") / "findings.j2"
    text = jinja2.Template(template.read_text(encoding="utf-8")).render(study=study)
    return [tuple(line.split("|", 1)) for line in text.splitlines() if line.strip()]


def figures(study: Study) -> list[tuple[Figure, str, Path]]:
    """The two figures of the first screen, each with its caption and the CSV file behind it."""
    return [
        (plots.claims(study.verdicts), CLAIMS, study.file("verdicts")),
        (accuracy_figure(study), COMMON, study.file("comparison")),
    ]


def accuracy_figure(study: Study) -> Figure:
    """Accuracy of all models on the same images: first seed with interval, other seeds hollow."""
    models = list(study.common.groupby("run_id", sort=False))
    figure, [[axis]] = plots.panels(size=(4.9, 0.95 + 0.31 * len(models)))
    axis.set_title(f"The same {study.images:,} test images for all")
    axis.set_xlabel("% right (bar: 95 % interval, \N{WHITE CIRCLE} other seeds)")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    names = []
    for place, (_, rows) in enumerate(models):
        first, others = rows.iloc[0], 100 * rows["accuracy_not_in_training"].iloc[1:]
        ends = first[["accuracy_not_in_training_low", "accuracy_not_in_training_high"]]
        axis.plot(100 * ends.astype(float), [place, place], lw=5, color="#A0A0A0")
        axis.plot(100 * first["accuracy_not_in_training"], place, "o", ms=8, color="#222222")
        axis.plot(others, [place + 0.33] * len(others), "o", ms=5, mfc="none", color="#222222")
        axis.annotate(
            f"{100 * first['mean']:.1f}", (1.02, place), xycoords=("axes fraction", "data"),
            va="center",
        )  # fmt: skip
        names.append(first["title"] + " (ours)" * bool(first["own"]))
    axis.set_yticks(range(len(models)), names)
    return figure
