"""The committed results (results/reference): how they are collected, read and checked against.

python -m fer_utils.study.reference results/full    adds the runs of a finished study
python -m fer_utils.study.reference                 makes tables and figures again from the records
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from fer_utils import plots
from fer_utils.base import ROOT, ParameterError, ResultError, status
from fer_utils.runs import claims, committed, store, tables
from fer_utils.runs.store import Run

FOLDER = ROOT / "results" / "reference"
INT8_RECORD = "export_int8.json"
FILES = ("metrics.json", "history.csv")  # of a run; its other files are too large
OF_ALL_MODELS = (  # of all models of a study together
    "errors/mcnemar.csv", "errors/mcnemar_without_known.csv", "errors/reliability.svg",
    "errors/coverage.svg", "errors/robustness.svg",
)  # fmt: skip
OF_NETWORK = ("network/yardstick.csv", "network/speeds.csv", "network/more_views.csv")


def read(folder: Path = FOLDER) -> list[Run]:
    """The runs in the reference, without predictions; ResultError if there are none."""
    paths = [
        *folder.glob("runs/*/seed_*/metrics.json"),
        *folder.glob("runs/*/seed_*/*/metrics.json"),
    ]
    if not paths:
        raise ResultError(f"{folder}: no reference results here")
    runs = [Run(p.parent, json.loads(p.read_text(encoding="utf-8"))) for p in paths]
    return sorted(
        runs, key=lambda run: (run.metrics["run_id"], run.metrics["seed"], len(run.folder.parts))
    )


def collect(study: str | Path, folder: Path = FOLDER) -> list[Run]:
    """Add the records, tables and figures without faces of a study on FER2013 to the reference.

    A run takes the place of the one of its model, seed and protocol, a table or figure that of its
    name; what else is there stays, also what tells of all models together if the study lacks one.
    Tables of the network chapter are taken of the committed network's run alone.
    ResultError where the runs are synthetic, cut, of a part of FER2013 or of other images than
    those in the reference. Returns all runs of the reference.
    """
    found = store.finished_runs(study)
    if not found:
        raise ResultError(f"{study}: no finished run here; give the folder of a study")
    runs, others = store.on_same_data(found)
    for run in others:
        print(f"left out: {run.place} was run on other data")
    if runs[0].metrics["data"]["synthetic"]:
        raise ResultError(f"{study}: synthetic faces are no reference; give FER2013")
    if why := claims.not_fer2013(runs[0].metrics["data"]["totals"]):
        raise ResultError(f"{study}: {why}")
    if cut := claims.shortened(runs):
        raise ResultError(f"{study}: cut by a profile: {', '.join(cut)}; run profile full")
    made, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    if old.exists() and not folder.exists():  # killed between the two renamings below
        old.rename(folder)
    for left in (made, old):
        shutil.rmtree(left, ignore_errors=True)
    if list(folder.glob("runs/*/seed_*")):
        there = read(folder)[0].metrics["data"]["pixels_sha256"]
        if there != runs[0].metrics["data"]["pixels_sha256"]:
            raise ResultError(
                f"{study}: not the images of the runs in {folder}; move {folder / 'runs'} away to "
                "begin a new reference"
            )
    if folder.exists():
        shutil.copytree(folder, made)
    of_weights = str(committed.RUN.relative_to(FOLDER))
    for run in runs:
        place = made / run.place
        place.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(run.folder / name, place / name)
        if run.place == of_weights:
            committed.save(run, place)
        (place / INT8_RECORD).unlink(missing_ok=True)
        if _is_of_its_network(run.folder / INT8_RECORD):
            shutil.copyfile(run.folder / INT8_RECORD, place / INT8_RECORD)
    here = {run.place for run in runs}
    common = _common(render(made))
    first = _of_first_seeds(common)  # the errors chapter's tables and figures are of these
    lacking = sorted({run.metrics["params"]["title"] for run in first if run.place not in here})
    for name in (*OF_ALL_MODELS, *OF_NETWORK):
        source = store.study_folder(study) / name
        place = made / ("figures" if source.suffix == ".svg" else "") / source.name
        if not source.is_file():
            continue
        if name in OF_ALL_MODELS and place.is_file() and lacking:
            print(f"kept as it was: {place.name}, as this study lacks {', '.join(lacking)}")
        elif name in OF_NETWORK and of_weights not in {*pd.read_csv(source).get("run", ())}:
            print(f"left out: {place.name}, which is not of {of_weights}")
        else:
            shutil.copyfile(source, place)
    if folder.exists():
        folder.rename(old)
    made.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return read(folder)


def render(folder: Path = FOLDER) -> list[Run]:
    """Make tables and figures of a reference again from its records, which it returns."""
    runs = read(folder)
    comparison = tables.comparison(runs)
    verdicts = claims.verdicts(runs, readings=(folder / "readings",))
    store.save_table(comparison, folder / "comparison.csv")
    store.save_table(verdicts, folder / "verdicts.csv")
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


def _is_of_its_network(record: Path) -> bool:
    """Is the record of an int8 file there, and of the network that is saved next to it?"""
    network = record.with_name("model.keras")
    if not (record.is_file() and network.is_file()):
        return False
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    return json.loads(record.read_text(encoding="utf-8")).get("source_sha256") == digest


def _of_first_seeds(runs: list[Run]) -> list[Run]:
    first = {run.metrics["run_id"]: run.metrics["seed"] for run in reversed(runs)}
    return [run for run in runs if run.metrics["seed"] == first[run.metrics["run_id"]]]


def costs(runs: list[Run], folder: Path) -> dict[str, float]:
    """Seconds to train each model, grid included, in all protocols of its first seed.

    Epochs times images at the speed of the folder's benchmark.csv, without the waits that are in
    the seconds of early records; the record's seconds where a model has no speed there. Of
    trainings on a processor; an ensemble's time is its members', and not here.
    """
    table = folder / "benchmark.csv"
    measured = pd.read_csv(table).query("contender == 'study'") if table.is_file() else None
    speeds = {} if measured is None else dict(measured.groupby("model")["images_per_second"].last())
    seconds: dict[str, float] = {}
    for run in _of_first_seeds(runs):
        name, timing = run.metrics["run_id"], run.metrics["timing"]
        if "members" in run.metrics["model"] or run.metrics["environment"]["device"] != "cpu":
            continue
        spent = timing["training_seconds"] + timing["stages"].get("grid", 0)
        if name in speeds:
            history = run.history
            spent = (history["images_per_second"] * history["seconds"]).sum() / speeds[name]
        seconds[name] = seconds.get(name, 0) + spent
    return seconds


def choose(names: list[str], data: dict[str, Any], folder: Path = FOLDER) -> list[str]:
    """The models to check: those asked for, or the network that a processor trained soonest.

    `data` is the provenance of the images at hand. ParameterError for a model that the reference
    does not have, or for other images than its own.
    """
    runs = read(folder)
    seconds = costs([run for run in runs if run.metrics["model"]["epochs_run"]] or runs, folder)
    known = sorted({run.metrics["run_id"] for run in runs})
    for name in names:
        if name not in known:
            raise ParameterError(f"the reference has no run of {name}; it has {', '.join(known)}")
    made_on = runs[0].metrics["data"]
    wanted = made_on["pixels_sha256"]
    if data["pixels_sha256"] != wanted:
        raise ParameterError(
            f"{data['source']}: not the images of the reference (sha256 of all pixels "
            f"{data['pixels_sha256'][:12]}..., the reference has {wanted[:12]}...); give the whole "
            f"FER2013 as it was there, {made_on['kind']}: {made_on['source']}"
        )
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
    runs = collect(Path(options.study).absolute()) if options.study else render()
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{len(runs)} runs in {FOLDER}, {size / 1e6:.2f} MB")
    print("render the documents again: python -m fer_utils.study.documents")


def main(arguments: list[str] | None = None) -> int:
    """Command line: add a study's results, or make tables and figures again; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_utils.study.reference",
        description="Add a study's results to results/reference.",
    )
    told = "folder of a finished study on FER2013; without it tables and figures are made again"
    parser.add_argument("study", nargs="?", help=told)
    options = parser.parse_args(arguments)
    return status(lambda: _collect(options))


if __name__ == "__main__":
    sys.exit(main())
