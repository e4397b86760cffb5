"""Distillation: a finished run's answers as part of the labels that a network learns."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from fer_utils import devices
from fer_utils.parameters import ROOT, ParameterError

OF_TRAINING = ("official", "publictest", "kaggle")  # protocols that train on the same images

_places: dict[str, Path] = {}  # of local teachers, by content; records keep no path


def settle(asked: dict[str, Any] | None, where: str) -> dict[str, Any] | None:
    """A recipe's `distillation` with what its teacher is in place of the teacher's folder.

    `teacher` becomes {"run", "sha256"}. ParameterError if the folder holds no finished network or
    ensemble.
    """
    if asked is None or isinstance(asked["teacher"], dict):
        return asked
    place = Path(asked["teacher"]).expanduser()
    place = place if place.is_absolute() else ROOT / place
    networks = [path for name in ("model.keras", "weights.npz") if (path := place / name).is_file()]
    if not networks and not _members(place):
        raise ParameterError(
            f"{where}: {place} holds no finished network or ensemble; give the folder of a run, as "
            "results/full/runs/fer_net/seed_0 after ./run_all.sh --data PATH --only fer_net"
        )
    digest = hashlib.sha256()
    for path in [place / "metrics.json", *networks]:
        digest.update(path.read_bytes())
    _places[digest.hexdigest()] = place
    return asked | {"teacher": {"run": "/".join(place.parts[-2:]), "sha256": digest.hexdigest()}}


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
    from fer_utils import inference, pretrained, results

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
