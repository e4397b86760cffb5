"""Result files: run folders with their checked records, tables and figures, written atomically."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache as cache_result
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fer_utils.base import ROOT, ParameterError, ResultError, replacing, write_text
from fer_utils.parameters import check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
NO_RUN = "there is no finished run; train a model first"
NOTEBOOK_STUDY = "results/notebook"  # where notebooks opened by themselves write
VIEWS = "_views"  # what scores of averaged views are called: the part's name and this
PACKAGES = (
    "tensorflow", "keras", "jax", "numpy", "scipy", "pandas", "scikit-learn", "imbalanced-learn",
    "opencv-python-headless", "scikit-image", "dlib-bin",
)  # fmt: skip

# what a reader sees in the place of a column's name
HEADINGS = {
    "title": "model",
    "test_split": "tested on",
    "accuracy_low": "low",
    "accuracy_high": "high",
    "accuracy_views": "accuracy of averaged views",
    "accuracy_float32": "accuracy in float32",
    "accuracy_not_in_training": "accuracy without known images",
    "train_accuracy": "accuracy in training",
    "validation_accuracy": "accuracy in validation",
    "macro_f1": "macro F1",
    "gain_low": "gain, low",
    "gain_high": "gain, high",
    "epochs_run": "epochs",
    "training_seconds": "training, s",
    "images_per_second": "training, images/s",
    "batch_1": "inference, images/s one by one",
    "batch_256": "inference, images/s by 256",
    "same_prediction": "same prediction",
    "only_first": "only first right",
    "only_second": "only second right",
    "p_holm": "p Holm",
}


def study_folder(results: str | Path) -> Path:
    """The study's folder; a relative path counts from the project's root, wherever one works."""
    path = Path(results)
    return path if path.is_absolute() else ROOT / path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[IO]:
    """Hold a folder for this process; ResultError when another one works in it.

    The lock goes with the process, even a killed one, and with those that were given its file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "a+")
    except OSError as error:
        raise ResultError(
            f"{folder}: the results folder cannot be written ({error.strerror}); "
            "name another one with --results"
        ) from None
    with lock:
        deadline = time.monotonic() + 30
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip()
            except OSError as error:
                raise ResultError(
                    f"{folder}: cannot be locked against other runs ({error.strerror}); name a "
                    "folder on another file system with --results"
                ) from None
            # a killed run's helpers need a moment to notice
            if not holder.isdigit() or alive(int(holder)) or time.monotonic() > deadline:
                raise ResultError(
                    f"{folder}: another run (process {holder}) works in this folder; "
                    "wait for it to end or name another one with --results"
                )
            time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


def alive(pid: int) -> bool:
    """Is there a process of this number on this machine?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def save_table(table: pd.DataFrame, path: str | Path, index: bool = False) -> None:
    """Write a table as CSV, atomically."""
    write_text(path, table.to_csv(index=index, lineterminator="\n"))


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of the suffix (.png or .svg), atomically and repeatably."""
    metadata = {"Date": None} if str(path).endswith(".svg") else {"Software": None}
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata=metadata)


def show(figure: Figure, path: str | Path, caption: str, folded: bool = False) -> None:
    """Save a figure and display it in the notebook with its caption as alternative text.

    A folded one shows its caption until it is clicked.
    """
    import base64
    import html

    from IPython.display import HTML, display

    save_figure(figure, path)
    path = Path(path)
    kind = "svg+xml" if path.suffix == ".svg" else path.suffix[1:]
    data = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(caption, quote=True)
    image = f'<img src="data:image/{kind};base64,{data}" alt="{text}">'
    if folded:
        shown = f"<details><summary>{text}</summary><figure>{image}</figure></details>"
    else:
        shown = f"<figure>{image}<figcaption>{text}</figcaption></figure>"
    display(HTML(shown))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@cache_result  # of the code that this process runs, whatever is committed or edited meanwhile
def git_commit() -> str:
    """The commit that is checked out, with a note on local changes; unknown outside of git."""
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "--untracked-files=no"):
        commit += " with local changes"
    return commit or "unknown"


def environment() -> dict[str, Any]:
    """Versions, processor and commit that a run is recorded with (no backend is imported)."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "processor": _processor(),
        "cores": cores(),
        "threads": threads(),  # a sum's order, and with it the last digits, depends on them
        "git_commit": git_commit(),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Threads that this process is to compute with: all cores, or its share of `--jobs`."""
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS", cores()))


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


@dataclass(frozen=True)
class Run:
    """One finished run on disk: `metrics` (the record), `history` and `predictions`."""

    folder: Path
    metrics: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.metrics['params']['title']}, seed {self.metrics['seed']}"

    @property
    def place(self) -> str:
        """The run's folder, counted from the study's."""
        name, protocol = self.metrics["run_id"], self.metrics["protocol"]["name"]
        return str(run_folder("/", name, self.metrics["seed"], protocol))[1:]

    @property
    def test(self) -> dict[str, Any]:
        """Scores of the split that the protocol reports."""
        return self.metrics["scores"][self.metrics["protocol"]["test"]]

    @property
    def validation(self) -> dict[str, Any]:
        """Scores of the split that the protocol selects on."""
        return self.metrics["scores"][self.metrics["protocol"]["validation"]]

    @cached_property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "history.csv")

    def __repr__(self) -> str:
        return f"<run of {self.label}, {self.metrics['protocol']['name']} protocol: {self.folder}>"

    def predictions(self, split: str) -> dict[str, np.ndarray]:
        """`probabilities` float32 (n, classes), `labels` (n,), `index` (n,) into the data set.

        ResultError for a split that the run has no predictions of.
        """
        path = self.folder / "predictions.npz"
        if not path.is_file():
            raise ResultError(f"{self.place}: the predictions of this run are not kept")
        with np.load(path, allow_pickle=False) as arrays:
            known = dict.fromkeys(name.partition("/")[0] for name in arrays)
            if split not in known:
                raise ResultError(
                    f"{self.place}: no predictions of '{split}'; there are {', '.join(known)}"
                )
            kinds = ("probabilities", "labels", "index")
            return {kind: arrays[f"{split}/{kind}"] for kind in kinds}


def run_folder(study: str | Path, model: str, seed: int, protocol: str = "official") -> Path:
    """Where a run lies in a study; the one under its paper's protocol lies in the common one."""
    folder = study_folder(study) / "runs" / model / f"seed_{seed}"
    return folder if protocol == "official" else folder / protocol


def sweep(study: Path) -> None:
    """Remove the half-written files that killed processes have left in a study.

    For the one that holds the study's lock; folders that others hold are theirs.
    """
    for left in [*study.rglob(".*.partial*")]:
        if any(_held(study / place) for place in left.relative_to(study).parents[:-1]):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _held(folder: Path) -> bool:
    """Does a process work in this folder?"""
    with contextlib.suppress(FileNotFoundError), open(folder / ".lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def write_run(
    folder: Path,
    metrics: dict[str, Any],
    history: pd.DataFrame,
    predictions: dict[str, dict[str, np.ndarray]],
    save_model: Callable[[Path], None] | None = None,
) -> Run:
    """Write a run's files as a set: all beside the old ones first, then moved, metrics.json last.

    `save_model` writes the model's file into the folder that it is given.
    A folder with metrics.json is complete, and a full disk leaves the earlier run as it was.
    """
    check(metrics, "metrics", str(folder / "metrics.json"))
    arrays = {
        f"{split}/{kind}": array for split, of in predictions.items() for kind, array in of.items()
    }
    staging = folder / f".new.{os.getpid()}.partial"
    for left in folder.glob(".new.*.partial"):  # by a killed process
        shutil.rmtree(left, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        if save_model:
            save_model(staging)
        save_table(history, staging / "history.csv")
        np.savez_compressed(staging / "predictions.npz", **arrays)
        write_text(staging / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            raise ResultError(f"{folder}: cannot be written ({error}); make room") from None
        raise
    (folder / "metrics.json").unlink(missing_ok=True)
    for path in sorted(staging.iterdir(), key=lambda path: path.name == "metrics.json"):
        os.replace(path, folder / path.name)
    staging.rmdir()
    return Run(folder, metrics)


def read_run(folder: str | Path) -> Run:
    """Read and check a run folder; ResultError names what is missing or wrong in it."""
    folder = Path(folder)
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        check(metrics, "metrics", str(path))
    except FileNotFoundError:
        raise ResultError(f"{path}: there is no finished run here") from None
    except (ValueError, ParameterError) as error:
        raise ResultError(
            f"{path}: not a record of a run ({error}); delete it and re-run"
        ) from None
    for name in ("history.csv", "predictions.npz"):
        if not (folder / name).is_file():
            raise ResultError(
                f"{folder / name}: missing, so a record alone, as reference.read reads them; of a "
                f"run of yours delete {path} and re-run"
            )
    return Run(folder, metrics)


def finished_runs(study: str | Path, models: Iterable[str] = ("*",)) -> list[Run]:
    """All finished runs of a study, or of some models in it.

    Sorted by model and seed, the common protocol first.
    """
    folder = study_folder(study) / "runs"
    places = [f"{model}/{rest}" for model in models for rest in ("seed_*", "seed_*/*")]
    found = [path for place in places for path in folder.glob(f"{place}/metrics.json")]
    return sorted(
        # one that is being written lies in a hidden folder
        (read_run(path.parent) for path in found if not path.parent.name.startswith(".")),
        key=lambda run: (run.metrics["run_id"], run.metrics["seed"], len(run.folder.parts)),
    )


def on_same_data(runs: list[Run]) -> tuple[list[Run], list[Run]]:
    """The runs on the data of the run that finished last, and the others.

    Predictions tell images by their places: of the runs of the same classes those go together that
    have the images in the order of the newest. ResultError if there is no run.
    """
    if not runs:
        raise ResultError(NO_RUN)
    newest_last = sorted(runs, key=lambda run: run.metrics["timing"]["finished_at"])
    pixels = newest_last[-1].metrics["data"]["pixels_sha256"]

    def classes(run: Run) -> tuple[str, ...]:
        return tuple(run.metrics["protocol"]["classes"])

    # the hash of a run's content is that of the images of its classes alone
    latest = {
        classes(run): run.metrics["data"]["content_sha256"]
        for run in newest_last
        if run.metrics["data"]["pixels_sha256"] == pixels
    }
    same = [latest.get(classes(run)) == run.metrics["data"]["content_sha256"] for run in runs]
    chosen = [run for run, fits in zip(runs, same, strict=True) if fits]
    return chosen, [run for run, fits in zip(runs, same, strict=True) if not fits]


def best_run(runs: list[Run]) -> tuple[Run, int]:
    """The run that is best on its validation split, and of how many models it is the best.

    Those that are compared have the most classes (a choice among three is easier than one among
    seven) and the common protocol, where there are such. ResultError if there is no run.
    """
    if not runs:
        raise ResultError(NO_RUN)

    def on_validation(run: Run) -> float:
        return run.validation["accuracy"]

    most = max(len(run.metrics["protocol"]["classes"]) for run in runs)
    full = [run for run in runs if len(run.metrics["protocol"]["classes"]) == most]
    common = [run for run in full if run.metrics["protocol"]["name"] == "official"] or full
    return max(common, key=on_validation), len({run.metrics["run_id"] for run in common})


def same_images(run: Run, images: Any) -> None:
    """ResultError if a dataset is not the one that a run was made on, in the same order."""
    from fer_utils import datasets

    wanted, classes, what = run.metrics["data"], run.metrics["protocol"]["classes"], ""
    if images.provenance["pixels_sha256"] != wanted["pixels_sha256"]:
        what = "other images"
    else:
        held = images if [*images.classes] == classes else datasets.select_classes(images, classes)
        if datasets.content_sha256(held) != wanted["content_sha256"]:
            what = "the same images in another order"
    if what:
        raise ResultError(
            f"the runs were made on {wanted['source']}, and {images.provenance['source']} has "
            f"{what}: give the runs' data as the parameter data"
        )


def headline(runs: list[Run]) -> str:
    """The outcome in Markdown: the run that validation puts first, scored on its test split."""
    best, of = best_run(runs)
    score, protocol = best.test, best.metrics["protocol"]
    several = len({run.metrics["seed"] for run in runs}) > 1
    seed = f" (seed {best.metrics['seed']})" if several else ""
    models = f"{of} model{'s' * (of > 1)}"
    if of < len({run.metrics["run_id"] for run in runs}):
        models += f" of {len(protocol['classes'])} classes"
    text = (
        f"**{best.metrics['params']['title']}**{seed} comes first of {models} by accuracy on "
        f"{protocol['validation']}, where models are chosen. Of {score['n']:,} {protocol['test']} "
        f"images it gets **{score['accuracy']:.1%}** right (95 % interval "
        f"{score['accuracy_low']:.1%} to {score['accuracy_high']:.1%}), macro F1 "
        f"{score['macro_f1']:.3f}."
    )
    if best.metrics["data"]["synthetic"]:
        return (
            "**The faces are synthetic**, drawn by the study itself: the numbers show that it "
            f"works and say nothing about FER2013 or any paper.\n\n{text}"
        )
    return text


def score_table(runs: list[Run]) -> pd.DataFrame:
    """Every score of some runs: a row for each protocol and split."""
    columns = "n accuracy accuracy_low accuracy_high macro_f1 top2_accuracy ece nll".split()
    rows = [
        {"protocol": run.metrics["protocol"]["name"], "split": split, **score}
        for run in runs
        for split, score in run.metrics["scores"].items()
    ]
    return pd.DataFrame(rows)[["protocol", "split", *columns]]


def comparison(runs: list[Run]) -> pd.DataFrame:
    """The table of comparison.csv: one row per run and protocol."""
    rows = []
    for run in runs:
        metrics, protocol = run.metrics, run.metrics["protocol"]
        train, selected = metrics["scores"][protocol["train"]], run.validation
        apart = metrics["scores"].get(f"{protocol['test']}_not_in_training", {})
        several = metrics["scores"].get(protocol["test"] + VIEWS, {})
        rows.append(
            {
                "run_id": metrics["run_id"],
                "title": metrics["params"]["title"],
                "paper": metrics["params"]["paper"],
                "classes": len(protocol["classes"]),
                "seed": metrics["seed"],
                "protocol": protocol["name"],
                "paper_protocol": metrics["params"]["paper_protocol"],
                "test_split": protocol["test"],
                "n": run.test["n"],
                "accuracy": run.test["accuracy"],
                "accuracy_low": run.test["accuracy_low"],
                "accuracy_high": run.test["accuracy_high"],
                "accuracy_views": several.get("accuracy"),
                "macro_f1": run.test["macro_f1"],
                "accuracy_not_in_training": apart.get("accuracy"),
                "accuracy_not_in_training_low": apart.get("accuracy_low"),
                "accuracy_not_in_training_high": apart.get("accuracy_high"),
                "train_accuracy": train["accuracy"],
                "validation_accuracy": selected["accuracy"],
                "gap": train["accuracy"] - selected["accuracy"],
                "ece": run.test["ece"],
                "nll": run.test["nll"],
                "parameters": metrics["model"]["parameters"],
                "epochs_run": metrics["model"]["epochs_run"],
                "best_epoch": metrics["model"]["best_epoch"],
                "training_seconds": metrics["timing"]["training_seconds"],
                "images_per_second": metrics["timing"]["images_per_second"],
                "folder": run.place,
            }
        )
    return pd.DataFrame(rows)


def seeds(runs: list[Run]) -> pd.DataFrame:
    """Spread over seeds of each model and protocol that has several: mean, deviation, range."""
    rows = [
        {
            "run_id": run.metrics["run_id"],
            "model": run.metrics["params"]["title"],
            "protocol": run.metrics["protocol"]["name"],
            "accuracy": run.test["accuracy"],
        }
        for run in runs
    ]
    groups = pd.DataFrame(rows).groupby(["run_id", "model", "protocol"], sort=False)["accuracy"]
    table = groups.agg(["count", "mean", "std", "min", "max"]).reset_index()
    table = table[table["count"] > 1].drop(columns="run_id").reset_index(drop=True)
    return table.rename(columns={"count": "seeds", "std": "deviation"})


def own_protocol(comparison: pd.DataFrame) -> pd.DataFrame:
    """The rows of a comparison under the papers' own protocols, where that was run."""
    return comparison[comparison["protocol"] == comparison["paper_protocol"]]
