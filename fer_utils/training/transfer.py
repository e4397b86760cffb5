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
from fer_utils.models import devices, layers, torchvision

POOLED = "avg_pool"
MD5 = "4d473c1dd8becc155b73f8504c6f6626"  # of Keras' file of ImageNet weights without top
FORMS = (
    "give `imagenet`, the path of ResNet-50 weights (.h5 or .keras of Keras, .pth or .safetensors "
    "of torchvision), or null to train from scratch"
)
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
        if asked["kind"] == "file":
            params["title"] += f" ({asked['name']})"
        if Path(asked["name"]).suffix in torchvision.SUFFIXES:
            params["options"]["stride_in_3x3"] = True
    else:
        params = merge(params, fallback)
    params["training"]["weights"] = asked or None
    return params


def _local(asked: str, where: str) -> dict[str, Any]:
    place = Path(asked).expanduser()
    place = place if place.is_absolute() else ROOT / place
    if not place.is_file():
        raise ParameterError(f"{where}: there is no file {place}; {FORMS}")
    content = place.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    _places[digest] = place
    kind = "imagenet" if hashlib.md5(content).hexdigest() == MD5 else "file"
    return {"kind": kind, "name": place.name, "sha256": digest}


def kind(params: dict[str, Any]) -> str:
    """The weights that a model starts from, for its record; empty for a plain network."""
    weights = params["training"]["weights"]
    if weights:
        return "ImageNet weights" if weights["kind"] == "imagenet" else f"file {weights['name']}"
    return "random weights, from scratch" if params["builder"] == "resnet50" else ""


def load(network: Any, weights: dict[str, Any] | None) -> None:
    """Give the base of a network the named weights; ParameterError names file and key if not.

    Keras reads .h5 and .keras files, with or without the top; their layers are matched by name. A
    state dict of torchvision's ResNet-50 (.pth, .pt, .safetensors) is mapped by
    `models.torchvision`, for the network that the option `stride_in_3x3` builds.
    """
    if weights is None:
        return
    import keras

    base = keras.Model(network.input, network.get_layer(POOLED).output)
    place = _places[weights["sha256"]] if weights["sha256"] else None
    try:
        if place is None:
            source = keras.applications.ResNet50(include_top=False, weights="imagenet")
            base.set_weights(source.get_weights())
        elif place.suffix in torchvision.SUFFIXES:
            torchvision.assign(base, place)
        elif place.suffix == ".keras":
            _by_name(base, keras.models.load_model(place, compile=False))
        else:  # by name, Keras leaves out what the file has not
            base.set_weights([np.full(weight.shape, np.nan) for weight in base.weights])
            base.load_weights(place, by_name=True)
            missing = (w.path for w in base.weights if np.isnan(devices.array(w)).any())
            if key := next(missing, None):
                raise ValueError(f"it has no {key}, or values that are not numbers")
    except Exception as error:  # of many kinds: a download, a file format, a shape
        reason = " ".join(str(error).split())[:300]
        raise ParameterError(
            f"training.weights: {weights['name']} could not be loaded ({reason}); {FORMS}"
        ) from None


def _by_name(base: Any, source: Any) -> None:
    found = {layer.name: layer for layer in source.layers}
    for inner in (layer for layer in source.layers if hasattr(layer, "layers")):
        found |= {layer.name: layer for layer in inner.layers}
    for layer in base.layers:
        if layer.weights and layer.name not in found:
            raise ValueError(f"it has no layer {layer.name}")
        if layer.weights:
            layer.set_weights(found[layer.name].get_weights())


def frozen(network: Any) -> bool:
    """Has a network pooled features, and is nothing trained before them?"""
    names = [layer.name for layer in network.layers]
    if POOLED not in names:
        return False
    return not any(layer.trainable_weights for layer in network.layers[: names.index(POOLED)])


def extractor(network: Any) -> Any:
    """The network up to its pooled features."""
    import keras

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
    An image's features do not depend on the others in its batch: all batches have one size.
    """
    folder, wanted = cache_folder(), quality.image_digests(images)
    place = folder and folder / f"features-{_key(base)}.npz"
    digests, known = wanted[:0], np.zeros((0, base.output.shape[-1]), np.float32)
    damaged = (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile)
    with contextlib.suppress(*damaged), np.load(place, allow_pickle=False) as file:
        digests, known = file["digests"], file["features"]
    _, first = np.unique(wanted, return_index=True)
    missing = first[~np.isin(wanted[first], digests)]
    for start in range(0, len(missing), SAVE_EVERY):
        part = missing[start : start + SAVE_EVERY]
        if len(missing) > BATCH:
            say(f"features of images {start + 1:,} to {start + len(part):,} of {len(missing):,}")
        padded = np.concatenate([images[part], np.repeat(images[:1], -len(part) % BATCH, axis=0)])
        batches = devices.batches(padded[..., None], size=BATCH)
        found = base.predict(**batches, verbose=0)[: len(part)]
        digests, known = np.concatenate([digests, wanted[part]]), np.concatenate([known, found])
        if place:
            with contextlib.suppress(ResultError), replacing(place) as temporary:  # disk is full
                np.savez(temporary, digests=digests, features=known)
    order = np.argsort(digests)
    return known[order[np.searchsorted(digests[order], wanted)]]


def _key(base: Any) -> str:
    digest = hashlib.sha256()
    for layer in base.layers:
        config = {key: value for key, value in layer.get_config().items() if key != "name"}
        digest.update(repr(sorted(config.items())).encode())
    for weight in base.get_weights():
        digest.update(weight.tobytes())
    return digest.hexdigest()[:24]
