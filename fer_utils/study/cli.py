"""The command line of the study: what would run, the check of the data, the run (run_all.sh)."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import errno
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from fer_utils import config
from fer_utils.base import ROOT, ParameterError, ResultError, StudyError
from fer_utils.models import devices
from fer_utils.study import plan
from fer_utils.study.engine import Engine
from fer_utils.study.execute import check, duration

KEPT = "what is finished is kept, the same command goes on from there"


class Parser(argparse.ArgumentParser):
    """Shows a fault in one line."""

    def error(self, message: str) -> NoReturn:
        wrong = message.removeprefix("unrecognized arguments: ").split()[0]
        near = difflib.get_close_matches(wrong, self._option_string_actions, n=1)
        hint = f"did you mean {near[0]}?" if near and wrong not in near else "see --help"
        self.exit(2, f"error: {message}; {hint}\n")


def _integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        text = f"'{word}' is not an integer; separate several with spaces: 0 1 2"
        raise argparse.ArgumentTypeError(text) from None


def parser() -> argparse.ArgumentParser:
    """The options of run_all.sh."""
    result = Parser(
        prog="./run_all.sh",
        description="Run the study: every notebook that is not up to date, then one HTML report. "
        "Without --data it uses embedded synthetic faces.",
        epilog="Words after -- are passed on to Snakemake. "
        "./run_all.sh --test runs the tests, ./run_all.sh --lab opens JupyterLab.",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--data", metavar="PATH", help="fer2013.csv, icml_face_data.csv, the Kaggle zip, a folder "
        "of class folders, or `kaggle` to download")  # fmt: skip
    add("--votes", metavar="PATH", help="FER+ votes (fer2013new.csv), for the chapters explore, "
        "errors and network")  # fmt: skip
    add("--profile", metavar="NAME", help="demo, quick, full or your own file, name.yaml "
        "(default: demo; full with --data)")  # fmt: skip
    add("--only", nargs="+", metavar="ID", help="only these models, papers or chapters")
    add("--seeds", nargs="+", type=_integer, metavar="N",
        help="train every network once with each of these (default: the profile's, 0)")  # fmt: skip
    add("--check-reference", action="store_true",
        help="train a model of results/reference again, or those of --only, and check that the "
        "scores fall inside its intervals")  # fmt: skip
    add("--jobs", type=_integer, metavar="N", help="notebooks side by side (default: the "
        "profile's, 2 for demo and quick, else 1)")  # fmt: skip
    add("--on-bad", choices=["error", "skip"], default="error",
        help="stop at a bad row or image (default), or leave it out and count it")  # fmt: skip
    add("--resize", action="store_true", help="scale images that are not 48x48")
    add("--results", metavar="DIR", help="folder for the studies (default: results)")
    add("--dry-run", action="store_true", help="check parameters and data, show what would run")
    add("--list", action="store_true", help="show models, papers, chapters and profiles")
    add("--traceback", action="store_true", help="show full tracebacks")
    return result


def show_list() -> None:
    """Print the study's menu: models with accuracy and minutes, papers, chapters, profiles."""
    from fer_utils.runs import claims
    from fer_utils.study import reference

    names, standard, runs = config.names("models"), config.standard_models(), {}
    with contextlib.suppress(ResultError):
        runs = {run.metrics["run_id"]: run for run in reversed(reference.read())
                if run.metrics["protocol"]["name"] == "official"}  # fmt: skip
    recipes = {name: [config.model(name), config.model(name, protocol="paper")] for name in names}
    recipes = {name: of[: 1 + (of[0] != of[1])] for name, of in recipes.items()}
    seconds = reference.training_seconds(recipes)
    print("models              parameters  PrivateTest  minutes  paper: model")
    for name in names:
        run, title = runs.get(name), recipes[name][0]["title"]
        columns = [" " * 10, " " * 11]
        if run:
            title = run.metrics["params"]["title"]
            columns = [
                f"{run.metrics['model']['parameters']:>10,}",
                f"{run.test['accuracy']:>11.1%}",
            ]
        columns.append(f"{seconds[name] / 60:>7.0f}" if name in seconds else " " * 7)
        asked = "" if name in standard else ", only with --only"
        print(f"  {name:<16}", *columns, f"{recipes[name][0]['paper']}: {title}{asked}", sep="  ")
    print("papers")
    for paper, content in claims.read().items():
        print(f"  {paper:<19} {content.name}: {', '.join(content.systems)}")
    print("chapters")
    for chapter, notebook in plan.CHAPTERS.items():
        print(f"  {chapter:<19} notebooks/{notebook}.ipynb")
    print("profiles")
    for name in config.names("profiles"):
        print(f"  {name:<19} {config.profile(name)['description']}")


def load(study: plan.Study, options: argparse.Namespace) -> Any:
    """The study's dataset, printed in one line, or for a dry run as a table.

    ParameterError for bad rows that no --on-bad skip leaves out, and for data that a model's
    protocol cannot split.
    """
    from fer_utils import data
    from fer_utils.data import quality

    start, dataset = time.time(), None
    on_bad = "skip" if options.dry_run else options.on_bad
    try:
        dataset = data.load(study.data, on_bad, resize=options.resize)
    except data.DataError as error:
        with contextlib.suppress(data.DataError):  # a row that could be left out, or the whole?
            dataset = data.load(study.data, "skip", resize=options.resize)
        if dataset is None:
            raise
        raise ParameterError(f"{error}; mend it, or --on-bad skip leaves it out") from None
    for params, *_ in study.recipes.values():
        chosen = params.get("classes")
        part = data.select_classes(dataset, chosen) if chosen else dataset
        data.split(part, params["protocol"])
    found = dataset.provenance
    note = " (synthetic faces, not FER2013)" if found.get("synthetic") else ""
    print(f"data     {data.overview(dataset)}{note}; read in {time.time() - start:.1f} s")
    bad = 0 if found["kind"] == "npz" else found.get("bad_count", 0)
    if bad:
        print(f"bad      rows or images: {bad:,}")
        for message in found["bad"]:
            print(f"  {message}")
    if options.dry_run:
        print(f"\n{data.describe(dataset).to_string()}\n")
        print(quality.summary(dataset).to_string(index=False))
    for votes in {job.parameters["votes"] for job in study.jobs if job.parameters.get("votes")}:
        show_votes(dataset, votes)
    if bad and options.on_bad != "skip":
        raise ParameterError(
            f"{study.data}: has the bad rows or images listed above; mend them, or "
            "--on-bad skip leaves them out"
        )
    return dataset


def show_votes(dataset: Any, path: str) -> None:
    """Print how many images have FER+ votes in a file; ParameterError if none has."""
    from fer_utils.data import votes

    joined = int((votes.join(dataset, path) >= 0).any(axis=1).sum())
    if not joined:
        raise ParameterError(f"--votes {path}: has no vote on any of these images")
    print(f"votes    {Path(path).name}: {joined:,} images have FER+ votes")


def show_plan(due: dict[str, str], seconds: dict[str, float], study: plan.Study) -> None:
    """Print the notebooks that would run, with the time that training takes."""
    print(f"\n{_count(due)} would run" + (":" if due else "; all are up to date"))
    for name, reason in sorted(due.items()):
        time_ = f"; about {duration(seconds[name])} of training" if name in seconds else ""
        print(f"  {name:<32}  {reason}{time_}")
    total = sum(spent for name, spent in seconds.items() if name in due) / study.parallel
    if total:
        print(f"\ntraining takes about {duration(total)} at the speed of the reference's machine "
              "(results/reference)")  # fmt: skip
    free = shutil.disk_usage(next(p for p in study.folder.parents if p.exists())).free
    print(f"\nfree disk {free / 1e9:.0f} GB; report {study.folder / 'report.html'}")


def _count(due: dict[str, str]) -> str:
    return f"{len(due)} notebook{'s' * (len(due) != 1)}"


def show_outcome(study: plan.Study) -> None:
    """Print the headline table and where the report, or another target, lies."""
    import pandas as pd

    path, synthetic = study.folder / "compare" / "comparison.csv", "synthetic" in study.data
    if path.is_file() and "report.html" in study.targets:
        table = pd.read_csv(path)
        table = table[table["protocol"] == "official"].sort_values("accuracy", ascending=False)
        print("\nmodel                    seed  classes  epochs  test split     accuracy   "
              "95 % interval")  # fmt: skip
        for row in table.itertuples():
            epochs = "" if pd.isna(row.epochs_run) else f"{row.epochs_run:.0f}"
            print(
                f"{row.title:<24} {row.seed:>4} {row.classes:>8} {epochs:>7}  {row.test_split:<13} "
                f"{row.accuracy:>8.1%}   {row.accuracy_low:.1%} - {row.accuracy_high:.1%}"
            )
        verdicts = pd.read_csv(path.with_name("verdicts.csv"))["verdict"].value_counts()
        print("\nclaims   " + ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items()))
        if synthetic:
            print("         (synthetic faces: these numbers say nothing about FER2013 or a paper)")
    for target in study.targets:
        kind = "report  " if target == "report.html" else "notebook"
        print(f"\n{kind} {study.folder / target}")


def report_the_rest(study: plan.Study, engine: Engine, content: str, extra: list[str]) -> bool:
    """After a failure, compare and report the runs that are finished; was a report made?"""
    failed, folder = engine.failed(), study.folder
    records = sorted(folder.glob("runs/*/seed_*/notebook.ipynb"))
    records = [path for path in records if (path.parent / "metrics.json").is_file()]
    if "report.html" not in study.targets or not records or "compare" in failed:
        return False
    runs = [str(path.relative_to(folder)) for path in records]
    wanted = {job.output for job in study.jobs}
    jobs = [job for job in study.jobs if job.folder in plan.LATER and job.folder not in failed]
    for job in jobs:
        there = [need for need in job.needs if need not in wanted or (folder / need).is_file()]
        later = [f"{other.folder}/notebook.ipynb" for other in jobs if other is not job]
        chapters = later if job.folder == "report" else []
        job.needs = sorted({need for need in there if "runs/" not in need} | {*chapters, *runs})
    rest = Engine(dataclasses.replace(study, jobs=jobs), content, extra, engine.lock)
    due = rest.due()
    print(f"\nreport of what is finished: {_count(due)}\n", flush=True)
    return rest.run(due, {}, append=True) == 0


def run(options: argparse.Namespace, extra: list[str]) -> int:
    """Carry out one command line; the exit status."""
    if options.list:
        show_list()
        return 0
    for name in ("data", "votes", "profile", "results"):
        if getattr(options, name) == "":
            raise ParameterError(f"--{name} is empty; give a value or leave it out")
    if options.jobs is not None and options.jobs < 1:
        raise ParameterError(f"--jobs is {options.jobs} but must be at least 1")
    from fer_utils.runs import store
    from fer_utils.study import reference

    if options.check_reference:
        _choose_reference(options)
    study = plan.study(options)
    for job in {job.notebook: job for job in study.jobs}.values():
        check(ROOT / "notebooks" / f"{job.notebook}.ipynb", job.parameters)
    print(f"study    profile {Path(study.profile).stem}, results in {study.folder}")
    print(devices.sentence().replace("device: ", "device   "))
    dataset = load(study, options)
    new = not study.folder.exists()
    with store.locked(study.folder) as lock:
        engine = Engine(study, dataset.provenance["sha256"], extra, lock)
        due = engine.due()
        seconds = reference.training_seconds(
            study.recipes, int((dataset.usage == "Training").sum())
        )
        seconds = {job.name: seconds[model] for job in study.jobs
                   if (model := job.parameters.get("model")) in seconds}  # fmt: skip
        if options.dry_run:
            show_plan(due, seconds, study)
            if new:  # a look leaves nothing behind
                shutil.rmtree(study.folder)
            return 0
        if not due and not extra:
            print("run      nothing to do, every notebook is up to date")
        else:
            print(f"run      {_count(due)}, {study.parallel} at a time\n", flush=True)
            study.write_recipes()
            if engine.run(due, seconds):
                return show_failure(study, engine, dataset.provenance["sha256"], extra)
    missing = [name for name in study.targets if not (study.folder / name).is_file()]
    if missing:
        print(f"error: {study.folder / missing[0]} was not made; Snakemake's log is {engine.log}")
        return 1
    if options.check_reference:
        return show_check(study)
    show_outcome(study)
    return 0


def show_failure(study: plan.Study, engine: Engine, content: str, extra: list[str]) -> int:
    """Print what failed and what can be read nevertheless; the exit status."""
    failed = engine.failed()
    what = f"{len(failed)} failed ({', '.join(failed)})" if failed else engine.fault()
    made = failed and report_the_rest(study, engine, content, extra)
    print(f"\nnot finished: {what}\n{KEPT.capitalize()}. Snakemake's log is {engine.log}")
    if made:
        print(f"\nreport   {study.folder / 'report.html'} has what is finished and says what is "
              "missing")  # fmt: skip
    return 1


def _choose_reference(options: argparse.Namespace) -> None:
    """Enter in `options` the models to train; ParameterError where the data are others."""
    from fer_utils import data
    from fer_utils.study import reference

    if not options.data:
        raise ParameterError("--check-reference needs your FER2013: give --data PATH")
    dataset = data.load(options.data, options.on_bad, resize=options.resize)
    options.only = reference.choose(options.only or [], dataset.provenance)


def show_check(study: plan.Study) -> int:
    """Print the models' scores next to the reference's; 1 if one is not inside its interval."""
    from fer_utils.runs import store
    from fer_utils.study import reference

    runs = store.finished_runs(study.folder, list(study.recipes))
    table = reference.compare(runs)
    print("\nmodel               protocol    seed   here  reference, 95 % interval")
    for row in table.to_dict("records"):
        found = "the reference has no run of this network and protocol"
        if row["inside"] is not None:
            found = "{reference:.1%} ({low:.1%} to {high:.1%})  ".format(**row)
            found += "inside" if row["inside"] else "OUTSIDE"
        print("{model:<19} {protocol:<10} {seed:>5} {here:>6.1%}  ".format(**row) + found)
    compared = table["inside"].dropna()
    return 0 if len(compared) and compared.all() else 1


def main(arguments: list[str] | None = None) -> int:
    """Entry of run_all.sh: 0, 1 when a notebook failed, 2 for bad input, 130 when interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    own = words[: words.index("--")] if "--" in words else words
    options = parser().parse_args(own)
    try:
        devices.check_backend()
        return run(options, words[len(own) + 1 :])
    except KeyboardInterrupt:
        print(f"\ninterrupted; {KEPT}")
        return 130
    except BrokenPipeError:  # the reader of the output has seen enough, as in `| head`
        sys.stdout = open(os.devnull, "w")
        return 0
    except Exception as error:
        if options.traceback:
            raise
        remedy = "" if isinstance(error, StudyError) else " (--traceback shows where)"
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            remedy = " (free space, or name another folder with --results)"
        print(f"error: {error}{remedy}", file=sys.stderr)
        return 2 if isinstance(error, StudyError) else 1


if __name__ == "__main__":
    sys.exit(main())
