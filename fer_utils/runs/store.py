"""Result files: run folders with their checked records, tables and figures, written atomically."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fer_utils.base import ROOT, ParameterError, ResultError, replacing, write_text
from fer_utils.config import validate
from fer_utils.runs.record import Record

try:
    import fcntl
except ImportError:  # Windows itself: reading and predicting work, a study needs WSL
    fcntl = None  # type: ignore[assignment]
if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
NO_RUN = "there is no finished run; train a model first"
NOTEBOOK_STUDY = "results/notebook"  # where notebooks opened by themselves write
VIEWS = "_views"  # what scores of averaged views are called: the part's name and this


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
    import psutil

    with lock:
        if fcntl is None:
            yield lock
            return
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
            if (
                not holder.isdigit()
                or psutil.pid_exists(int(holder))
                or time.monotonic() > deadline
            ):
                raise ResultError(
                    f"{folder}: another run (process {holder}) works in this folder; "
                    "wait for it to end or name another one with --results"
                )
            time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock


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

    import matplotlib.pyplot as plt
    from IPython.display import HTML, display

    save_figure(figure, path)
    plt.close(figure)  # else the notebook shows it a second time
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
            found = {kind: arrays[f"{split}/{kind}"] for kind in kinds}
        return found | {"probabilities": found["probabilities"].astype("float32")}


def run_folder(study: str | Path, model: str, seed: int, protocol: str = "official") -> Path:
    """Where a run lies in a study; the one under its paper's protocol lies in the common one."""
    folder = study_folder(study) / "runs" / model / f"seed_{seed}"
    return folder if protocol == "official" else folder / protocol


def write_recipe(study: str | Path, params: dict[str, Any], seed: int) -> None:
    """Write a run's resolved recipe, params.json, where the study is planned."""
    folder = run_folder(study, params["id"], seed, params["protocol"])
    write_text(folder / "params.json", json.dumps(params, indent=1) + "\n")


def recipes(study: str | Path, model: str, seed: int) -> list[dict[str, Any]]:
    """The recipes of a planned run, the common protocol first; ResultError if there are none."""
    path = run_folder(study, model, seed) / "params.json"
    if not path.is_file():
        raise ResultError(f"{path}: missing; run_all.sh writes it")
    common = json.loads(path.read_text(encoding="utf-8"))
    own = run_folder(study, model, seed, common["paper_protocol"]) / "params.json"
    if own == path or not own.is_file():
        return [common]
    return [common, json.loads(own.read_text(encoding="utf-8"))]


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
    validate(metrics, Record, str(folder / "metrics.json"))
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
        write_text(staging / "params.json", json.dumps(metrics["params"], indent=1) + "\n")
        write_text(staging / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            raise ResultError(f"{folder}: cannot be written ({error}); make room") from None
        raise
    (folder / "metrics.json").unlink(missing_ok=True)
    for place in (folder, folder.parent):  # a notebook there shows the earlier run
        (place / "notebook.ipynb").unlink(missing_ok=True)
    for path in sorted(staging.iterdir(), key=lambda path: path.name == "metrics.json"):
        os.replace(path, folder / path.name)
    staging.rmdir()
    return Run(folder, metrics)


def keep_predictions(run: Run, path: str | Path) -> None:
    """Write a run's predictions of its validation and test split as float16, about 60 kB."""
    kept = {run.metrics["protocol"][role] for role in ("validation", "test")}
    kinds = {"probabilities": "float16", "labels": "uint8", "index": "int32"}
    with np.load(run.folder / "predictions.npz", allow_pickle=False) as arrays:
        chosen = [name for name in arrays if name.partition("/")[0].removesuffix(VIEWS) in kept]
        small = {name: arrays[name].astype(kinds[name.partition("/")[2]]) for name in chosen}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **small)


def read_run(folder: str | Path) -> Run:
    """Read and check a run folder; ResultError names what is missing or wrong in it."""
    folder = Path(folder)
    path = folder / "metrics.json"
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        validate(metrics, Record, str(path))
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


def best_run(runs: list[Run]) -> Run:
    """The run that is best on its validation split; ResultError if there is none.

    Those that are compared have the most classes (a choice among three is easier than one among
    seven) and the common protocol, where there are such.
    """
    if not runs:
        raise ResultError(NO_RUN)
    most = max(len(run.metrics["protocol"]["classes"]) for run in runs)
    full = [run for run in runs if len(run.metrics["protocol"]["classes"]) == most]
    common = [run for run in full if run.metrics["protocol"]["name"] == "official"]
    return max(common or full, key=lambda run: run.validation["accuracy"])


def same_images(run: Run, images: Any) -> None:
    """ResultError if a dataset is not the one that a run was made on, in the same order."""
    from fer_utils import data as datasets

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


def used(training: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what it leaves off; records have keys that are no longer known, as null."""
    return {key: value for key, value in training.items() if value is not None}
