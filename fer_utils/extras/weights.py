"""The study's own network with its committed weights (results/reference), without training."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer_utils import data as datasets
from fer_utils import models
from fer_utils.base import ResultError, replacing
from fer_utils.data.dataset import cache_folder
from fer_utils.extras import export
from fer_utils.models import devices
from fer_utils.runs import predictors, store
from fer_utils.runs.committed import FILE, RUN, available

if TYPE_CHECKING:
    import keras


def record(folder: Path = RUN) -> dict[str, Any]:
    """metrics.json of the run that the weights are from; ResultError if there is none."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{folder / 'metrics.json'}: no committed record ({error})") from None


def network(folder: Path = RUN) -> keras.Model:
    """The network with its committed weights, from pixels (n, 48, 48, 1) to probabilities (n, 7).

    ResultError if there are none here or if they are not of the network that the code builds.
    """
    devices.quiet()
    path, metrics = folder / FILE, record(folder)
    classes, options = len(metrics["protocol"]["classes"]), metrics["params"]["options"]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        scale, offset = arrays["scaling"].tolist()
        options = {"classes": classes, "scale": scale, "offset": offset, **options}
        made = models.build(metrics["params"]["builder"], **options)
        scales = [arrays.get(f"scale_{i}", np.float32(1)) for i in range(len(made.weights))]
        made.set_weights([arrays[f"weight_{i}"] * scale for i, scale in enumerate(scales)])
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ResultError(
            f"{path}: damaged, or not the weights of {metrics['run_id']} as this version of the "
            f"code builds it ({error})"
        ) from None
    return made


def in_int8(folder: Path = RUN) -> Callable[[np.ndarray], np.ndarray] | None:
    """Probabilities of images by the committed network as a TensorFlow Lite file of int8 weights.

    The file is made once and kept in the cache, so that later no Keras is loaded. None where there
    is no LiteRT, or no file yet and Keras does not run on TensorFlow, which alone converts.
    """
    digest = hashlib.sha256(json.dumps(record(folder)["params"]).encode())
    with contextlib.suppress(OSError):  # network() names a missing file
        digest.update((folder / FILE).read_bytes())
    cache = cache_folder()
    path = cache and cache / f"{folder.parent.name}-{digest.hexdigest()[:24]}.tflite"
    with contextlib.suppress(OSError, ValueError):  # there is none, or it is damaged: made anew
        if path and export.installed():
            return export.predictor(path)
    if not export.possible():
        return None
    content = export.converted(network(folder))
    if path:
        with contextlib.suppress(ResultError):  # a full or read-only disk costs only time
            with replacing(path) as temporary:
                temporary.write_bytes(content)
    return export.predictor(content)


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
            print("their pixels differ from those that it was trained on")
        return [restore(dataset, study, RUN)]
    return here or training.runs_or_examples(study, source)


def restore(dataset: datasets.Dataset, study: str | Path, folder: Path = RUN) -> store.Run:
    """The committed network as a run, scored once on these images.

    Its folder is `pretrained`, so that it does not count among the study's trained runs.
    """
    import keras

    from fer_utils.training.task import Task

    committed = record(folder)
    title = f"{committed['params']['title']}, committed int8 weights"
    digest = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    params = committed["params"] | {"title": title, "weights_sha256": digest}
    if committed["protocol"]["classes"] != list(dataset.classes):
        raise ResultError(
            f"{folder}: the classes of the committed network are "
            f"{', '.join(committed['protocol']['classes'])}, these images have "
            f"{', '.join(dataset.classes)}: train a network on them first"
        )
    task = Task(params, dataset, committed["seed"])
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
        history = store.Run(folder, committed).history
        saved = lambda staging: made.save(staging / "model.keras")  # noqa: E731
        return store.write_run(place, metrics, history, predictions, saved)
