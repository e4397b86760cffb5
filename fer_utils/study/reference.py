"""The committed results (results/reference): how they are collected, read and checked against.

python -m fer_utils.study.reference results/full    adds the runs of a finished study
python -m fer_utils.study.reference                 makes tables and figures again from the records
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from fer_utils.base import ROOT, ParameterError, ResultError, status
from fer_utils.runs import claims, committed, faults, store, tables
from fer_utils.runs.store import Run

FOLDER = ROOT / "results" / "reference"
FILES = ("metrics.json", "history.csv", "export_int8.json")  # and predictions as float16
OF_CHAPTERS = (  # of a study of all models
    "errors/mcnemar.csv", "errors/mcnemar_without_known.csv", "errors/reliability.svg",
    "errors/coverage.svg", "errors/robustness.svg",
    "network/yardstick.csv", "network/speeds.csv", "network/more_views.csv",
)  # fmt: skip


def _records(folder: Path) -> list[Run]:
    paths = [path for depth in ("*", "*/*") for path in folder.glob(f"runs/*/{depth}/metrics.json")]
    runs = [Run(p.parent, json.loads(p.read_text(encoding="utf-8"))) for p in paths]
    return sorted(
        runs, key=lambda run: (run.metrics["run_id"], run.metrics["seed"], len(run.folder.parts))
    )


def read(folder: Path = FOLDER) -> list[Run]:
    """The runs in the reference, without models; ResultError if there are none."""
    if runs := _records(folder):
        return runs
    raise ResultError(f"{folder}: no reference results here")


def collect(study: str | Path, folder: Path = FOLDER, reading: str = "") -> list[Run]:
    """Copy the records of a study on FER2013, and its tables and figures without faces.

    A run replaces the one of its model, seed and protocol; what else is there stays. Runs of a
    `reading` go to readings/<reading>, without tables. ResultError where runs are synthetic,
    shortened, of a part of FER2013 or of other images than those in the reference. Returns the
    runs of the study.
    """
    runs = store.finished_runs(study)
    if not runs:
        raise ResultError(f"{study}: no finished run here; give the folder of a study")
    cut = [] if reading else faults.shortened(runs)
    if cut:
        raise ResultError(f"{study}: cut by a profile: {', '.join(cut)}; run profile full")
    there = {run.metrics["data"]["pixels_sha256"] for run in _records(folder)}
    for run in runs:
        if why := faults.other_data(run):
            raise ResultError(f"{run.folder}: {why}, so not part of a reference")
        if not {run.metrics["data"]["pixels_sha256"]} >= there:
            raise ResultError(f"{run.folder}: not the images of the runs in {folder}")
    for run in runs:
        place = folder / "readings" / reading / run.place if reading else folder / run.place
        place.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if (run.folder / name).is_file():
                shutil.copyfile(run.folder / name, place / name)
        store.keep_predictions(run, place / "predictions.npz")
        if place.relative_to(folder) == committed.RUN.relative_to(FOLDER):
            committed.save(run, place)
    for source in (Path(study) / name for name in OF_CHAPTERS if not reading):
        if source.is_file():
            place = folder / ("figures" if source.suffix == ".svg" else "") / source.name
            shutil.copyfile(source, place)
    render(folder)
    return runs


def render(folder: Path = FOLDER) -> list[Run]:
    """Make tables and figures of a reference again from its records, which it returns."""
    runs = read(folder)
    comparison = tables.comparison(runs)
    verdicts = claims.verdicts(runs, readings=(folder / "readings",))
    store.save_table(comparison, folder / "comparison.csv")
    store.save_table(verdicts, folder / "verdicts.csv")
    from fer_utils import plots

    plots.use_style()
    figures = {
        "claims": plots.claims(verdicts),
        "accuracy": plots.accuracy_bars(tables.comparison(_common(runs))),
    }
    for name, figure in figures.items():
        store.save_figure(figure, folder / "figures" / f"{name}.svg")
    return runs


def _common(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.metrics["protocol"]["name"] == "official"]


def training_seconds(
    recipes: dict[str, list[dict[str, Any]]], there: int = 28709, folder: Path = FOLDER
) -> dict[str, float]:
    """Seconds that each model would take to train on the reference's machine, for those it has.

    For each recipe: the images of an epoch times the epochs that the reference ran, both at most
    what the recipe asks, at the speed of the folder's benchmark.csv. A model without a speed there
    takes the seconds of its record, grid search included, if the recipe is not limited. `there`
    is the number of Training images.
    """
    table = folder / "benchmark.csv"
    if not (table.is_file() and (folder / "runs").is_dir()):
        return {}
    measured = pd.read_csv(table).query("contender == 'study'")
    speeds = dict(measured.groupby("model")["images_per_second"].last())
    seconds: dict[str, float] = {}
    known = {(run.metrics["run_id"], run.metrics["protocol"]["name"]): run for run in read(folder)}
    for name, protocols in recipes.items():
        spent = 0.0
        for params in protocols:
            run, recipe = known.get((name, params["protocol"])), params["training"]
            if run is None or run.metrics["environment"]["device"] != "cpu":
                continue
            if name in speeds:
                history, limit = run.history, recipe["train_limit"] or there
                images = (history["images_per_second"] * history["seconds"]).iloc[0]
                epochs = min(len(history), recipe["epochs"])
                spent += epochs * min(images, limit, there) / speeds[name]
            elif not recipe.get("train_limit") and there >= 28_000:
                timing = run.metrics["timing"]
                spent += timing["training_seconds"] + timing["stages"].get("grid", 0)
        if spent:
            seconds[name] = spent
    return seconds


def choose(names: list[str], data: dict[str, Any], folder: Path = FOLDER) -> list[str]:
    """The models to check: those asked for, or the network that is trained fastest.

    `data` is the provenance of the images at hand. ParameterError for a model that the reference
    does not have, or for other images than its own.
    """
    runs = read(folder)
    known = sorted({run.metrics["run_id"] for run in runs})
    for name in names:
        if name not in known:
            raise ParameterError(f"the reference has no run of {name}; it has {', '.join(known)}")
    made_on = runs[0].metrics["data"]
    expected = made_on["pixels_sha256"]
    if data["pixels_sha256"] != expected:
        raise ParameterError(
            f"{data['source']}: not the images of the reference (sha256 of all pixels "
            f"{data['pixels_sha256'][:12]}..., the reference has {expected[:12]}...); give the "
            f"whole FER2013 as it was there, {made_on['kind']}: {made_on['source']}"
        )
    networks = [run for run in runs if run.metrics["model"]["epochs_run"]]
    recipes = {run.metrics["run_id"]: [run.metrics["params"]] for run in networks}
    seconds = training_seconds(recipes, folder=folder)
    if not names and not seconds:
        raise ParameterError(
            f"--check-reference: name a model (--only); there are {', '.join(known)}"
        )
    return names or [min(seconds, key=seconds.__getitem__)]


def compare(runs: list[Run], folder: Path = FOLDER) -> pd.DataFrame:
    """Runs against the reference: does each test accuracy lie in the reference's 95 % interval?

    Columns: model, protocol, seed, here, reference, low, high, inside; the last four are missing
    where the reference has no such run, as of ResNet-50 with other weights. A seed that it does not
    have is compared with its first.
    """

    def title(run: Run) -> str:
        return run.metrics["params"]["title"]

    known = {}
    for run in read(folder):
        key = run.metrics["run_id"], run.metrics["protocol"]["name"]
        known.setdefault((*key, title(run)), run.test)
        known[*key, title(run), run.metrics["seed"]] = run.test
    rows = []
    for run in runs:
        key = run.metrics["run_id"], run.metrics["protocol"]["name"]
        here, seed = run.test["accuracy"], run.metrics["seed"]
        of = known.get((*key, title(run), seed), known.get((*key, title(run))))
        row = dict(zip(("model", "protocol"), key, strict=True)) | {"seed": seed}
        row |= {"here": here, "reference": None, "low": None, "high": None, "inside": None}
        if of:
            low, high = of["accuracy_low"], of["accuracy_high"]
            row |= {"reference": of["accuracy"], "low": low, "high": high}
            row["inside"] = low <= here <= high
        rows.append(row)
    return pd.DataFrame(rows)


def _collect(options: argparse.Namespace) -> None:
    if options.study:
        runs = collect(Path(options.study).absolute(), reading=options.reading)
        print(f"{len(runs)} runs copied from {options.study}")
    else:
        render()
    print("render the documents again: python docs/render.py")


def main(arguments: list[str] | None = None) -> int:
    """Command line: add a study's results; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_utils.study.reference",
        description="Add a study's results to results/reference, or make its tables again.",
    )
    parser.add_argument("study", nargs="?", help="folder of a finished study on FER2013")
    parser.add_argument("--reading", default="", help="the runs are of this reading of a paper")
    options = parser.parse_args(arguments)
    return status(lambda: _collect(options))


if __name__ == "__main__":
    sys.exit(main())
