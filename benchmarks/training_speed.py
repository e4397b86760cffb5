"""Images per second in training: stock Keras, this study and PyTorch, interleaved in one run.

python benchmarks/training_speed.py --data PATH [--models ID ...] [--record FILE]

Each contender lives in a process of its own; they take turns, round by round, so that a busy moment
of the machine does not fall on one alone. Contenders:

  Keras                   float32, arrays or ImageDataGenerator given to fit(), as users write it
  Keras, no waits         the same through tf.data with autotuning switched off (fit_waits.py)
  study                   as the study trains this network
  study, no augmentation  the same, to compare with PyTorch
  PyTorch                 bfloat16 autocast, channels-last, eager, no augmentation (if installed:
                          pip install torch==2.13.*)

`share_of_peak` is the network's arithmetic, forward and backward, as a share of what a product of
two 4096 x 4096 bfloat16 matrices reaches on the same processor between the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import models
from fer_utils.models import devices
from fer_utils.training import train
from fer_utils.training.task import Task

MODELS = ("basic_cnn", "deep_cnn", "dcnn_three_class", "heavy_cnn", "fer_net")
STOCK = ("Keras", "Keras, no waits")
RANGES = {
    key: f"{key}_range" for key in ("rotation", "width_shift", "height_shift", "shear", "zoom")
}
RANGES["horizontal_flip"] = "horizontal_flip"
_step: Callable[[], Any]  # what this process measures


def measure(
    model: str, data: str, images: int, rounds: int, chosen: list[str] | None = None
) -> pd.DataFrame:
    """Images per second of each contender in each round; the first round builds, and is dropped."""
    spawned, rows = multiprocessing.get_context("spawn"), []
    with contextlib.ExitStack() as stack:
        pools = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, spawned, _prepare, (name, model, data, images))
            )
            for name in (*(chosen or contenders(model)), "matrix")
        }
        for number in range(rounds + 1):
            for name, pool in pools.items():
                work, seconds = pool.submit(_timed, images).result()
                rows.append({"model": model, "contender": name, "round": number})
                rows[-1] |= {"per_second": work / seconds}
    return pd.DataFrame(rows).query("round > 0")


def contenders(model: str) -> list[str]:
    recipe = _recipe(model, 1)["training"]
    names = ["study"]
    if recipe["optimizer"] == "adam":  # FER-Net's recipe is not to be had by a few lines of Keras
        names = [*STOCK, *names]
    if recipe["augmentation"]:
        names.append("study, no augmentation")
    return names + ["PyTorch"] * bool(importlib.util.find_spec("torch"))


def summary(rounds: pd.DataFrame) -> pd.DataFrame:
    """Median, lowest and highest speed, times Keras and PyTorch by round, share of the peak."""
    speeds = rounds.pivot(index="round", columns="contender", values="per_second")
    model = rounds["model"].iloc[0]
    peak = speeds.pop("matrix")
    rows = []
    for name in rounds["contender"].unique():
        if name not in speeds:
            continue
        row = {"model": model, "contender": name}
        row["images_per_second"] = round(speeds[name].median(), 1)
        row |= {"lowest": round(speeds[name].min(), 1), "highest": round(speeds[name].max(), 1)}
        for other in (*STOCK, "PyTorch"):
            ratio = speeds[name] / speeds[other] if other in speeds else pd.Series([np.nan])
            row[f"times {other}"] = round(float(ratio.median()), 2)
        share = speeds[name] * flops(model) / peak
        row["share_of_peak"] = None if name in STOCK else round(float(share.median()), 2)
        rows.append(row)
    return pd.DataFrame(rows).assign(peak_gflops=round(peak.median() / 1e9))


def flops(model: str) -> float:
    """Floating-point operations for one image, forward and backward, of convolutions and products.

    The backward pass counts twice the forward one.
    """
    total = 0
    for layer in _network(_recipe(model, 1)).layers:
        if type(layer).__name__ in ("Conv2D", "Dense"):
            places = np.prod(layer.output.shape[1:-1], dtype=int)
            total += 2 * int(np.prod(layer.kernel.shape)) * int(places)
    return 3.0 * total


def _recipe(model: str, images: int) -> dict[str, Any]:
    limits = {"train_limit": images, "balance": "none", "leave_out": []}
    return parameters.model(model, None, **limits) | {"protocol": "official"}


def _network(params: dict[str, Any]) -> Any:
    classes = len(params.get("classes") or datasets.EMOTIONS)
    return models.build(params["builder"], classes=classes, **params["options"])


def _prepare(contender: str, model: str, data: str, images: int) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    global _step
    if contender == "matrix":
        _step = _matrix()
        return
    params, dataset = _recipe(model, images), datasets.load(data)
    if contender.startswith("study"):
        if contender.endswith("no augmentation"):
            params["training"]["augmentation"] = None
        _step = _study(params, dataset)
        return
    part = Task(params, dataset, 0).part("train")
    _step = _pytorch(params, *part) if contender == "PyTorch" else _keras(params, contender, *part)


def _timed(images: int) -> tuple[float, float]:
    start = time.perf_counter()
    work = _step() or images
    return work, time.perf_counter() - start


def _matrix() -> Callable[[], float]:
    import tensorflow as tf

    devices.start()
    matrix = tf.cast(tf.random.normal((4096, 4096)), tf.bfloat16)
    product = tf.function(lambda: tf.matmul(matrix, matrix))

    def step() -> float:
        for _ in range(5):
            product()[0, 0].numpy()
        return 5 * 2.0 * 4096**3

    return step


def _study(params: dict[str, Any], dataset: datasets.Dataset) -> Callable[[], None]:
    devices.start()
    made = train.build(Task(params, dataset, 0), tempfile.gettempdir())
    train.compile(made)
    order = np.random.default_rng(0).permutation(len(made.labels)).astype("int32")
    data = devices.batches(order, made.labels[order], size=params["training"]["batch_size"])
    return lambda: made.trainer.fit(**data, shuffle=False, verbose=0) and None


def _keras(params: dict[str, Any], name: str, images: Any, labels: Any) -> Callable[[], None]:
    import keras
    import tensorflow as tf

    network, size = _network(params), params["training"]["batch_size"]
    network.compile(
        keras.optimizers.Adam(params["training"]["learning_rate"]),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    images = images[..., None].astype("float32")
    ranges = params["training"]["augmentation"]
    if not ranges and name == "Keras":
        return lambda: network.fit(images, labels, size, verbose=0) and None
    if not ranges:
        data = devices.batches(images, labels, size=size)
        return lambda: network.fit(**data, verbose=0) and None
    flow = tf.keras.preprocessing.image.ImageDataGenerator(
        **{RANGES[key]: value for key, value in ranges.items()}
    ).flow(images, labels, batch_size=size)
    if name == "Keras":
        return lambda: network.fit(flow, verbose=0) and None
    options = tf.data.Options()
    options.autotune.enabled = False
    shapes = tf.TensorSpec((None, 48, 48, 1), "float32"), tf.TensorSpec((None,), labels.dtype)
    generated = tf.data.Dataset.from_generator(
        lambda: (flow[i] for i in range(len(flow))), output_signature=shapes
    )
    data = generated.apply(tf.data.experimental.assert_cardinality(len(flow))).prefetch(2)
    return lambda: network.fit(data.with_options(options), verbose=0) and None


def _pytorch(params: dict[str, Any], images: Any, labels: Any) -> Callable[[], None]:
    import torch

    network = _as_torch(_network(params)).to(memory_format=torch.channels_last)
    recipe, options = params["training"], {}
    if recipe["optimizer"] == "sgd":
        options = {"momentum": recipe["momentum"], "nesterov": True}
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[recipe["optimizer"]]
    optimizer = kind(network.parameters(), recipe["learning_rate"] / 10, **options)
    images, labels = torch.from_numpy(images)[:, None], torch.from_numpy(labels).long()

    def step() -> None:
        for batch in torch.randperm(len(labels)).split(recipe["batch_size"]):
            pixels = (images[batch].float() / 255).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                scores = network(pixels)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(scores.float(), labels[batch]).backward()
            optimizer.step()

    return step


def _as_torch(network: Any) -> Any:
    """The layers of a Keras network in PyTorch, without its softmax."""
    import torch
    from torch import nn

    relu, elu = torch.nn.functional.relu, torch.nn.functional.elu
    activations = {"relu": relu, "elu": elu}
    made = {layer.name: _layer(layer) for layer in network.layers}
    # the forward pass in the order of Keras' layers, each with the names of what it takes
    steps = [
        (layer.name, [node._keras_history.operation.name for node in _inputs(layer)],
         activations.get(getattr(getattr(layer, "activation", None), "__name__", "")))
        for layer in network.layers if type(layer).__name__ != "InputLayer"
    ]  # fmt: skip

    first = network.inputs[0]._keras_history.operation.name

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict({k: v for k, v in made.items() if isinstance(v, nn.Module)})

        def forward(self, pixels: Any) -> Any:
            values = {first: pixels}
            for name, taken, activation in steps:
                inputs = [values[each] for each in taken]
                value = made[name](*inputs)
                values[name] = activation(value) if activation else value
            return value

    return Network()


def _inputs(layer: Any) -> list[Any]:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _layer(layer: Any) -> Callable:
    from torch import nn

    kind = type(layer).__name__
    if kind == "Conv2D":
        channels, bias = layer.kernel.shape[2], layer.use_bias
        sides = {"kernel_size": layer.kernel_size, "padding": layer.padding, "bias": bias}
        return nn.Conv2d(channels, layer.filters, **sides)
    if kind == "Dense":
        return nn.Linear(layer.kernel.shape[0], layer.units)
    if kind == "BatchNormalization":
        norm = nn.BatchNorm2d if len(layer.input.shape) == 4 else nn.BatchNorm1d
        return norm(layer.gamma.shape[0], eps=layer.epsilon)
    if kind == "MaxPooling2D":
        return nn.MaxPool2d(layer.pool_size, layer.strides)
    if kind == "GlobalAveragePooling2D":
        return lambda images: images.mean((2, 3))
    simple = {"Dropout": lambda: nn.Dropout(layer.rate), "Flatten": nn.Flatten}
    if kind in simple:
        return simple[kind]()
    if kind == "Add":
        return lambda one, other: one + other
    if kind in ("Activation", "Rescaling", "InputLayer"):
        return lambda values: values
    raise ValueError(f"no PyTorch layer for {kind} here")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="FER2013, or synthetic")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--contenders", nargs="+", help="these alone, such as study")
    parser.add_argument("--images", type=int, default=2560, help="images of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", type=Path, help="write the table to this CSV")
    options = parser.parse_args()
    tables = []
    for model in options.models:
        rounds = measure(model, options.data, options.images, options.rounds, options.contenders)
        tables.append(summary(rounds))
        print(tables[-1].to_string(index=False), flush=True)
        if options.record:
            pd.concat(tables).to_csv(options.record, index=False)


if __name__ == "__main__":
    main()
