"""Distillation: a finished network's answers as part of the labels that another one learns."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from fer_utils import devices
from fer_utils.parameters import ROOT, ParameterError

FILES = ("model.keras", "weights.npz")  # a run's network, or the committed one
OF_TRAINING = ("official", "publictest", "kaggle")  # protocols that train on the same images

_places: dict[str, Path] = {}  # of local teachers, by content; records keep no path


def settle(asked: dict[str, Any] | None, where: str) -> dict[str, Any] | None:
    """A recipe's `distillation` with what its teacher is in place of the teacher's folder.

    `teacher` becomes {"run", "sha256"}. ParameterError if the folder holds no finished network.
    """
    if asked is None or isinstance(asked["teacher"], dict):
        return asked
    place = Path(asked["teacher"]).expanduser()
    place = place if place.is_absolute() else ROOT / place
    found = [place / name for name in FILES if (place / name).is_file()]
    if not found or not (place / "metrics.json").is_file():
        raise ParameterError(
            f"{where}: {place} holds no finished network; give the folder of a run that has its "
            "model.keras, as results/full/runs/fer_net/seed_0 after ./run_all.sh --data PATH "
            "--only fer_net"
        )
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    _places[digest] = place
    return asked | {"teacher": {"run": "/".join(place.parts[-2:]), "sha256": digest}}


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
    record = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
    other = record["protocol"]["name"]
    if record["data"]["content_sha256"] != data or not {protocol, other} <= {*OF_TRAINING}:
        raise ParameterError(
            f"training.distillation: the teacher {place} was trained on other images than this "
            f"network is (its protocol is {other}, this one's {protocol}); give a teacher of the "
            "same data, both trained on Training"
        )
    with devices.exact():
        made = (
            inference.network(results.Run(place, record))
            if (place / FILES[0]).is_file()
            else pretrained.network(place)
        )
        predict = inference.of_network(made)
        answers = (predict(images) + predict(images[:, :, ::-1])) / 2
    weight = settled["weight"]
    return ((1 - weight) * np.eye(answers.shape[1])[hard] + weight * answers).astype(np.float32)
