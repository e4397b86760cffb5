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
CITED = "cited literature"  # the "paper" of claims about work that the papers cite
OWN = ("this study", "baseline")  # the "paper" of systems that no paper describes
BASELINE, OURS = "hog_svm", "fer_net"
UNTESTED = ("cannot be decided", "not tested")
ALIKE = {"better": "higher", "worse": "lower", "reproduced": "holds"}
FILES = {"comparison": "compare", "verdicts": "compare", "mcnemar_without_known": "errors"}
PRINTED = (
    "Test accuracies that the papers print and what was measured on each paper's own test images"
)
COMMON = (
    "Accuracy of all models on PrivateTest without the images that also occur in Training; the "
    "number is the mean of the seeds"
)
COLOURS = {"holds": "#00704F", "lower": "#A8321B", "higher": "#0063A0"}


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
    def claims(self) -> pd.DataFrame:
        """The papers' claims about their own networks."""
        rows = self.verdicts[self.verdicts["paper"] != CITED]
        return rows.assign(holds=rows["verdict"].isin(["reproduced", "holds"]))

    @property
    def held(self) -> int:
        return int(self.claims["holds"].sum())

    @property
    def others(self) -> dict[str, int]:
        """How many of the claims that do not hold have which verdict."""
        words = self.claims.loc[~self.claims["holds"], "verdict"].replace(ALIKE)
        return dict(words.replace("^depends.*", "depends", regex=True).value_counts())

    @cached_property
    def printed(self) -> pd.DataFrame:
        """The test accuracies that papers print and a run tests, the highest first."""
        rows = self.claims[(self.claims["measure"] == "accuracy") & self.claims["up_to"].isna()]
        rows = rows[rows["measured"].notna() & ~rows["verdict"].isin(UNTESTED)]
        titles = self.comparison.drop_duplicates("run_id").set_index("run_id")["title"]
        rows = rows.assign(title=rows["run_id"].map(titles), verdict=rows["verdict"].replace(ALIKE))
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

    @property
    def date(self) -> str:
        """The day on which the last run finished."""
        return max(run.metrics["timing"]["finished_at"] for run in self.runs)[:10]

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
        rows, found = self.printed.to_dict("records"), []
        for i, above in enumerate(rows):
            for below in rows[i + 1 :]:
                if pair := self.pair(above["title"], below["title"]):
                    gap = above["claimed"] - below["claimed"]
                    names = {"above": above["title"], "below": below["title"], "printed": gap}
                    found.append(names | pair)
        return max(found, key=lambda each: abs(each["printed"] - each["value"]), default={})

    @property
    def test_sets(self) -> int:
        """How many different sets of images the printed test accuracies are of."""
        of = self.comparison[self.comparison["run_id"].isin(self.printed["run_id"])]
        of = of[of["protocol"] == of["paper_protocol"]]
        return len(of.drop_duplicates(["test_split", "n"]))

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

    @property
    def either_way(self) -> float:
        """Half the widest 95 % interval of an accuracy of all seven classes."""
        widths = self.common["accuracy_high"] - self.common["accuracy_low"]
        return float(widths.max() / 2)

    @cached_property
    def seeds(self) -> float:
        """The largest difference of accuracy between two seeds of one model and protocol."""
        groups = self.comparison.groupby(["run_id", "protocol"])["accuracy"]
        return float((groups.max() - groups.min()).max())

    def other_seeds(self, run_id: str) -> pd.Series:
        """Accuracy of a model's further seeds under its paper's protocol."""
        of = self.comparison[self.comparison["run_id"] == run_id]
        of = of[of["protocol"] == of["paper_protocol"]].sort_values("seed")
        return of["accuracy"].iloc[1:]


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
        (printed_figure(study), PRINTED, study.file("verdicts")),
        (accuracy_figure(study), COMMON, study.file("comparison")),
    ]


def against(runs: list[Run]) -> list[dict[str, Any]]:
    """The test accuracy of each run and that of the reference's run of the same seed."""
    known = {run.place: run for run in Study().runs}
    rows = []
    for run in runs:
        if run.place in known:
            here, there = run.test["accuracy"], known[run.place].test
            low, high = there["accuracy_low"], there["accuracy_high"]
            row = {"run": run, "here": here, "reference": there["accuracy"], "low": low}
            rows.append(row | {"high": high, "inside": low <= here <= high})
    return rows


def _axis(rows: int, title: str, label: str) -> Any:
    figure, [[axis]] = plots.panels(size=(4.9, 0.95 + 0.31 * rows))
    axis.set_title(title, loc="left")
    axis.set_xlabel(label)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure, axis


def printed_figure(study: Study) -> Figure:
    """Printed test accuracies (diamonds) and what was measured, with 95 % intervals and seeds."""
    rows = study.printed
    figure, axis = _axis(
        len(rows), "Printed \N{BLACK DIAMOND} and measured \N{BLACK CIRCLE}",
        "% right (bar: 95 % interval, \N{WHITE CIRCLE} other seeds)",
    )  # fmt: skip
    for place, row in enumerate(rows.itertuples()):
        colour = COLOURS.get(row.verdict, "#555555")
        axis.plot([100 * row.low, 100 * row.high], [place, place], lw=5, alpha=0.5, color=colour)
        axis.plot(100 * row.measured, place, "o", ms=8, color=colour)
        seeds = 100 * study.other_seeds(row.run_id)
        axis.plot(seeds, [place + 0.33] * len(seeds), "o", ms=5, mfc="none", color=colour)
        axis.plot(100 * row.claimed, place - 0.2, "D", ms=7, color="black")
        text = f"{100 * row.claimed:.3g} \N{RIGHTWARDS ARROW} {100 * row.measured:.1f}"
        axis.annotate(
            f"{text}\n{row.verdict}", (1.02, place), xycoords=("axes fraction", "data"),
            va="center", color=colour,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), rows["title"])
    return figure


def accuracy_figure(study: Study) -> Figure:
    """Accuracy of all models on the same images: first seed with interval, other seeds hollow."""
    models = list(study.common.groupby("run_id", sort=False))
    figure, axis = _axis(
        len(models), f"The same {study.images:,} test images for all",
        "% right (bar: 95 % interval, \N{WHITE CIRCLE} other seeds)",
    )  # fmt: skip
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
