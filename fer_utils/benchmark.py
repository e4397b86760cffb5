"""Speed of training: stock Keras, this study's engine and a plain PyTorch loop, side by side.

Every contender lives in a process of its own, so that none sees another's settings; they take
turns, round by round, so that a busy moment of the machine does not fall on one alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import datasets, parameters, results

CONTENDERS = ("stock Keras", "engine", "PyTorch")
STOCK_RANGES = {
    "rotation": "rotation_range",
    "width_shift": "width_shift_range",
    "height_shift": "height_shift_range",
    "shear": "shear_range",
    "zoom": "zoom_range",
    "horizontal_flip": "horizontal_flip",
}  # of an ImageDataGenerator
BEYOND_STOCK = (
    "one_cycle",
    "weight_decay",
    "weight_average",
    "label_smoothing",
    "mixing",
    "progressive_resizing",
    "distillation",
    "start_from",
)
Source = tuple[str, str, bool]  # of the images: data, on_bad, resize as datasets.load takes them
_step: Callable[[int], Any]  # of this worker process: trains on that many images


def training_speed(
    model: str, source: Source, images: int = 1280, rounds: int = 5, say: Any = print
) -> pd.DataFrame:
    """Images per second in training, a row for each contender and round.

    `stock Keras`: float32, keras.layers.BatchNormalization, and ImageDataGenerator where the model
    augments. `engine`: as the study trains. `PyTorch`, where it is installed and the engine runs in
    bfloat16 on a processor: the same layers in bfloat16 autocast and channels-last memory, without
    augmentation. The first round, in which graphs are built, is not counted. ParameterError for a
    recipe that stock Keras has no words for.
    """
    _settled(model, source, images)  # what is wrong is told here, not by a worker that breaks
    names = [name for name in CONTENDERS if name != "PyTorch" or _torch_fits()]
    spawned = multiprocessing.get_context("spawn")
    rows = []
    with contextlib.ExitStack() as stack:
        pools = {
            name: stack.enter_context(
                ProcessPoolExecutor(1, spawned, _prepare, (name, model, source, images))
            )
            for name in names
        }
        for number in range(rounds + 1):
            for name, pool in pools.items():
                speed = images / pool.submit(_timed, images).result()
                if number:
                    row = {"model": model, "contender": name, "round": number}
                    rows.append(row | {"images_per_second": round(speed, 1)})
    table = pd.DataFrame(rows)
    medians = table.groupby("contender", sort=False)["images_per_second"].median()
    say(f"{model}: " + ", ".join(f"{name} {speed:,.0f}/s" for name, speed in medians.items()))
    return table


def summary(rounds: pd.DataFrame) -> pd.DataFrame:
    """The table of benchmark.csv: median, lowest and highest speed, and the ratio to stock Keras.

    The ratio is the median of the ratios of the rounds.
    """
    rows = []
    for (model, contender), part in rounds.groupby(["model", "contender"], sort=False):
        speeds = part.set_index("round")["images_per_second"]
        same = rounds[(rounds["model"] == model) & (rounds["contender"] == "stock Keras")]
        ratios = speeds / same.set_index("round")["images_per_second"]
        rows.append(
            {
                "model": model,
                "contender": contender,
                "images_per_second": speeds.median(),
                "lowest": speeds.min(),
                "highest": speeds.max(),
                "times_stock": round(float(ratios.median()), 2),
            }
        )
    return pd.DataFrame(rows)


def _torch_fits() -> bool:
    """Is PyTorch here, and the engine on a processor in bfloat16 as its loop is?"""
    from fer_utils import devices

    same = devices.name() == "cpu" and devices.precision_for("auto") == "mixed_bfloat16"
    return same and importlib.util.find_spec("torch") is not None


def _timed(images: int) -> float:
    start = time.perf_counter()
    _step(images)
    return time.perf_counter() - start


def _prepare(contender: str, model: str, source: Source, images: int) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    makers = {"stock Keras": _stock, "engine": _engine, "PyTorch": _pytorch}
    global _step
    _step = makers[contender](*_settled(model, source, images))


def _settled(model: str, source: Source, images: int) -> tuple[dict[str, Any], datasets.Dataset]:
    """A model's recipe on so many images as they are, and the data with its classes alone."""
    params = parameters.model(model, None, train_limit=images, balance="none", weights=None)
    recipe = params["training"]
    beyond = [key for key in BEYOND_STOCK if recipe[key]]
    beyond += [key for key in recipe["augmentation"] or {} if key not in STOCK_RANGES]
    if recipe["optimizer"] != "adam" or beyond:
        raise parameters.ParameterError(
            f"{model}: {', '.join(beyond) or recipe['optimizer']} is not in the benchmark's stock "
            "Keras; name a model with a plain recipe"
        )
    dataset = datasets.load(source[0], source[1], resize=source[2])
    if params["classes"]:
        dataset = datasets.select_classes(dataset, params["classes"])
    return params | {"classes": None}, dataset


def _part(dataset: datasets.Dataset, images: int) -> tuple[np.ndarray, np.ndarray]:
    """So many training images, over again where there are fewer."""
    part = np.resize(np.flatnonzero(dataset.usage == "Training"), images)
    return dataset.images[part], dataset.labels[part]


def _stock(params: dict[str, Any], dataset: datasets.Dataset) -> Callable[[int], Any]:
    network, generator = _stock_network(params, dataset)
    size = params["training"]["batch_size"]

    def step(count: int) -> None:
        images, labels = _part(dataset, count)
        images = images[..., None].astype("float32")
        if generator:
            network.fit(generator.flow(images, labels, batch_size=size), verbose=0)
        else:
            network.fit(images, labels, size, verbose=0)

    return step


def _stock_network(params: dict[str, Any], dataset: datasets.Dataset) -> tuple[Any, Any]:
    """A plain Keras network and, where the recipe augments, its ImageDataGenerator."""
    import keras
    import tensorflow as tf

    from fer_utils import models

    recipe, ranges = params["training"], params["training"]["augmentation"] or {}
    scaling = {}
    if recipe["pixels"] == "standardize":
        pixels = dataset.images[dataset.usage == "Training"]
        scaling = {"scale": 1 / pixels.std(), "offset": -pixels.mean() / pixels.std()}
    options = {"classes": len(dataset.classes), **scaling, **params["options"]}
    network = models.build(params["builder"], **options)
    network.compile(
        optimizer=keras.optimizers.Adam(recipe["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    if not ranges:
        return network, None
    return network, tf.keras.preprocessing.image.ImageDataGenerator(
        **{STOCK_RANGES[key]: value for key, value in ranges.items()}
    )


def _assembled(params: dict[str, Any], dataset: datasets.Dataset) -> tuple[Any, np.ndarray]:
    from fer_utils.protocol import Task
    from fer_utils.training import CODE, Training

    task = Task(params | {"protocol": "official"}, dataset, 0, CODE)
    made = Training(task, Path(tempfile.gettempdir()), print, 1)
    return made, made.assemble()[0]


def _engine(params: dict[str, Any], dataset: datasets.Dataset) -> Callable[[int], Any]:
    made, labels = _assembled(params, dataset)

    def step(count: int) -> None:
        places = np.resize(np.arange(len(labels), dtype="int32"), count)
        made.trainer.fit(places, labels[places], batch_size=params["training"]["batch_size"],
                         shuffle=False, verbose=0)  # fmt: skip

    return step


def _pytorch(params: dict[str, Any], dataset: datasets.Dataset) -> Callable[[int], Any]:
    import torch

    network = _as_torch(params, len(dataset.classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), params["training"]["learning_rate"])
    torch.set_num_threads(results.cores())

    def step(count: int) -> None:
        images, labels = (torch.from_numpy(part) for part in _part(dataset, count))
        images, labels = images[:, None], labels.long()
        size = params["training"]["batch_size"]
        for batch in torch.randperm(count).split(size):
            pixels = (images[batch].float() / 255).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                scores = network(pixels)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(scores.float(), labels[batch]).backward()
            optimizer.step()

    return step


def _as_torch(params: dict[str, Any], classes: int) -> Any:
    """The layers of a plain Keras network in PyTorch, without its softmax."""
    from torch import nn

    from fer_utils import models

    network = models.build(params["builder"], classes=classes, **params["options"])
    activations = {"relu": nn.ReLU, "elu": nn.ELU}
    stack: list[nn.Module] = []
    for layer in network.layers:
        kind = type(layer).__name__
        if kind == "Conv2D":
            channels = layer.kernel.shape[2]
            stack.append(
                nn.Conv2d(channels, layer.filters, layer.kernel_size, padding=layer.padding)
            )
        elif kind == "Dense":
            stack.append(nn.Linear(layer.kernel.shape[0], layer.units))
        elif kind == "BatchNormalization":
            norm = nn.BatchNorm2d if len(layer.input.shape) == 4 else nn.BatchNorm1d
            stack.append(norm(layer.gamma.shape[0], eps=layer.epsilon))
        elif kind == "MaxPooling2D":
            stack.append(nn.MaxPool2d(layer.pool_size, layer.strides))
        elif kind == "Dropout":
            stack.append(nn.Dropout(layer.rate))
        elif kind == "Flatten":
            stack.append(nn.Flatten())
        elif kind not in ("Activation", "Rescaling"):
            raise ValueError(f"{params['id']}: no PyTorch layer for {kind} here")
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        if activation in activations:
            stack.append(activations[activation]())
    return nn.Sequential(*stack)


def same_accuracy(
    model: str, source: Source, images: int, epochs: int, seeds: int, say: Any = print
) -> pd.DataFrame:
    """PublicTest accuracy after the same training by stock Keras and the engine, a row a seed.

    The same `images` of Training, epochs and recipe, the last epoch counts; for stock Keras each
    epoch's images are augmented by ImageDataGenerator. Columns: model, seed, stock Keras, engine.
    """
    spawned = multiprocessing.get_context("spawn")
    rows = []
    for seed in range(seeds):
        row = {"model": model, "seed": seed}
        for name in CONTENDERS[:2]:  # each in a fresh process
            with ProcessPoolExecutor(1, spawned) as pool:
                row[name] = pool.submit(
                    _accuracy, name, model, source, images, epochs, seed
                ).result()
        rows.append(row)
    table = pd.DataFrame(rows)
    scatter = table[list(CONTENDERS[:2])].std().mean() if seeds > 1 else float("nan")
    mean = (table["engine"] - table["stock Keras"]).mean()
    say(f"{model}: engine less stock Keras {100 * mean:+.1f} points, mean of {seeds} seeds; "
        f"one contender's seeds scatter by {100 * scatter:.1f} (standard deviation)")  # fmt: skip
    return table


def _accuracy(
    contender: str, model: str, source: Source, images: int, epochs: int, seed: int
) -> float:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    from fer_utils import training
    from fer_utils.protocol import Task

    params, dataset = _settled(model, source, images)
    params["protocol"] = "official"
    params["training"] |= {"epochs": epochs, "keep_best": "last", "early_stopping": None}
    params["training"] |= {"reduce_lr": None}
    if contender == "engine":
        with tempfile.TemporaryDirectory() as folder:
            run = training.run(params, dataset, folder, seed, say=lambda line: None)
            return run.validation["accuracy"]
    keras.utils.set_random_seed(seed)
    task = Task(params, dataset, seed, training.CODE)
    network, generator = _stock_network(params, dataset)
    images, targets = task.part("train")
    images = images[..., None].astype("float32")
    for epoch in range(epochs):
        # as one array, in an order like the engine's: batches straight from flow() trained worse
        flow = generator and generator.flow(images, batch_size=len(images), shuffle=False)
        order = np.random.default_rng([seed, 2, epoch]).permutation(len(images))
        seen = (flow[0] if flow else images)[order]
        network.fit(
            seen, targets[order], params["training"]["batch_size"], shuffle=False, verbose=0
        )
    held_out, labels = task.part("validation")
    predicted = network.predict(held_out[..., None], batch_size=256, verbose=0).argmax(axis=1)
    return float((predicted == labels).mean())


def step_parts(model: str, source: Source, batches: int = 20) -> pd.DataFrame:
    """Milliseconds of a training step's parts with their shares, medians over some batches.

    `forward` has dropout and normalisation as in training, `backward` is what the gradient adds to
    it, `optimizer and loop` what is left of a step of Keras' fit, less than nothing where the
    whole takes less than its parts by themselves. On TensorFlow alone.
    """
    import tensorflow as tf

    params, dataset = _settled(model, source, 1280)
    made, labels = _assembled(params, dataset)
    held, *augmentation, network = made.trainer.layers
    size = params["training"]["batch_size"]
    places, truth = tf.range(size), tf.constant(labels[:size])
    loss = tf.keras.losses.sparse_categorical_crossentropy

    def augmented() -> Any:
        images = held(places)
        for layer in augmentation:
            images = layer(images, training=True)
        return images

    fixed = augmented()

    def forward() -> Any:
        return tf.reduce_mean(loss(truth, network(fixed, training=True)))

    def backward() -> Any:
        with tf.GradientTape() as tape:
            value = forward()
        return tape.gradient(value, network.trainable_variables)

    def whole() -> float:
        start = time.perf_counter()
        steps = np.resize(np.arange(len(labels), dtype="int32"), size * batches)
        made.trainer.fit(steps, labels[steps], batch_size=size, shuffle=False, verbose=0)
        return (time.perf_counter() - start) / batches

    whole()
    taken = {
        "images": _median(tf.function(lambda: held(places)), batches),
        "images and augmentation": _median(tf.function(augmented), batches),
        "forward": _median(tf.function(forward), batches),
        "forward and backward": _median(tf.function(backward), batches),
        "step": float(np.median([whole() for _ in range(3)])),
    }
    parts = {
        "images": taken["images"],
        "augmentation": taken["images and augmentation"] - taken["images"],
        "forward": taken["forward"],
        "backward": taken["forward and backward"] - taken["forward"],
    }
    parts["optimizer and loop"] = taken["step"] - sum(parts.values())
    rows = [
        {"part": name, "milliseconds": 1e3 * value, "share": value / taken["step"]}
        for name, value in parts.items()
    ]
    return pd.DataFrame(rows)


def _median(function: Callable[[], Any], calls: int) -> float:
    import tensorflow as tf

    function()
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        last = tf.nest.flatten(function())[-1]
        tf.reshape(last, [-1])[:1].numpy()  # a GPU has only been told what to do until then
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def loading(source: Source) -> pd.DataFrame:
    """Seconds to read the data, without and with the cache, in that order."""
    kept = os.environ.get("FER_CACHE")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FER_CACHE"] = folder
        try:
            for how in ("parsed", "from the cache"):
                start = time.perf_counter()
                dataset = datasets.load(source[0], source[1], resize=source[2])
                rows.append({"read": how, "seconds": round(time.perf_counter() - start, 3)})
        finally:
            os.environ.pop("FER_CACHE")
            if kept is not None:
                os.environ["FER_CACHE"] = kept
    return pd.DataFrame(rows).assign(images=len(dataset))


def notebook_overhead(study: str | Path) -> pd.DataFrame:
    """Wall time of each executed model notebook of a study, and what of it was computing.

    `computing` is training and evaluation of all its protocols; `other` the rest: start of the
    kernel, imports, building, figures, export. A run that the notebook only presented is left out.
    """
    import nbformat

    rows = []
    for path in sorted(results.study_folder(study).glob("runs/*/seed_*/notebook.ipynb")):
        told = nbformat.read(path, as_version=4).metadata.get("papermill", {})
        runs = [results.read_run(found.parent) for found in path.parent.rglob("metrics.json")]
        computing = sum(
            seconds
            for run in runs
            for stage, seconds in run.metrics["timing"]["stages"].items()
            if stage in ("train", "evaluate", "grid")
        )
        wall = told.get("duration") or 0
        if not runs or wall < computing:
            continue
        rows.append(
            {
                "run": runs[0].metrics["params"]["title"],
                "wall_seconds": round(wall, 1),
                "computing_seconds": round(computing, 1),
                "other_share": round(1 - computing / wall, 3),
            }
        )
    return pd.DataFrame(rows, columns=["run", "wall_seconds", "computing_seconds", "other_share"])
