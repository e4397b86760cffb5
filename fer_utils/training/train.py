"""Training of one network: build, hold the images on the device, compile, fit, score, record."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import models
from fer_utils.data import balance, preprocess, quality
from fer_utils.models import devices, layers
from fer_utils.runs import store
from fer_utils.scores import nll
from fer_utils.training import augment, checkpoint, mixing, recipe, transfer
from fer_utils.training.task import Task

EVALUATION_BATCH = 256


@dataclass
class Training:
    """One training: what `build` and `compile` make, and what `fit` changes."""

    task: Task
    folder: Path
    say: Any
    engine: dict[str, str]  # backend, precision and device
    schedule: recipe.Schedule
    learner: Any = None  # the network that is trained
    whole: Any = None  # base and head, where only the head of a frozen base is trained
    extractor: Any = None  # that base
    held: Any = None  # the layer with the training images, then the validation images
    labels: Any = None  # (n,), or float32 (n, classes) where the recipe has shares of classes
    weights: Any = None  # of the training images, or None
    trainer: Any = None  # the compiled network, from places of held images to probabilities
    history: list[dict[str, float]] = field(default_factory=list)
    best_weights: list[np.ndarray] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str):
        """Record the seconds that the block takes."""
        start = time.perf_counter()
        yield
        self.stages[name] = round(time.perf_counter() - start, 3)


def build(task: Task, study: str | Path, say: Any = print) -> Training:
    """Seed everything and build the network of a task, with the weights that it starts from."""
    import keras

    devices.quiet()
    keras.backend.clear_session()
    keras.utils.set_random_seed(task.seed)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    precision = devices.precision_for(task.recipe["precision"])
    engine = {"backend": backend, "precision": precision, "device": devices.name()}
    folder = store.run_folder(study, task.params["id"], task.seed, task.params["protocol"])
    made = Training(task, folder, say, engine, recipe.Schedule(task.recipe))
    with devices.policy(precision), made.stage("build"):
        network = _network(task)
        transfer.load(network, task.recipe["weights"])
        # a frozen base sees every image once, so its features are as good as the images
        altering = task.recipe["augmentation"] or task.recipe["mixing"]
        if altering or not transfer.frozen(network):
            made.learner = layers.fuse(network)
            return made
        made.learner = transfer.head(network)
        with devices.exact():
            made.whole = _network(task)
            made.whole.set_weights(network.get_weights())
            made.extractor = transfer.extractor(made.whole)
    return made


def _network(task: Task) -> Any:
    scaling = {"scale": 1 / 255, "offset": 0.0}
    if task.recipe["pixels"] != "rescale":
        pixels = task.part("train")[0]
        mean, deviation = float(pixels.mean()), float(pixels.std()) or 1.0
        scaling = {"scale": 1 / deviation, "offset": -mean / deviation}
    classes, params = len(task.dataset.classes), task.params
    return models.build(params["builder"], classes=classes, **scaling, **params["options"])


def hold(made: Training) -> None:
    """Clean and balance the training images; put them and the validation images on the device."""
    task = made.task
    images, labels = task.part("train")
    kept = ~quality.unwanted(images, task.recipe["leave_out"])
    chosen = balance.apply(
        images[kept],
        labels[kept],
        task.recipe["balance"],
        target=task.recipe["balance_target"],
        seed=task.seed,
    )
    labels, of_class = chosen.labels, chosen.weights
    made.weights = of_class and np.array([of_class[label] for label in labels.tolist()])
    if recipe.soft_labels(task.recipe):
        labels = np.eye(len(task.dataset.classes), dtype=np.float32)[labels]
    made.labels = labels
    shown = _inputs(made, chosen.images), _inputs(made, task.part("validation")[0])
    made.held = layers.held(np.concatenate(shown))


def _inputs(made: Training, images: np.ndarray) -> np.ndarray:
    """What the trained network takes for these images: their pixels or their features."""
    if not made.extractor:
        return images[..., None]
    with devices.exact():
        return transfer.features(made.extractor, images, made.say)


def compile(made: Training) -> None:
    """Hold the images, and compile images, augmentation, mixing and network by the recipe."""
    with devices.policy(made.engine["precision"]):
        with made.stage("data"):
            hold(made)
        with made.stage("compile"):
            _compile(made)


def _compile(made: Training) -> None:
    import keras

    asked = made.task.recipe
    stack = [keras.Input((), dtype="int32"), made.held]
    if asked["augmentation"]:
        stack.append(augment.layer(**asked["augmentation"], seed=made.task.seed))
    if asked["mixing"]:
        seen = keras.Sequential(stack)
        inputs = [keras.Input((), dtype="int32"), keras.Input((), dtype="int32")]
        inputs.append(keras.Input((5,)))
        mixed = mixing.layer()(seen(inputs[0]), seen(inputs[1]), inputs[2])
        trainer = keras.Model(inputs, made.learner(mixed))
    else:
        trainer = keras.Sequential([*stack, made.learner])
    steps = -(-len(made.labels) // asked["batch_size"]) * asked["epochs"]
    trainer.compile(
        optimizer=recipe.optimizer(asked, steps),
        loss=recipe.loss(asked),
        metrics=["accuracy"],
        jit_compile="auto" if made.engine["backend"] != "tensorflow" else False,
    )
    trainer.optimizer.build(trainer.trainable_variables)
    # metrics make their variables when first called; in fit() that costs a second tracing
    answers = np.eye(made.learner.output_shape[-1], dtype=np.float32)
    labels = answers[:1] if recipe.soft_labels(asked) else np.array([0])
    trainer.compute_metrics(None, labels, answers[:1])
    trainer.reset_metrics()
    made.trainer = trainer


def fit(made: Training) -> None:
    """Train to the end, from the checkpoint where there is one."""
    if checkpoint.resume(made):
        made.say(f"resumed after epoch {len(made.history)}")
    with made.stage("train"):
        while not made.schedule.finished(len(made.history)):
            _epoch(made)
            checkpoint.save(made)


def _epoch(made: Training) -> None:
    asked, number, trainer = made.task.recipe, len(made.history) + 1, made.trainer
    rate = recipe.rate(trainer.optimizer)
    logs, seconds = fit_epoch(made, number)
    if not np.isfinite(logs["loss"][0]):
        raise FloatingPointError(
            f"{made.task.params['id']}: the loss became {logs['loss'][0]} in epoch {number}; "
            "lower training.learning_rate or set training.precision: float32"
        )
    with recipe.averaged(trainer.optimizer, trainer.trainable_variables):
        entry = {
            "epoch": number,
            "loss": logs["loss"][0],
            "accuracy": logs["accuracy"][0],
            **_validate(made),
            "learning_rate": rate,
            "seconds": round(seconds, 3),
            "images_per_second": round(len(made.labels) / seconds, 1),
        }
        made.history.append(entry)
        if best := made.schedule.follow(entry):
            made.best_weights = [devices.array(weight) for weight in made.learner.weights]
    if asked["reduce_lr"]:
        trainer.optimizer.learning_rate = made.schedule.state["learning_rate"]
    made.say(
        f"epoch {number:>3}/{asked['epochs']}"
        f"  loss {entry['loss']:.3f}  accuracy {entry['accuracy']:.3f}"
        f"  val_loss {entry['val_loss']:.3f}  val_accuracy {entry['val_accuracy']:.3f}"
        f"  {entry['images_per_second']:,.0f} images/s{'  best' if best else ''}"
    )


def fit_epoch(made: Training, number: int) -> tuple[dict[str, list[float]], float]:
    """Keras' logs of one epoch and its seconds; the order depends on seed and epoch alone."""
    task, seed = made.task, made.task.seed
    order = np.random.default_rng([seed, 2, number]).permutation(len(made.labels))
    start = time.perf_counter()
    inputs, targets = order.astype("int32"), made.labels[order]
    if task.recipe["mixing"]:
        rng = np.random.default_rng([seed, 3, number])
        partner, mix, targets = mixing.draw(targets, **task.recipe["mixing"], rng=rng)
        inputs = [inputs, inputs[partner], mix]
    weights = None if made.weights is None else made.weights[order]
    batches = devices.batches(inputs, targets, weights, size=task.recipe["batch_size"])
    logs = made.trainer.fit(**batches, shuffle=False, verbose=0).history
    return logs, time.perf_counter() - start


def _validate(made: Training) -> dict[str, float]:
    labels = made.task.part("validation")[1]
    places = np.arange(len(made.labels), len(made.labels) + len(labels), dtype="int32")
    if made.task.recipe["mixing"]:
        alone = np.tile(np.array([1, 0, 0, 0, 0], np.float32), (len(places), 1))
        places = [places, places, alone]
    inputs = devices.batches(places, size=EVALUATION_BATCH)
    probabilities = made.trainer.predict(**inputs, verbose=0)
    right = probabilities.argmax(axis=1) == labels
    return {"val_loss": nll(labels, probabilities), "val_accuracy": float(right.mean())}


def score(made: Training) -> tuple[Any, dict[str, dict[str, np.ndarray]]]:
    """A float32 network of the best weights, and its predictions on every part.

    float32 so that whoever loads model.keras gets the recorded probabilities on any machine.
    """
    task, views = made.task, made.task.recipe["views"]
    with made.stage("evaluate"), devices.exact():
        final = made.whole if made.extractor else _network(task)
        scored = transfer.head(final) if made.extractor else final
        scored.set_weights(made.best_weights)

        def answers(images: np.ndarray) -> np.ndarray:
            inputs = devices.batches(_inputs(made, images), size=EVALUATION_BATCH)
            return scored.predict(**inputs, verbose=0)

        def mean_of_views(part: np.ndarray) -> np.ndarray:
            shown = preprocess.views(task.dataset.images[part], **views)
            return sum(answers(view) for view in shown) / len(shown)

        predictions = task.predictions(lambda part: answers(task.dataset.images[part]))
        if views:
            made.say(f"scoring the mean over {_count(views)} views of an image")
            roles = ("validation", "test")
            predictions |= task.predictions(mean_of_views, roles, store.VIEWS)
    return final, predictions


def record(made: Training, scored: tuple[Any, dict[str, dict[str, np.ndarray]]]) -> store.Run:
    """Write the run's files, and remove the checkpoint."""
    task, history = made.task, pd.DataFrame(made.history)
    final, predictions = scored
    start, views = transfer.kind(task.params), task.recipe["views"]
    metrics = task.record(
        predictions,
        model={
            **({"weights": start} if start else {}),
            **({"views": _count(views)} if views else {}),
            "parameters": int(final.count_params()),
            "epochs_run": len(history),
            "best_epoch": made.schedule.state["best_epoch"],
            "stopped_early": len(history) < task.recipe["epochs"],
        },
        timing={
            "training_seconds": round(float(history["seconds"].sum()), 3),
            "images_per_second": float(history["images_per_second"].median()),
            "stages": made.stages,
        },
        engine=made.engine,
    )
    written = store.write_run(
        made.folder,
        metrics,
        history,
        predictions,
        lambda folder: final.save(folder / "model.keras"),
    )
    checkpoint.remove(made)
    return written


def _count(views: dict[str, Any]) -> int:
    return len(preprocess.views(np.zeros((1, 48, 48), np.uint8), **views))
