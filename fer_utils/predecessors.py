"""Finished runs that a training builds on: a distillation's teacher, the network it starts from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_utils import devices, results
from fer_utils.lineage import PARTS, is_model, named, replaced
from fer_utils.parameters import ROOT, ParameterError

if TYPE_CHECKING:
    import keras

FILES = ("model.keras", "weights.npz")  # a run's network, or the committed one
_places: dict[str, Path] = {}  # of local runs, by content; records keep no path


def settle(
    params: dict[str, Any], study: str | Path, seed: int = 0, coming: Container[str] = ()
) -> dict[str, Any]:
    """Parameters with what the predecessors are in place of their names.

    A name is the folder of a run or the id of a model, of which the study's finished run of the
    same seed is meant; a teacher may be of another seed, then it is the first. It becomes {"run",
    "file", "sha256", "selected"}; the models in `coming` stay names. ParameterError if there is
    none.
    """

    def place(key: str, asked: Any) -> Any:
        if isinstance(asked, dict) or asked in coming:
            return asked
        return _settled(params["id"], key, asked, study, seed)

    return params | {"training": replaced(params["training"], place)}


def _settled(id: str, key: str, asked: str, study: str | Path, seed: int) -> dict[str, str]:
    told = f"{id}: training.{key} is {asked}"
    if is_model(asked):
        runs = results.finished_runs(study, [asked])
        of_seed = [run for run in runs if run.metrics["seed"] == seed]
        runs = of_seed if key == "start_from" else of_seed + runs
        if not runs:
            of = f" of seed {seed}" if key == "start_from" else ""
            seeds = f" --seeds {seed}" if seed else ""
            raise ParameterError(
                f"{told}, of which {study} has no finished run{of}; run it first, or with it: "
                f"--only {asked} {id}{seeds}"
            )
        place = runs[0].folder.resolve()
    else:
        place = Path(asked).expanduser()
        place = place if place.is_absolute() else ROOT / place
    file = next((name for name in FILES if (place / name).is_file()), "")
    try:
        record = _record(place)
        run, members = f"{record['run_id']}/seed_{record['seed']}", record["model"].get("members")
        selected = any(map(_selected, (record, *_members(place, record))))
    except (OSError, ValueError, KeyError, TypeError):
        run, file, members, selected = "", "", None, True
    if not file and members and key != "start_from":
        folders = [place.parents[2] / member for member in members]
        if lacking := [one for one in folders if not any((one / name).is_file() for name in FILES)]:
            raise ParameterError(f"{told}, an ensemble, but {lacking[0]} holds no network of it")
    elif not file:
        kind = "network" if key == "start_from" else "network or ensemble"
        raise ParameterError(f"{told}, but {place} holds no finished {kind}")
    content = [(place / name).read_bytes() for name in ("metrics.json", file) if name]
    digest = hashlib.sha256(b"".join(content)).hexdigest()
    _places[digest] = place
    return {
        "run": run,
        "file": file or "metrics.json",
        "sha256": digest,
        "selected": selected,  # by validation images, it or what it was built on
    }


def _record(place: Path) -> dict[str, Any]:
    return json.loads((place / "metrics.json").read_text(encoding="utf-8"))


def checked(settled: dict[str, str], key: str, data: str, protocol: str) -> Path:
    """The folder of a settled predecessor that knows no image which the new network is tested on.

    `data` is the hash of the images and `protocol` what they are split by: ParameterError, which
    names the `key`, for a run that was trained on others than the new one is, or that was selected
    on images which test the new one.
    """
    place = _places[settled["sha256"]]
    record = _record(place)
    other = record["protocol"]["name"]
    if record["data"]["content_sha256"] != data or not {protocol, other} <= {*PARTS}:
        raise ParameterError(
            f"training.{key}: the run {place} may know this network's test images, as "
            f"it has other data or parts of it (protocol {other}, here {protocol}); give one that "
            "was trained on the Training images of this data, for a network that is, too"
        )
    chosen_on, tested_on = PARTS[other][0], PARTS[protocol][1]
    if settled["selected"] and other != protocol and chosen_on & tested_on:
        raise ParameterError(
            f"training.{key}: the run {place} was selected on images that test this network "
            f"(protocol {other}, here {protocol}); give one of the same protocol"
        )
    return place


def _selected(record: dict[str, Any]) -> bool:
    before = (told.get("selected", True) for _, told in named(record["params"]["training"]))
    return not record["protocol"]["selected_on"].startswith("nothing") or any(before)


def _members(place: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    return [_record(place.parents[2] / member) for member in record["model"].get("members", ())]


def network(place: Path) -> keras.Model:
    """The network of a run's folder, or the one that is committed there."""
    from fer_utils import inference, pretrained

    if (place / "model.keras").is_file():
        return inference.network(results.read_run(place))
    return pretrained.network(place)


def start(made: keras.Model, params: dict[str, Any], data: str) -> None:
    """Give a new network all weights of the run that its settled parameters start from.

    ParameterError if they do not fit it, or were trained on pixels of another scaling.
    """
    place = checked(params["training"]["start_from"], "start_from", data, params["protocol"])
    scaling, theirs = params["training"]["pixels"], _record(place)["params"]["training"]["pixels"]
    if theirs != scaling:
        raise ParameterError(
            f"training.start_from: the network of {place} takes pixels: {theirs}, this one "
            f"{scaling}"
        )
    with devices.exact():
        weights = network(place).get_weights()
    if [array.shape for array in weights] != [array.shape for array in made.get_weights()]:
        raise ParameterError(
            f"training.start_from: the network of {place} has other layers than this one; give one "
            "of the same builder and options"
        )
    made.set_weights(weights)
