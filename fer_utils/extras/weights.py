"""The study's own network with its committed weights (results/reference), without training."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_utils import data as datasets
from fer_utils import models
from fer_utils.base import ResultError
from fer_utils.models import devices
from fer_utils.runs import predictors, store
from fer_utils.runs.committed import FILE, RUN, available
from fer_utils.training.task import Task

if TYPE_CHECKING:
    import keras


def network(folder: Path = RUN) -> keras.Model:
    """The network with its committed weights, from pixels (n, 48, 48, 1) to probabilities (n, 7).

    ResultError if there are none here or if they are not of the network that the code builds.
    """
    devices.quiet()
    path, metrics = folder / FILE, record(folder)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        scale, offset = arrays["scaling"].tolist()
        made = models.build(
            metrics["params"]["builder"],
            classes=len(metrics["protocol"]["classes"]),
            scale=scale,
            offset=offset,
            **metrics["params"]["options"],
        )
        made.set_weights(
            [
                arrays[f"weight_{i}"] * arrays.get(f"scale_{i}", np.float32(1))
                for i in range(len(made.weights))
            ]
        )
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ResultError(
            f"{path}: not the weights of {metrics['run_id']} as it is built now ({error}); "
            "git checkout brings the committed file back"
        ) from None
    return made


def record(folder: Path = RUN) -> dict[str, Any]:
    """metrics.json of the run that the weights are from; ResultError if there is none."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{folder / 'metrics.json'}: no committed record ({error})") from None


def runs(dataset: datasets.Dataset, study: str | Path, source: str) -> list[store.Run]:
    """The study's finished runs on these images, else the committed network scored on them.

    For synthetic images, and where the study has runs on other images, it is as
    `training.runs_or_examples` says.
    """
    from fer_utils import training

    finished, here = store.finished_runs(study), []
    for run in finished:
        with contextlib.suppress(ResultError):
            store.same_images(run, dataset)
            here.append(run)
    alone = store.study_folder(study) == store.study_folder(store.NOTEBOOK_STUDY)
    possible = available() and not dataset.provenance.get("synthetic")
    if possible and not here and (alone or not finished):
        print("no finished run on these images: FER-Net with its committed weights stands in")
        if record(RUN)["data"]["pixels_sha256"] != dataset.provenance["pixels_sha256"]:
            print("they are not, pixel for pixel, those that it was trained on")
        return [restore(dataset, study, RUN)]
    return here or training.runs_or_examples(study, source)


def restore(dataset: datasets.Dataset, study: str | Path, folder: Path = RUN) -> store.Run:
    """The committed network as a run, scored on these images or as it was when last asked for.

    It lies beside the study's runs, which stay those that were trained.
    """
    import keras

    committed = record(folder)
    title = f"{committed['params']['title']}, committed int8 weights"
    params, seed = committed["params"] | {"title": title}, committed["seed"]
    params["weights_sha256"] = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    if committed["protocol"]["classes"] != list(dataset.classes):
        raise ResultError(
            f"{folder}: the committed network tells {', '.join(committed['protocol']['classes'])} "
            f"apart, these images have {', '.join(dataset.classes)}: train a network on them first"
        )
    task = Task(params, dataset, seed)
    place = store.study_folder(study) / "pretrained"
    with store.locked(place), devices.exact():
        if run := task.finished(place, "model.keras"):
            return run
        made = network(folder)
        predict = predictors.of_network(made)
        metrics = task.record(
            predictions := task.predictions(lambda part: predict(task.dataset.images[part])),
            model=committed["model"] | {"weights": "int8, results/reference"},
            timing={"training_seconds": 0.0, "images_per_second": 0.0, "stages": {}},
            engine={
                "backend": keras.backend.backend(),
                "precision": "float32",
                "device": devices.name(),
            },
        )
        return store.write_run(
            place,
            metrics,
            store.Run(folder, committed).history,
            predictions,
            lambda staging: made.save(staging / "model.keras"),
        )
