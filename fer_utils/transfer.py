"""Transfer learning: where the weights of a base come from, and its features, computed once."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import http.client
import os
import urllib.request
import zipfile
from functools import cache as cache_result
from pathlib import Path
from typing import Any

import numpy as np

from fer_utils import devices
from fer_utils.base import ResultError, replacing
from fer_utils.data import quality
from fer_utils.data.dataset import cache_folder
from fer_utils.parameters import ROOT, ParameterError, merge

IMAGENET = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
ADDRESS = f"https://storage.googleapis.com/tensorflow/keras-applications/resnet/{IMAGENET}"
MD5 = "4d473c1dd8becc155b73f8504c6f6626"
LAST, POOLED = "conv5_block3_3_conv", "avg_pool"
BATCH = 32
SAVE_EVERY = 4096  # images; an interrupted extraction goes on from here

_places: dict[str, Path] = {}  # of local weights files, by content; records keep no path


def settle(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with what their weights turn out to be; unchanged where no weights are asked for.

    `training.weights` becomes {"kind": "imagenet" or "file", "name", "sha256"}. Without weights,
    or where ImageNet's can be had neither from Keras' cache nor from the network, the model's
    `from_scratch` section takes effect. ParameterError for a wrong weights file.
    """
    params = copy.deepcopy(params)
    fallback = params.pop("from_scratch", {})
    asked = params["training"]["weights"]
    if isinstance(asked, dict):
        return params
    if asked == "imagenet":
        found = _kept_by_keras().is_file() or _reachable()
        asked = {"kind": "imagenet", "name": IMAGENET, "sha256": None} if found else None
    elif asked:
        asked = _local(asked, f"{params['id']}: training.weights")
    params = params if asked else merge(params, fallback)
    params["training"]["weights"] = asked
    if asked and asked["kind"] == "file":
        params["title"] += f" ({asked['name']})"
    return params


def _kept_by_keras() -> Path:
    home = os.environ.get("KERAS_HOME", Path.home() / ".keras")
    return Path(home) / "models" / IMAGENET


@cache_result  # asked once in a process
def _reachable() -> bool:
    request = urllib.request.Request(ADDRESS, method="HEAD")
    with contextlib.suppress(OSError, http.client.HTTPException):
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    return False


def _local(asked: str, where: str) -> dict[str, Any]:
    place = Path(asked).expanduser()
    place = place if place.is_absolute() else ROOT / place
    wanted = "ResNet-50 weights, .h5 or .keras, or `imagenet`"
    if not place.is_file():
        raise ParameterError(f"{where}: there is no file {place}; give {wanted}")
    known = False
    with contextlib.suppress(OSError, KeyError, zipfile.BadZipFile):
        if place.suffix == ".keras":
            known = LAST.encode() in zipfile.ZipFile(place).read("config.json")
        elif place.suffix == ".h5":
            import h5py

            with h5py.File(place) as file:
                known = LAST in file.get("model_weights", file)
    if not known:
        raise ParameterError(
            f"{where}: {place} holds no ResNet-50 (no layer {LAST}); give {wanted}"
        )
    content = place.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    _places[digest] = place
    original = hashlib.md5(content).hexdigest() == MD5
    kind = "imagenet" if original else "file"
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

    if weights["sha256"] is None:
        try:
            found = keras.utils.get_file(IMAGENET, ADDRESS, cache_subdir="models", file_hash=MD5)
        except Exception as error:  # which is the kind that Keras raises
            raise ParameterError(
                f"training.weights: imagenet could not be downloaded ({error}); try again, or give "
                "the path of your copy"
            ) from None
        place = Path(found)
    else:
        place = _places[weights["sha256"]]
    arrays = _from_keras(place) if place.suffix == ".keras" else _from_h5(place)
    base = network.layers[: network.layers.index(network.get_layer(POOLED))]
    for layer in (layer for layer in base if layer.weights):
        found = arrays.get(layer.name, [])
        shapes = [array.shape for array in found]
        if shapes != [tuple(weight.shape) for weight in layer.weights]:
            wanted = [tuple(weight.shape) for weight in layer.weights]
            raise ParameterError(
                f"training.weights: {place.name}: layer {layer.name} has arrays of {shapes or 'no'}"
                f" shapes but ResNet-50 needs {wanted}"
            )
        layer.set_weights(found)


def _from_keras(place: Path) -> dict[str, list[np.ndarray]]:
    import keras

    model = keras.models.load_model(place, compile=False)
    return {layer.name: layer.get_weights() for layer in model.layers}


def _from_h5(place: Path) -> dict[str, list[np.ndarray]]:
    import h5py

    with h5py.File(place) as file:
        groups = file.get("model_weights", file)
        return {
            name: [group[_text(part)][()] for part in group.attrs["weight_names"]]
            for name, group in groups.items()
            if "weight_names" in group.attrs
        }


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def frozen(network: Any) -> bool:
    """Has a network pooled features, and is nothing trained before them?"""
    if POOLED not in [layer.name for layer in network.layers]:
        return False
    base = network.layers[: network.layers.index(network.get_layer(POOLED))]
    return not any(layer.trainable_weights for layer in base)


def extractor(network: Any) -> Any:
    """The network up to its pooled features."""
    import keras

    from fer_utils import layers

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
