"""Runs of one model under its protocols, and the runs that a notebook shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fer_utils import config, data
from fer_utils.base import DataError, ResultError
from fer_utils.models import devices
from fer_utils.runs import store
from fer_utils.training import train, transfer
from fer_utils.training.task import Task


def run(
    params: dict[str, Any], dataset: data.Dataset, study: str | Path, seed: int = 0,
    say: Any = print,
) -> store.Run:  # fmt: skip
    """Train, score and record one model in the study's folder, or return the finished run.

    A finished run is returned if parameters, data, seed and training version are the same. An
    interrupted run continues after its last whole epoch. `say` gets one line per epoch.
    """
    task = Task(transfer.settle(params), dataset, seed)
    folder, same = task.folder(study), "parameters, data, seed and training version"
    with store.locked(folder):
        if finished := task.finished(folder, "model.keras"):
            engine = finished.metrics["environment"]
            say(f"finished run of the same {same}: {engine['backend']}, {engine['precision']}")
            return finished
        if (folder / "metrics.json").is_file():
            say(f"the finished run there does not have the same {same}: trained anew")
        made = train.build(task, study, say)
        train.compile(made)
        train.fit(made)
        return train.record(made)


def run_protocols(
    complete: list[dict[str, Any]], dataset: data.Dataset, study: str | Path, seed: int = 0,
    say: Any = print,
) -> list[store.Run]:  # fmt: skip
    """The runs of one model, common protocol first, each trained by itself.

    The paper's is left out where the data cannot give it; DataError if that leaves none.
    """
    runs = []
    for params in complete:
        try:
            if len(complete) > 1:
                say(f"protocol {params['protocol']}")
            runs.append(run(params, dataset, study, seed, say))
        except DataError as error:
            if not runs:
                raise
            say(f"the paper's protocol is left out: {error}")
    return runs


def runs_or_examples(
    study: str | Path, source: str = "synthetic", models: tuple[str, ...] = ()
) -> list[store.Run]:
    """The finished runs of a study, or of some models in it; ResultError if there are none.

    In the folder of notebooks that are opened by themselves short runs on the images of `source`
    are made instead, of the first of `models`, so that there is something to show.
    """
    finished = store.finished_runs(study, models or ("*",))
    if finished:
        return finished
    if store.study_folder(study) != store.study_folder(store.NOTEBOOK_STUDY):
        what = f" of {' or '.join(models)}" if models else ""
        raise ResultError(f"{study}: no finished run{what} here; train a model first")
    devices.start()
    examples = models[:1] or ("basic_cnn", "deep_cnn")
    print(f"no finished run here: {' and '.join(examples)} are trained briefly, to have some")
    dataset = data.load(source)
    limits = {"epochs": 2, "train_limit": 1000}
    return [run(config.model(name, "demo", **limits), dataset, study) for name in examples]
