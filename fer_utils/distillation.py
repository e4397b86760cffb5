"""Distillation: a finished run's answers as part of the labels that a network learns."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from fer_utils import devices, results
from fer_utils.parameters import ROOT, ParameterError

OF_TRAINING = ("official", "publictest", "kaggle")  # protocols that train on the same images
FILES = ("metrics.json", "model.keras", "weights.npz")  # a run's network, or the committed one
_places: dict[str, Path] = {}  # of local teachers, by content; records keep no path


def settle(params: dict[str, Any], study: str | Path) -> dict[str, Any]:
    """Parameters with what the teacher of a `training.distillation` is in place of its name.

    `teacher` is the folder of a run or the id of a model, whose first finished run in the study is
    meant; it becomes {"run", "sha256"}. ParameterError if there is none.
    """
    asked = params["training"]["distillation"]
    if asked is None or isinstance(asked["teacher"], dict):
        return params
    place = _place(asked["teacher"], study)
    files = [path for name in FILES if (path := place / name).is_file()]
    if len(files) < 2 and not _members(place):
        told = f"{params['id']}: training.distillation.teacher is {asked['teacher']}"
        if is_model(asked["teacher"]):
            raise ParameterError(
                f"{told}, of which {study} has no finished run; run it first, or with it: "
                f"--only {asked['teacher']} {params['id']}"
            )
        raise ParameterError(f"{told}, but {place} holds no finished network or ensemble")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    _places[digest] = place
    told = asked | {"teacher": {"run": "/".join(place.parts[-2:]), "sha256": digest}}
    return params | {"training": params["training"] | {"distillation": told}}


def is_model(teacher: str) -> bool:
    """Is a teacher named as a model, and not as a folder?"""
    return "/" not in teacher


def _place(teacher: str, study: str | Path) -> Path:
    if not is_model(teacher):
        place = Path(teacher).expanduser()
        return place if place.is_absolute() else ROOT / place
    runs = results.finished_runs(study, [teacher])
    return next((run.folder for run in runs), results.run_folder(study, teacher, 0)).resolve()


def _members(place: Path) -> dict[str, str]:
    try:
        return _record(place)["model"].get("members", {})
    except (OSError, ValueError, KeyError):
        return {}


def _record(place: Path) -> dict[str, Any]:
    return json.loads((place / "metrics.json").read_text(encoding="utf-8"))


def labels(
    settled: dict[str, Any], images: np.ndarray, hard: np.ndarray, data: str, protocol: str
) -> np.ndarray:
    """Labels float32 (n, classes): the teacher's probabilities, weighted, and the labels `hard`.

    The teacher sees each image uint8 (n, 48, 48) as it is and mirrored (Hinton et al. 2015, at
    temperature 1). `data` is the hash of the images and `protocol` what they are split by:
    ParameterError for a teacher that was trained on others than the student is.
    """
    from fer_utils import inference, pretrained

    place = _places[settled["teacher"]["sha256"]]
    record = _record(place)
    other = record["protocol"]["name"]
    if record["data"]["content_sha256"] != data or not {protocol, other} <= {*OF_TRAINING}:
        raise ParameterError(
            f"training.distillation: the teacher {place} may know this network's test images, as "
            f"it has other data or parts of it (protocol {other}, here {protocol}); give one that "
            "was trained on the Training images of this data, for a network that is, too"
        )
    with devices.exact():
        if (place / pretrained.FILE).is_file():
            predict = inference.of_network(pretrained.network(place))
        else:
            predict = inference.predictor(results.read_run(place))
        answers = (predict(images) + predict(images[:, :, ::-1])) / 2
    weight = settled["weight"]
    return ((1 - weight) * np.eye(answers.shape[1])[hard] + weight * answers).astype(np.float32)
