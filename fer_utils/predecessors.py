"""Finished runs that a training builds on: a distillation's teacher, the network it starts from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_utils import devices, results
from fer_utils.parameters import ROOT, ParameterError

if TYPE_CHECKING:
    import keras

OF_TRAINING = ("official", "publictest", "kaggle")  # protocols that train on the same images
FILES = ("metrics.json", "model.keras", "weights.npz")  # a run's network, or the committed one
_places: dict[str, Path] = {}  # of local runs, by content; records keep no path


def named(training: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, what it says) for each key of a recipe that names a predecessor, settled or not."""
    if told := training.get("distillation"):
        yield "distillation.teacher", told["teacher"]
    if told := training.get("start_from"):
        yield "start_from", told


def settle(params: dict[str, Any], study: str | Path, seed: int = 0) -> dict[str, Any]:
    """Parameters with what the predecessors are in place of their names.

    A name is the folder of a run or the id of a model, of which the study's finished run of the
    same seed is meant, or else its first; it becomes {"run", "sha256"}. ParameterError if there is
    none.
    """
    training = dict(params["training"])
    for key, asked in named(training):
        if isinstance(asked, dict):
            continue
        settled = _settled(f"{params['id']}: training.{key} is {asked}", asked, params, study, seed)
        if key == "start_from":
            training["start_from"] = settled
        else:
            training["distillation"] = training["distillation"] | {"teacher": settled}
    return params | {"training": training}


def is_model(name: str) -> bool:
    """Is a predecessor named as a model, and not as a folder?"""
    return "/" not in name


def _settled(
    told: str, asked: str, params: dict[str, Any], study: str | Path, seed: int
) -> dict[str, str]:
    place = _place(asked, study, seed)
    files = [path for name in FILES if (path := place / name).is_file()]
    if len(files) < 2 and not _members(place):
        if is_model(asked):
            raise ParameterError(
                f"{told}, of which {study} has no finished run; run it first, or with it: "
                f"--only {asked} {params['id']}"
            )
        raise ParameterError(f"{told}, but {place} holds no finished network or ensemble")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    _places[digest] = place
    return {"run": "/".join(place.parts[-2:]), "sha256": digest}


def _place(asked: str, study: str | Path, seed: int) -> Path:
    if not is_model(asked):
        place = Path(asked).expanduser()
        return place if place.is_absolute() else ROOT / place
    runs = results.finished_runs(study, [asked])
    runs.sort(key=lambda run: run.metrics["seed"] != seed)
    return next((run.folder for run in runs), results.run_folder(study, asked, seed)).resolve()


def _members(place: Path) -> dict[str, str]:
    try:
        return _record(place)["model"].get("members", {})
    except (OSError, ValueError, KeyError):
        return {}


def _record(place: Path) -> dict[str, Any]:
    return json.loads((place / "metrics.json").read_text(encoding="utf-8"))


def checked(settled: dict[str, str], key: str, data: str, protocol: str) -> Path:
    """The folder of a settled predecessor that knows no image which the new network is tested on.

    `data` is the hash of the images and `protocol` what they are split by: ParameterError, which
    names the `key`, for a run that was trained on others than the new one is.
    """
    place = _places[settled["sha256"]]
    record = _record(place)
    other = record["protocol"]["name"]
    if record["data"]["content_sha256"] != data or not {protocol, other} <= {*OF_TRAINING}:
        raise ParameterError(
            f"training.{key}: the run {place} may know this network's test images, as "
            f"it has other data or parts of it (protocol {other}, here {protocol}); give one that "
            "was trained on the Training images of this data, for a network that is, too"
        )
    return place


def network(place: Path) -> keras.Model:
    """The network of a run's folder, or the one that is committed there."""
    from fer_utils import inference, pretrained

    if (place / pretrained.FILE).is_file():
        return pretrained.network(place)
    return inference.network(results.read_run(place))


def start(made: keras.Model, settled: dict[str, str], data: str, protocol: str) -> None:
    """Give a new network all weights of a settled run; ParameterError if they do not fit it."""
    place = checked(settled, "start_from", data, protocol)
    with devices.exact():
        weights = network(place).get_weights()
    theirs, ours = ([array.shape for array in of] for of in (weights, made.get_weights()))
    if theirs != ours:
        raise ParameterError(
            f"training.start_from: the network of {place} has other layers than this one; give one "
            "of the same builder and options"
        )
    made.set_weights(weights)
