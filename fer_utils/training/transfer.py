"""Transfer learning: where the weights of a base come from, and its features, computed once."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fer_utils.base import ROOT, ParameterError, ResultError, replacing
from fer_utils.config import merge
from fer_utils.data import quality
from fer_utils.data.dataset import cache_folder
from fer_utils.models import devices

POOLED = "avg_pool"
MD5 = "4d473c1dd8becc155b73f8504c6f6626"  # of Keras' file of ImageNet weights without top
BATCH = 32
SAVE_EVERY = 4096  # images; an interrupted extraction goes on from here

_places: dict[str, Path] = {}  # of local weights files, by content; records keep no path


def settle(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the weights that they name; unchanged where they name none.

    `training.weights` is "imagenet", a path or null, and becomes {"kind": "imagenet" or "file",
    "name", "sha256"}. Without weights the model's `from_scratch` section takes effect.
    ParameterError if there is no such file.
    """
    params = copy.deepcopy(params)
    fallback = params.pop("from_scratch", {})
    asked = params["training"]["weights"]
    if isinstance(asked, dict):
        return params
    if asked == "imagenet":
        asked = {"kind": "imagenet", "name": "imagenet", "sha256": None}
    elif asked:
        asked = _local(asked, f"{params['id']}: training.weights")
        params["title"] += f" ({asked['name']})" * (asked["kind"] == "file")
    else:
        params = merge(params, fallback)
    params["training"]["weights"] = asked or None
    return params


def _local(asked: str, where: str) -> dict[str, Any]:
    place = Path(asked).expanduser()
    place = place if place.is_absolute() else ROOT / place
    if not place.is_file():
        raise ParameterError(
            f"{where}: there is no file {place}; give ResNet-50 weights, .h5 or .keras, or "
            "`imagenet`, or null to train from scratch"
        )
    content = place.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    _places[digest] = place
    kind = "imagenet" if hashlib.md5(content).hexdigest() == MD5 else "file"
    return {"kind": kind, "name": place.name, "sha256": digest}


def kind(params: dict[str, Any]) -> str:
    """What a settled model starts from, in words for a record; empty for a plain network."""
    weights = params["training"]["weights"]
    if weights:
        return "ImageNet weights" if weights["kind"] == "imagenet" else f"file {weights['name']}"
    return "random weights, from scratch" if params["builder"] == "resnet50" else ""


def load(network: Any, weights: dict[str, Any] | None) -> None:
    """Give the base of a network the settled weights; ParameterError if they do not fit it."""
    if weights is None:
        return
    import keras

    base = keras.Model(network.input, network.get_layer(POOLED).output)
    try:
        if weights["sha256"] is None:
            source = keras.applications.ResNet50(include_top=False, weights="imagenet")
        else:
            place = _places[weights["sha256"]]
            if place.suffix != ".keras":
                base.load_weights(place)
                return
            source = keras.models.load_model(place, compile=False)
        base.set_weights(source.get_weights()[: len(base.weights)])
    except Exception as error:  # of many kinds: a download, a file format, a shape
        told = " ".join(str(error).split())[:300]
        raise ParameterError(
            f"training.weights: {weights['name']} could not be loaded ({told}); give `imagenet`, "
            "the path of ResNet-50 weights without top that Keras loads, or null to train from "
            "scratch"
        ) from None


def frozen(network: Any) -> bool:
    """Has a network pooled features, and is nothing trained before them?"""
    if POOLED not in [layer.name for layer in network.layers]:
        return False
    base = network.layers[: network.layers.index(network.get_layer(POOLED))]
    return not any(layer.trainable_weights for layer in base)


def extractor(network: Any) -> Any:
    """The network up to its pooled features."""
    import keras

    from fer_utils.models import layers

    return layers.fuse(keras.Model(network.input, network.get_layer(POOLED).output))


def head(network: Any) -> Any:
    """The layers behind the pooled features as a network of their own with the same weights."""
    import keras

    pooled = network.get_layer(POOLED)
    rest = network.layers[network.layers.index(pooled) + 1 :]
    return keras.Sequential([keras.Input((pooled.output.shape[-1],)), *rest])


def features(base: Any, images: np.ndarray, say: Any = print) -> np.ndarray:
    """Features float32 (n, d) of images uint8 (n, 48, 48), from the cache where it has them.

    They are kept by content, of each image and of the base, so that protocols and runs share them.
    An image's features do not depend on its neighbours in a batch.
    """
    folder = cache_folder()
    place = folder and folder / f"features-{_key(base)}.npz"
    digests, known = _kept(place, base.output.shape[-1])
    wanted = quality.image_digests(images)
    _, first = np.unique(wanted, return_index=True)
    missing = first[~np.isin(wanted[first], digests)]
    for start in range(0, len(missing), SAVE_EVERY):
        part = missing[start : start + SAVE_EVERY]
        if len(missing) > BATCH:
            say(f"features of images {start + 1:,} to {start + len(part):,} of {len(missing):,}")
        digests = np.concatenate([digests, wanted[part]])
        known = np.concatenate([known, _computed(base, images[part])])
        if not place:
            continue
        with contextlib.suppress(ResultError):  # a full disk costs time, not the features
            with replacing(place) as temporary:
                np.savez(temporary, digests=digests, features=known)
    order = np.argsort(digests)
    return known[order[np.searchsorted(digests[order], wanted)]]


def _computed(base: Any, images: np.ndarray) -> np.ndarray:
    # every batch of one size, so that each image is computed in the same way
    padding = np.repeat(images[:1], -len(images) % BATCH, axis=0)
    whole = np.concatenate([images, padding])[..., None]
    return base.predict(**devices.batches(whole, size=BATCH), verbose=0)[: len(images)]


def _kept(place: Path | None, width: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(place, allow_pickle=False) as file:
            return file["digests"], file["features"]
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile):
        return quality.image_digests(np.zeros((0, 48, 48), np.uint8)), np.zeros((0, width), "f4")


def _key(base: Any) -> str:
    digest = hashlib.sha256()
    for layer in base.layers:
        config = {key: value for key, value in layer.get_config().items() if key != "name"}
        digest.update(repr(sorted(config.items())).encode())
    for weight in base.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()[:24]
