"""README.md and pages of docs, rendered from templates with the numbers of results/reference.

python docs/render.py            writes the files
python docs/render.py --check    exits with 1 and names the files that differ
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fer_utils import scores
from fer_utils.base import ROOT, ResultError, write_text
from fer_utils.config import model, names, standard_models
from fer_utils.runs import claims
from fer_utils.runs import readings as other_readings
from fer_utils.study import reference

TEMPLATES = ROOT / "docs" / "templates"
PAGES = {  # template: rendered file
    "README.md.j2": "README.md",
    "results.md.j2": "docs/results.md",
    "machines.md.j2": "docs/machines.md",
    "field.md.j2": "docs/field.md",
    "MODEL_CARD.md.j2": "docs/MODEL_CARD.md",
    "DATA_CARD.md.j2": "docs/DATA_CARD.md",
    "reference.md.j2": "results/reference/README.md",
}
HEAD = "<!-- Made by python docs/render.py from docs/templates/{}: edit that file. -->\n"

Row = dict[str, Any]


class Records:
    """What templates may ask for; ResultError if the records do not have it."""

    def __init__(self, folder: Path = reference.FOLDER) -> None:
        self.folder = folder

    @cached_property
    def _runs(self) -> list[Any]:
        return reference.read(self.folder)

    def rows(self, table: str, **wanted: Any) -> list[Row]:
        """Rows of a table of results/reference; models without a parameter file are left out."""
        path = self.folder / f"{table}.csv"
        if not path.is_file():
            raise ResultError(f"there is no table {path}")
        rows, known = pd.read_csv(path).astype(object).to_dict("records"), names("models")
        rows = [row for row in rows if pd.isna(row.get("run_id")) or row["run_id"] in known]
        return [row for row in rows if wanted.items() <= row.items()]

    def row(self, table: str, **wanted: Any) -> Row:
        """The first row with these values."""
        if found := self.rows(table, **wanted):
            return found[0]
        raise ResultError(f"{table}.csv has no row with {wanted}")

    def run(self, run_id: str, protocol: str = "official", seed: int = 0) -> Row:
        """A run's row of comparison.csv; protocol "paper" is the one of its paper."""
        if protocol == "paper":
            protocol = self.row("comparison", run_id=run_id)["paper_protocol"]
        return self.row("comparison", run_id=run_id, protocol=protocol, seed=seed)

    def record(self, run_id: str, protocol: str = "official", seed: int = 0) -> Row:
        """A run's metrics.json, with its epochs as `history`."""
        place = self.run(run_id, protocol, seed)["folder"]
        (run,) = [run for run in self._runs if run.place == place]
        return run.metrics | {"history": run.history.to_dict("records")}

    def classes(self, run_id: str, split: str = "PrivateTest") -> list[Row]:
        """Recall and precision of each class with Wilson's intervals, F1, most frequent mistake."""
        score, rows = self.record(run_id)["scores"][split], []
        counts, names = np.array(score["confusion"]), list(score["per_class"])
        for i, (name, values) in enumerate(score["per_class"].items()):
            row = {"name": name, **values}
            for share, n in (("recall", counts[i].sum()), ("precision", counts[:, i].sum())):
                low, high = scores.accuracy_interval(int(counts[i, i]), int(n))
                row |= {f"{share}_low": low, f"{share}_high": high}
            wrong = np.where(np.arange(len(names)) == i, -1, counts[i])
            rows.append(row | {"mistaken_for": names[wrong.argmax()], "mistakes": wrong.max()})
        return rows

    def readings(self) -> list[Row]:
        """The metrics.json of each run in results/reference/readings, with its folder's `name`."""
        top = self.folder / "readings"
        return [
            json.loads(path.read_text("utf-8")) | {"name": str(path.parent.relative_to(top))}
            for path in sorted(top.rglob("metrics.json"))
        ]

    def reading_accuracy(self, reading: str, run_id: str) -> float:
        """Mean test accuracy of a reading's seeds."""
        of = [row for row in self.readings()
              if row["name"].startswith(f"{reading}/") and row["run_id"] == run_id]  # fmt: skip
        values = [row["scores"][row["protocol"]["test"]]["accuracy"] for row in of]
        return sum(values) / len(values)

    def not_run(self) -> list[str]:
        """The readings of the papers, <reading>/<model>, that have no record."""
        recorded = {f"{row['name'].split('/')[0]}/{row['run_id']}" for row in self.readings()}
        known = {name for paper in claims.papers() for name in other_readings.names(paper)}
        return sorted(known - recorded)

    def mean(self, name: str) -> Row:
        """The metrics.json of the mean of several runs' predictions, in results/reference/means."""
        path = self.folder / "means" / name / "metrics.json"
        return json.loads(path.read_text("utf-8"))

    def seeds(self, run_id: str, column: str = "accuracy", protocol: str = "official") -> Row:
        """A column's values by seed, and their count, mean, lowest and highest."""
        protocol = self.run(run_id, protocol)["protocol"]
        rows = self.rows("comparison", run_id=run_id, protocol=protocol)
        values = [_number(row, column) for row in rows]
        mean = sum(values) / len(values)
        ends = {"lowest": min(values), "highest": max(values)}
        return {"values": values, "count": len(values), "mean": mean, **ends}

    def claims(self, paper: str = "", *verdicts: str, containing: str = "") -> list[Row]:
        """Verdicts on the papers' claims, or on those of one paper; "depends on" is one verdict."""
        rows = [row for row in self.rows("verdicts") if row["paper"] == paper or not paper]
        words = [claims.DEPENDS if row["verdict"].startswith(claims.DEPENDS) else row["verdict"]
                 for row in rows]  # fmt: skip
        rows = [row for row, word in zip(rows, words, strict=True) if word in (verdicts or words)]
        return [row for row in rows if containing in row["claim"]]

    def cited(self) -> list[Row]:
        """Numbers of others that the papers cite, with how they were tested."""
        return [
            {"paper": content.name, "claim": claim, "tested": tested}
            for content in claims.read().values()
            for claim, tested in content.cited.items()
        ]

    def printed(self, run_id: str) -> Row:
        """The verdict on the test accuracy that a paper prints for a model."""
        claimed = dict(claims.accuracies().itertuples(index=False)).get(run_id)
        for row in self.claims():
            if (row["run_id"], row["measure"], row["claimed"]) == (run_id, "accuracy", claimed):
                return row
        raise ResultError(f"no claim about the test accuracy of {run_id}")

    def pair(self, first: str, second: str, table: str = "mcnemar_without_known") -> Row:
        """Accuracy of one title minus that of another on the same images: value, low, high."""
        for row in self.rows(table):
            if (row["first"], row["second"]) == (first, second):
                return row | {"value": row["difference"]}
            if (row["first"], row["second"]) == (second, first):
                return row | {"value": -row["difference"], "low": -row["high"], "high": -row["low"]}
        raise ResultError(f"{table}.csv has no pair of {first} and {second}")

    def minutes(self) -> dict[str, float]:
        """Training time of each default model in the records."""
        recipes = {name: [model(name), model(name, protocol="paper")] for name in standard_models()}
        recipes = {
            name: of if of[0]["protocol"] != of[1]["protocol"] else of[:1]
            for name, of in recipes.items()
        }
        seconds = reference.training_seconds(recipes, folder=self.folder)
        return {name: spent / 60 for name, spent in seconds.items()}


def _number(row: Row, column: str) -> float:
    value = row.get(column)
    if isinstance(value, str) or pd.isna(value):
        raise ResultError(f"no number {column!r} in this record: {value!r}; it has {[*row]}")
    return float(value)


def percent(share: Any, digits: int = 1) -> str:
    """0.6996 as 70.0."""
    return f"{100 * _number({'share': share}, 'share'):.{digits}f}"


def interval(row: Row, column: str = "accuracy") -> str:
    """A share with its 95 % interval, as 70.0 % (68.4 to 71.4)."""
    value, low, high = (percent(_number(row, column + end)) for end in ("", "_low", "_high"))
    return f"{value} % ({low} to {high})"


def measured(row: Row, value: str = "measured", unit: str = " %") -> str:
    """A value of a claim, pair or gain with its interval in `low` and `high`."""
    value, low, high = (percent(_number(row, name)) for name in (value, "low", "high"))
    return f"{value}{unit} ({low} to {high})"


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{Path(f.filename).name}, line {f.lineno}" for f in frames if ".j2" in f.filename]
    return lines[-1] if lines else str(TEMPLATES)


def render(templates: Path = TEMPLATES) -> dict[str, str]:
    """The text of every page by its path; ResultError names the template's line at fault."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    records = Records()
    public = [name for name in vars(Records) if not name.startswith("_")]
    environment.globals |= {name: getattr(records, name) for name in public}
    environment.filters |= {"percent": percent, "interval": interval, "measured": measured}
    pages = {}
    for name in sorted(PAGES.keys() & set(environment.list_templates())):
        try:
            pages[PAGES[name]] = HEAD.format(name) + environment.get_template(name).render()
        except (jinja2.TemplateError, ResultError) as error:
            raise ResultError(f"{_where(error)}: {error}") from None
    return pages


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with --check compare them with their files; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python docs/render.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    check, differing = parser.parse_args(arguments).check, 0
    try:
        pages = render()
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for page, text in pages.items():
        path = ROOT / page
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            differing += 1
            print(f"{page} differs from its template" if check else f"{page} written")
            if not check:
                write_text(path, text)
    return int(check and differing > 0)


if __name__ == "__main__":
    sys.exit(main())
