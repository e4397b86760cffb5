"""The study as a whole: what would run, the check of the data, the run itself (run_all.sh)."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from fer_utils import config as parameters
from fer_utils.base import ROOT, ParameterError
from fer_utils.models import devices
from fer_utils.study.plan import (
    AFTER_RUNS,
    CHAPTERS,
    MODEL_NOTEBOOKS,
    OWN_NETWORKS,
    settings,
    trained_since,
)

MISSING = "Missing output files"
REASONS = {  # Snakemake's, in plain words
    MISSING: "not made yet",
    "Input files updated by another job": "follows from notebooks above",
    "Params have changed since last execution": "its parameters or data have changed",
    "Set of input files has changed since last execution": "other runs than before",
    "Code has changed since last execution": "its rule has changed",
    "Forced execution": "it failed last time, or its run was trained again since",
}


class Engine:
    """Snakemake on the study's folder: what it plans, and the run."""

    def __init__(
        self, config: dict[str, Any], extra: list[str], lock: Any, name: str = "study.json"
    ) -> None:
        self.folder, self.lock, self.config = Path(config["folder"]), lock, config
        self.log = self.folder / "snakemake.log"
        self.counter = self.folder / ".counter"
        configuration = self.folder / name
        configuration.write_text(json.dumps(config, indent=1), encoding="utf-8")
        self.command = [
            sys.executable, "-m", "snakemake",
            "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(self.folder),
            "--configfile", str(configuration),
            "--rerun-incomplete", "--keep-going",
            # the folder's own lock goes with its process, Snakemake's would outlive a kill -9
            "--nolock",
            # 0: a touched file counts as changed, whatever its content
            "--max-checksum-file-size", "0",
            "--scheduler", "greedy",
            *extra,
        ]  # fmt: skip
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "FER_STUDY_PID": str(os.getpid()),
            "FER_STUDY_HOST": socket.gethostname(),
            "FER_STUDY_COUNTER": str(self.counter),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def plan(self) -> list[tuple[str, str]]:
        """The notebooks that would run, in order, each with Snakemake's reason."""
        done = subprocess.run(
            [*self.command, *self._replaced(), "--cores", "1", "--dry-run"],
            env=self.environment, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        if done.returncode:
            self.log.write_text(done.stdout + done.stderr, encoding="utf-8")
            last = _last_lines(done.stdout + done.stderr, 1)
            raise RuntimeError(f"the engine, Snakemake, says: {last}; all of it is in {self.log}")
        text = done.stdout + done.stderr
        jobs = re.findall(r"^Job \d+: notebook (.+)\n(?:Reason: (.*))?", text, flags=re.MULTILINE)
        return [(name.strip(), self._told(name.strip(), _plain(reason))) for name, reason in jobs]

    def _told(self, name: str, reason: str) -> str:
        from fer_utils.runs import store

        if run := re.fullmatch(r"04_train (\S+) seed (\d+)", name):
            asked = [params["protocol"] for params in self.config["complete"][run[1]]]
            places = [store.run_folder(self.folder, run[1], int(run[2]), each) for each in asked]
            if all((place / "metrics.json").is_file() for place in places):
                reason += (
                    "; trained again only if parameters, data or training version have changed"
                )
        return reason

    def _replaced(self) -> list[str]:
        """Words for Snakemake: also the notebooks whose runs were trained again without them."""
        notebooks = [f"{run}/notebook.ipynb" for run in self.config["runs"]]
        there = [name for name in notebooks if (self.folder / name).is_file()]
        stale = [name for name in there if trained_since((self.folder / name).parent)]
        stale += self.failed()
        return ["--forcerun", *stale] if stale else []

    def failed(self) -> list[str]:
        """Notebooks that failed when they last ran: older ones stand in their places."""
        runs = {"_".join(Path(run).parts[1:]): run for run in self.config["runs"]}
        chapters = [*self.config["chapters"]]
        if "report.html" in self.config["targets"]:
            chapters += [name for name in self.config["report_chapters"] if name in AFTER_RUNS]
            chapters.append("report")
        places = runs | {name: name for name in chapters}
        copies = self.folder / "failed"
        return [
            f"{place}/notebook.ipynb"
            for name, place in places.items()
            if (copies / f"{name}.ipynb").is_file()
        ]

    def run(self, jobs: int, total: int, after_failure: bool = False) -> int:
        """Run what is due, `jobs` notebooks at a time; Snakemake's exit status."""
        from fer_utils.runs import provenance, store

        self.counter.write_text("")
        store.sweep(self.folder)
        forced = [] if after_failure else self._replaced()
        threads = max(1, provenance.cores() // jobs)
        limits = {"TF_NUM_INTRAOP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        environment = self.environment | {
            "FER_STUDY_TOTAL": str(total),
            "FER_STUDY_JOBS": str(jobs),
            "FER_STUDY_STARTED": str(time.time()),
            **(limits if jobs > 1 else {}),
        }
        with open(self.log, "a" if after_failure else "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*self.command, *forced, "--cores", str(jobs)],
                env=environment, stderr=log, cwd=ROOT,
                # held by Snakemake too: if this process is killed, the folder stays taken until
                # Snakemake has ended
                pass_fds=[self.lock.fileno()],
            )  # fmt: skip
            try:
                return process.wait()
            except KeyboardInterrupt:
                # the terminal has interrupted Snakemake as well; it ends its notebooks
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
                process.kill()
                raise
            finally:
                self.counter.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not there, or failed copies in it
                    (self.folder / "failed").rmdir()

    def fault(self) -> str:
        """What Snakemake says of a failure that is no notebook's."""
        text = self.log.read_text()
        found = re.findall(r"^    message: (.+)", text, flags=re.MULTILINE)
        found += re.findall(r"^    log: (.+)", text, flags=re.MULTILINE)
        return "\n".join(line[:500] for line in found) or _last_lines(text)


def _plain(reason: str) -> str:
    """Snakemake's reason for a job in the words of the study."""
    told = []
    for part in reason.split("; "):
        what, _, names = part.partition(": ")
        if what == "Updated input files":
            changed = sorted(Path(name).name for name in names.split(", "))
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            told.append(f"changed: {', '.join(changed[:3])}{more}")
        else:
            told.append(REASONS.get(what, what[:1].lower() + part[1:]))
    return "; ".join(dict.fromkeys(told))


def _last_lines(text: str, count: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-count:])


def _count(plan: list[tuple[str, str]]) -> str:
    return f"{len(plan)} notebook{'s' * (len(plan) != 1)}"


def show_plan(plan: list[tuple[str, str]], costs: dict[str, float]) -> None:
    """Print the notebooks that would run, and what their models took to train (see `_costs`)."""
    print(f"\n{_count(plan)} would run" + (":" if plan else "; all are up to date"))
    seconds, unknown = 0.0, []
    for name, reason in sorted(plan):
        chapter, _, of_model = name.partition(" ")
        cost = costs.get(of_model.split(" ")[0])
        if chapter in MODEL_NOTEBOOKS.values() and not cost:
            unknown.append(of_model)
        seconds += cost or 0
        print(f"  {name:<31}  {reason}" + (f"; trained in {_minutes(cost)}" if cost else ""))
    if seconds:
        lacking = f"; of {', '.join(unknown)} it has none by a processor" if unknown else ""
        print(f"\nThe times are those of results/reference, {_minutes(seconds)} in all{lacking}.")


def _costs() -> dict[str, float]:
    from fer_utils.base import ResultError
    from fer_utils.study import reference

    try:
        return reference.costs(reference.read(), reference.FOLDER)
    except ResultError:  # a checkout without them
        return {}


def _minutes(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60))} min"


class Parser(argparse.ArgumentParser):
    """Tells a fault in one line."""

    def error(self, message: str) -> NoReturn:
        wrong = message.removeprefix("unrecognized arguments: ").split()[0]
        near = difflib.get_close_matches(wrong, self._option_string_actions, n=1)
        hint = f"did you mean {near[0]}?" if near and wrong not in near else "see --help"
        self.exit(2, f"error: {message}; {hint}\n")


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        text = f"'{word}' is no whole number; several stand apart, as in 0 1 2"
        raise argparse.ArgumentTypeError(text) from None


def parser() -> argparse.ArgumentParser:
    """The options of run_all.sh."""
    result = Parser(
        prog="./run_all.sh",
        description="Run the study: every notebook that is due, then one HTML report. "
        "Without --data it uses embedded synthetic faces.",
        epilog="Words after -- are passed on to Snakemake. "
        "./run_all.sh --test runs the tests, ./run_all.sh --lab opens JupyterLab.",
        allow_abbrev=False,
    )
    add = result.add_argument
    add("--data", metavar="PATH", help="fer2013.csv, icml_face_data.csv, the Kaggle zip, a folder "
        "of class folders, or `kaggle` to download")  # fmt: skip
    add(
        "--votes",
        metavar="PATH",
        help="FER+ votes (fer2013new.csv), for the chapters explore, errors and network",
    )
    add("--profile", metavar="NAME", help="demo, quick, full or your own file, name.yaml "
        "(default: demo; full with --data)")  # fmt: skip
    add("--only", nargs="+", metavar="ID", help="these models or chapters only")
    add("--seeds", nargs="+", type=_whole, metavar="N",
        help="train every network once with each of these (default: the profile's, 0)")  # fmt: skip
    add("--check-reference", action="store_true",
        help="re-run a model of results/reference, or those named by --only, and say whether the "
        "scores fall inside its intervals")  # fmt: skip
    add("--jobs", type=_whole, metavar="N", help="notebooks side by side (default: the profile's, "
        "2 for demo and quick, else 1)")  # fmt: skip
    add("--on-bad", choices=["error", "skip"], default="error",
        help="stop at a bad row or image (default), or leave it out and count it")  # fmt: skip
    add("--resize", action="store_true", help="scale images that are not 48x48")
    add("--results", metavar="DIR", help="folder for the studies (default: results)")
    add("--dry-run", action="store_true", help="check parameters and data, show what would run")
    add("--list", action="store_true", help="show models, chapters and profiles")
    add("--traceback", action="store_true", help="show the traceback of an error")
    return result


def show_list() -> None:
    """Print the models, chapters and profiles."""
    print("models")
    standard = parameters.standard_models()
    for name in parameters.names("models"):
        model = parameters.model(name)
        asked = "" if name in standard else ", with --only"
        print(f"  {name:<18} {model['title']} ({model['paper']}{asked})")
    print("chapters")
    for chapter, notebook in CHAPTERS.items():
        print(f"  {chapter:<18} notebooks/{notebook}.ipynb")
    print("profiles")
    for name in parameters.names("profiles"):
        print(f"  {name:<18} {parameters.profile(name)['description']}")


def show_data(config: dict[str, Any], options: argparse.Namespace) -> bool:
    """Check the data and print it: one line, or for a dry run the whole table.

    Enters in `config` what identifies the content. False if a dry run found bad rows that the
    study itself would stop at.
    """
    from fer_utils import data as datasets
    from fer_utils.data import quality

    start = time.time()
    on_bad = "skip" if options.dry_run else options.on_bad
    try:
        dataset = datasets.load(config["data"], on_bad, resize=options.resize)
    except datasets.DataError as error:
        # is it a row or image that could be left out, or the file as a whole?
        with contextlib.suppress(datasets.DataError):
            datasets.load(config["data"], "skip", resize=options.resize)
            raise ParameterError(f"{error}; mend it, or --on-bad skip leaves it out") from None
        raise
    for params, *_ in config["complete"].values():
        chosen = params.get("classes")
        part = datasets.select_classes(dataset, chosen) if chosen else dataset
        datasets.split(part, params["protocol"])
    bad = dataset.provenance.get("bad_count", 0)
    if dataset.provenance["kind"] == "npz":
        bad = 0  # they were left out of what was saved
    note = " (synthetic faces, not FER2013)" if dataset.provenance.get("synthetic") else ""
    print(f"data     {datasets.overview(dataset)}{note}; read in {time.time() - start:.1f} s")
    config["content"] = dataset.provenance["sha256"]
    of_chapter = {name: given.get("votes") for name, given in config["parameters"].items()}
    content = {votes: _votes(dataset, votes) for votes in {*of_chapter.values()} if votes}
    config["votes_content"] = {name: content.get(votes) for name, votes in of_chapter.items()}
    if bad:
        print(f"bad      rows or images: {bad:,}")
        for message in dataset.provenance["bad"]:
            print(f"  {message}")
    if options.dry_run:
        print(f"\n{datasets.describe(dataset).to_string()}\n")
        print(quality.summary(dataset).to_string(index=False))
    return not bad or options.on_bad == "skip"


def _votes(dataset: Any, votes: str) -> str:
    """Print how many images have FER+ votes in a file; the hash of what is in it."""
    from fer_utils.data import votes as ferplus

    joined = int((ferplus.join(dataset, votes) >= 0).any(axis=1).sum())
    if not joined:
        raise ParameterError(f"--votes {votes}: has no vote on any of these images")
    print(f"votes    {Path(votes).name}: {joined:,} images have FER+ votes")
    return hashlib.sha256(Path(votes).read_bytes()).hexdigest()


def show_outcome(folder: Path, targets: list[str], synthetic: bool) -> None:
    """Print the headline table and where the report, or what was asked for instead, lies."""
    import pandas as pd

    path = folder / "compare" / "comparison.csv"
    if path.is_file() and "report.html" in targets:
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
    for target in targets:
        kind = "report  " if target == "report.html" else "notebook"
        print(f"\n{kind} {folder / target}")


def report_the_rest(config: dict[str, Any], extra: list[str], lock: Any, jobs: int) -> bool:
    """After a failure, compare and report the runs that are finished; was a report made?"""
    folder = Path(config["folder"])
    failed = {path.stem for path in folder.glob("failed/*.ipynb")}
    finished = sorted(folder.glob("runs/*/seed_*/notebook.ipynb"))
    finished = [path for path in finished if (path.parent / "metrics.json").is_file()]
    if "report.html" not in config["targets"] or not finished or "compare" in failed:
        return False
    own = any(path.parent.parent.name in OWN_NETWORKS for path in finished)
    again = [name for name in AFTER_RUNS if own or name != "network"]
    again = [name for name in again if name in config["report_chapters"]]
    ready = [c for c in config["report_chapters"] if (folder / c / "notebook.ipynb").is_file()]
    rest = config | {
        "models": [],
        "runs": [],
        "classical": [],
        "ensembles": [],
        "kept": [str(path.relative_to(folder)) for path in finished],
        "chapters": [name for name in again if name not in failed],
        "report_chapters": sorted({"compare", *again, *ready} - failed),
    }
    engine = Engine(rest, extra, lock, "unfinished.json")
    due = engine.plan()
    print(f"\nreport of what is finished: {_count(due)}\n", flush=True)
    return engine.run(jobs, len(due), after_failure=True) == 0


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
    from fer_utils.study import execute

    if options.check_reference:
        _choose_reference(options)
    config = settings(options)
    for chapter, values in config["parameters"].items():
        notebook = {**CHAPTERS, **MODEL_NOTEBOOKS}[chapter]
        execute.check(ROOT / "notebooks" / f"{notebook}.ipynb", values)
    folder = Path(config["folder"])
    jobs = options.jobs or config["jobs"]
    print(f"study    profile {Path(config['profile']).stem}, results in {folder}")
    if not show_data(config, options):
        raise ParameterError(
            f"{config['data']}: has the bad rows or images listed above; mend them, or "
            "--on-bad skip leaves them out"
        )
    new = not folder.exists()  # asked only here: another run may have made it meanwhile
    with store.locked(folder) as lock:
        name = "planned.json" if options.dry_run else "study.json"
        engine = Engine(config, extra, lock, name)
        plan = engine.plan()
        if options.dry_run:
            (folder / name).unlink()
            real = config["profile"] == "full" and not config["data"].startswith("synthetic")
            show_plan(plan, _costs() if real else {})
            if new:  # a look leaves nothing behind
                shutil.rmtree(folder)
            return 0
        if plan or extra:
            print(f"run      {_count(plan)}, {jobs} at a time\n", flush=True)
            if engine.run(jobs, len(plan)):
                failed = engine.failed()
                what = f"{len(failed)} failed" if failed else engine.fault()
                made = failed and report_the_rest(config, extra, lock, jobs)
                print(f"\nnot finished: {what}\nWhat is finished is kept; the same command goes on "
                      f"from there. The engine's log is {engine.log}")  # fmt: skip
                if made:
                    print(f"\nreport   {folder / 'report.html'} has what is finished and says what "
                          "is missing")  # fmt: skip
                return 1
        else:
            print("run      nothing to do, every notebook is up to date")
    missing = [name for name in config["targets"] if not (folder / name).is_file()]
    if missing:
        print(f"error: {folder / missing[0]} was not made; the engine's log is {engine.log}")
        return 1
    if options.check_reference:
        return show_check(folder, config["models"])
    show_outcome(folder, config["targets"], config["data"].startswith("synthetic"))
    return 0


def _choose_reference(options: argparse.Namespace) -> None:
    """Enter in `options` the models to re-run; ParameterError where the data are others."""
    from fer_utils import data as datasets
    from fer_utils.study import reference

    if not options.data:
        raise ParameterError("--check-reference needs your FER2013: give --data PATH")
    dataset = datasets.load(options.data, options.on_bad, resize=options.resize)
    options.only = reference.choose(options.only or [], dataset.provenance)


def show_check(folder: Path, models: list[str]) -> int:
    """Print the re-run models' scores beside the reference; 1 if one is not inside its interval."""
    from fer_utils.runs import store
    from fer_utils.study import reference

    runs = [run for run in store.finished_runs(folder) if run.metrics["run_id"] in models]
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
    from fer_utils.base import ResultError
    from fer_utils.data import DataError

    words = sys.argv[1:] if arguments is None else arguments
    own = words[: words.index("--")] if "--" in words else words
    options = parser().parse_args(own)
    try:
        devices.check_backend()
        return run(options, words[len(own) + 1 :])
    except (ParameterError, DataError, ResultError) as error:
        if options.traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; what is finished is kept, the same command goes on from there")
        return 130
    except BrokenPipeError:  # the reader of the output has seen enough, as in `| head`
        sys.stdout = open(os.devnull, "w")
        return 0
    except Exception as error:
        if options.traceback:
            raise
        remedy = "--traceback shows where"
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            remedy = "free space, or name another folder with --results"
        print(f"error: {error} ({remedy})", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
