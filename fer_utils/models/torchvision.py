"""Weights of torchvision's ResNet-50 for Keras' ResNet-50.

Both are the network of He et al. 2016 with the stages 3, 4, 6 and 3 blocks long. They differ where
a stage halves its size: Keras' first 1x1 convolution of the stage has the stride 2, torchvision's
(v1.5) the 3x3 one, padded by one pixel on each side. `stride_in_3x3` rebuilds Keras' network that
way, so that it computes what the weights were trained for. Keras' convolutions have biases, which
become zero. Keras adds 1.001e-5 to variances, torchvision 1e-5: no digit that matters.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_utils.base import ParameterError

if TYPE_CHECKING:
    import keras

SUFFIXES = (".pth", ".pt", ".safetensors")
NORMALISATION = ("weight", "bias", "running_mean", "running_var")  # in Keras' order
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}  # of safetensors


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name; ParameterError names a file that has none.

    A .pth file is read by torch.load(weights_only=True), which runs no code of the file.
    """
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        import torch

        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        return {key.removeprefix("module."): value.float().numpy() for key, value in state.items()}
    except ModuleNotFoundError:
        raise ParameterError(
            f"{path.name}: to read it takes PyTorch (pip install torch); or give a .safetensors"
        ) from None
    except Exception as error:  # of many kinds: an archive, a pickle, a header, a tensor
        why = str(error).strip().split("\n")[0][:200]
        raise ParameterError(f"{path.name}: not a state dict of PyTorch ({why})") from None


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """By the package safetensors, else by the format it documents: size, header in JSON, arrays."""
    try:
        from safetensors.numpy import load_file
    except ModuleNotFoundError:
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        arrays = {}
        for key, entry in header.items():
            first, last = (start + offset for offset in entry["data_offsets"])
            array = np.frombuffer(content[first:last], TYPES[entry["dtype"]])
            arrays[key] = array.reshape(entry["shape"])
        return arrays
    return load_file(path)


def keys(layer: str) -> list[str]:
    """torchvision's names of the weights of a layer of Keras' ResNet-50, without a bias of zero.

    For conv1_conv ["conv1.weight"], for conv2_block1_0_conv ["layer1.0.downsample.0.weight"].
    """
    *place, kind = layer.split("_")
    if len(place) == 1:
        name = {"conv": "conv1", "bn": "bn1"}[kind]
    else:
        stage, block, number = int(place[0][4:]) - 1, int(place[1][5:]) - 1, place[2]
        inner = {"conv": f"conv{number}", "bn": f"bn{number}"}[kind]
        if number == "0":
            inner = {"conv": "downsample.0", "bn": "downsample.1"}[kind]
        name = f"layer{stage}.{block}.{inner}"
    return [f"{name}.{each}" for each in (NORMALISATION if kind == "bn" else ("weight",))]


def assign(base: keras.Model, path: Path) -> None:
    """Give Keras' ResNet-50 the weights of a file; ParameterError names file and key."""
    state = read(path)
    for layer in base.layers:
        if not layer.weights:
            continue
        arrays = []
        for key in keys(layer.name):
            if key not in state:
                raise ParameterError(f"{path.name}: has no {key}, so not torchvision's ResNet-50")
            array = np.asarray(state[key], np.float32)
            arrays.append(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
        if layer.name.endswith("_conv"):
            arrays.append(np.zeros(arrays[0].shape[-1], np.float32))
        for weight, array, key in zip(layer.weights, arrays, keys(layer.name), strict=False):
            if tuple(weight.shape) != array.shape:
                raise ParameterError(
                    f"{path.name}: {key} has the shape {state[key].shape}, which is not ResNet-50's"
                )
        layer.set_weights(arrays)


def stride_in_3x3(base: keras.Model) -> keras.Model:
    """Keras' ResNet-50 with the strides of its stages in the 3x3 convolutions."""
    import keras

    first = {f"conv{stage}_block1_{number}_conv" for stage in (3, 4, 5) for number in (1, 2)}

    def made(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name in first:
            middle = layer.name.endswith("2_conv")
            config |= {"strides": (2, 2) if middle else (1, 1), "padding": "valid"}
        return type(layer).from_config(config)

    def called(layer: keras.Layer, inputs: keras.KerasTensor, **options: object) -> object:
        if layer.name in first and layer.name.endswith("2_conv"):
            inputs = keras.layers.ZeroPadding2D(1, name=layer.name.replace("conv", "pad"))(inputs)
        return layer(inputs, **options)

    return keras.models.clone_model(base, clone_function=made, call_function=called)
