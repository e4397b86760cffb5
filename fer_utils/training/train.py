"""Training of one network: build, hold the images on the device, compile, fit, score, record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
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
COLUMNS = "loss accuracy val_loss val_accuracy learning_rate seconds images_per_second".split()


@dataclass
class Training:
    """One training: `build` and `compile` make its parts, Keras' `fit` fills the rest."""

    task: Task
    folder: Path
    say: Any
    engine: dict[str, str]  # backend, precision and device
    rules: list[Any]  # Keras' callbacks that stop the training or lower its learning rate
    network: Any = None  # float32; gets the weights of the kept epoch
    learner: Any = None  # what is trained: its copy in that precision, or head of a frozen base
    extractor: Any = None  # that base
    held: Any = None  # the layer with the training images, then the validation images
    labels: Any = None  # (n,), or float32 (n, classes) where the recipe has shares of classes
    weights: Any = None  # of the training images, or None
    trainer: Any = None  # from places of images to probabilities: augmentation and learner
    history: list[dict[str, float]] = field(default_factory=list)
    best_weights: list[np.ndarray] = field(default_factory=list)
    counters: list[tuple] = field(default_factory=list)  # of the rules, from a checkpoint
    stages: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str):
        """Record the seconds that the block takes."""
        start = time.perf_counter()
        yield
        self.stages[name] = round(time.perf_counter() - start, 3)

    @property
    def jit(self) -> str | bool:
        """Keras' jit_compile: TensorFlow trains without XLA, which is no faster here."""
        return "auto" if self.engine["backend"] != "tensorflow" else False

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.labels) // self.task.recipe["batch_size"])


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
    made = Training(task, task.folder(study), say, engine, recipe.rules(task.recipe))
    with devices.policy(precision), made.stage("build"):
        network = _network(task)
        transfer.load(network, task.recipe["weights"])
        # a frozen base sees every image once, so its features are as good as the images
        altering = task.recipe["augmentation"] or task.recipe["mixing"]
        features = not altering and transfer.frozen(network)
        made.learner = transfer.head(network) if features else layers.fuse(network)
        with devices.exact():
            made.network = _network(task)
            made.network.set_weights(network.get_weights())
            made.extractor = transfer.extractor(made.network) if features else None
    return made


def _network(task: Task) -> Any:
    scaling = {"scale": 1 / 255, "offset": 0.0}
    if task.recipe["pixels"] != "rescale":
        pixels = task.part("train")[0]
        mean, deviation = float(pixels.mean()), float(pixels.std()) or 1.0
        scaling = {"scale": 1 / deviation, "offset": -mean / deviation}
    classes, params = len(task.dataset.classes), task.params
    return models.build(params["builder"], classes=classes, **scaling, **params["options"])


def assemble(made: Training) -> Any:
    """The model that is trained, from places of images to probabilities.

    The training images, cleaned and balanced, and the validation images go to the device;
    augmentation and mixing stand between them and the network.
    """
    import keras

    task = made.task
    with devices.policy(made.engine["precision"]), made.stage("data"):
        images, labels = task.part("train")
        kept = ~quality.unwanted(images, task.recipe["leave_out"])
        chosen = balance.apply(
            images[kept],
            labels[kept],
            task.recipe["balance"],
            target=task.recipe["balance_target"],
            seed=task.seed,
        )
        made.labels, of_class = chosen.labels, chosen.weights
        made.weights = of_class and np.array([of_class[k] for k in made.labels.tolist()])
        if recipe.soft_labels(task.recipe):
            made.labels = np.eye(len(task.dataset.classes), dtype=np.float32)[made.labels]
        shown = _inputs(made, chosen.images), _inputs(made, task.part("validation")[0])
        made.held = layers.held(np.concatenate(shown))
        stack = [keras.Input((), dtype="int32"), made.held]
        if task.recipe["augmentation"]:
            stack.append(augment.layer(**task.recipe["augmentation"], seed=task.seed))
        if not task.recipe["mixing"]:
            return keras.Sequential([*stack, made.learner])
        seen = keras.Sequential(stack)
        inputs = [keras.Input((), dtype="int32"), keras.Input((), dtype="int32"), keras.Input((5,))]
        mixed = mixing.layer()(seen(inputs[0]), seen(inputs[1]), inputs[2])
        return keras.Model(inputs, made.learner(mixed))


def _inputs(made: Training, images: np.ndarray) -> np.ndarray:
    """What the trained network takes for these images: their pixels or their features."""
    if not made.extractor:
        return images[..., None]
    with devices.exact():
        return transfer.features(made.extractor, images, made.say)


def compile(made: Training) -> None:
    """Assemble the model of a training and compile it by its recipe."""
    asked, made.trainer = made.task.recipe, assemble(made)
    made.trainer.compile(
        optimizer=recipe.optimizer(asked, made.steps * asked["epochs"]),
        loss=recipe.loss(asked),
        metrics=["accuracy"],
        jit_compile=made.jit,
    )


def batches(made: Training) -> dict[str, Any]:
    """Arguments of Keras' fit(): the batches of all epochs, or of those after the checkpoint.

    The order of the images depends on seed and epoch alone.
    """
    trainer, asked = made.trainer, made.task.recipe
    trainer.optimizer.build(trainer.trainable_variables)
    # metrics make their variables when first called; in fit() that costs a second tracing
    answers = np.eye(made.learner.output_shape[-1], dtype=np.float32)[:1]
    trainer.compute_metrics(None, answers if made.labels.ndim > 1 else np.array([0]), answers)
    trainer.reset_metrics()
    if checkpoint.resume(made):
        made.say(f"resumed after epoch {len(made.history)}")
    done = asked["epochs"] if trainer.stop_training else len(made.history)

    def generate() -> Iterator[tuple]:
        for number in range(done, asked["epochs"]):
            yield from _epoch(made, number + 1)

    epochs = {"initial_epoch": done, "epochs": asked["epochs"], "steps_per_epoch": made.steps}
    epochs["shuffle"] = False
    if made.engine["backend"] != "tensorflow":
        return {"x": generate(), **epochs}
    import tensorflow as tf

    shapes = tf.nest.map_structure(
        lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), next(_epoch(made, 1))
    )
    dataset = tf.data.Dataset.from_generator(generate, output_signature=shapes).prefetch(2)
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread lets fit() wait, see devices.batches
    return {"x": dataset.with_options(options), **epochs}


def _epoch(made: Training, number: int) -> Iterator[tuple]:
    """The batches of an epoch: places of images, labels, and weights where the recipe has them."""
    seed, asked = made.task.seed, made.task.recipe
    order = np.random.default_rng([seed, 2, number]).permutation(len(made.labels))
    inputs, targets = order.astype("int32"), made.labels[order]
    if asked["mixing"]:
        rng = np.random.default_rng([seed, 3, number])
        partner, mix, targets = mixing.draw(targets, **asked["mixing"], rng=rng)
        inputs = (inputs, inputs[partner], mix)
    weights = () if made.weights is None else (made.weights[order].astype("float32"),)
    size = asked["batch_size"]
    for start in range(0, len(order), size):
        part = slice(start, start + size)
        cut = tuple(each[part] for each in inputs) if asked["mixing"] else inputs[part]
        yield cut, *(each[part] for each in (targets, *weights))


def callbacks(made: Training) -> list[Any]:
    """Those of Keras' fit(): one measures the epoch, the recipe's rules follow, one keeps it."""
    from keras.callbacks import LambdaCallback

    asked, trainer, rate, start = made.task.recipe, made.trainer, 0.0, 0.0

    def begin(epoch: int, logs: Any) -> None:
        nonlocal rate, start
        rate, start = recipe.rate(trainer.optimizer), time.perf_counter()

    def measure(epoch: int, logs: dict[str, float]) -> None:
        seconds = time.perf_counter() - start
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"{made.task.params['id']}: the loss became {logs['loss']} in epoch {epoch + 1}; "
                "lower training.learning_rate or set training.precision: float32"
            )
        with recipe.averaged(trainer.optimizer, trainer.trainable_variables):
            logs |= _validate(made) | {
                "learning_rate": rate,
                "seconds": round(seconds, 3),
                "images_per_second": round(len(made.labels) / seconds, 1),
            }
            made.history.append({"epoch": epoch + 1} | {key: logs[key] for key in COLUMNS})
            if best := recipe.best_epoch(asked, made.history) == epoch + 1:
                made.best_weights = [devices.array(weight) for weight in made.learner.weights]
        made.say(
            f"epoch {epoch + 1:>3}/{asked['epochs']}"
            f"  loss {logs['loss']:.3f}  accuracy {logs['accuracy']:.3f}"
            f"  val_loss {logs['val_loss']:.3f}  val_accuracy {logs['val_accuracy']:.3f}"
            f"  {logs['images_per_second']:,.0f} images/s{'  best' if best else ''}"
        )

    def restore(logs: Any) -> None:  # after Keras' rules have set theirs to nothing
        for rule, counters in zip(made.rules, made.counters, strict=False):
            rule.wait, rule.best = counters

    def keep(epoch: int, logs: Any) -> None:
        checkpoint.save(made)

    first = LambdaCallback(on_epoch_begin=begin, on_epoch_end=measure)
    return [first, *made.rules, LambdaCallback(on_train_begin=restore, on_epoch_end=keep)]


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


def fit(made: Training) -> None:
    """Train to the end, from the checkpoint where there is one."""
    with made.stage("train"):
        made.trainer.fit(**batches(made), callbacks=callbacks(made), verbose=0)


def score(made: Training) -> dict[str, dict[str, np.ndarray]]:
    """Give the network the weights of the kept epoch; its predictions on every part.

    float32 so that whoever loads model.keras gets the recorded probabilities on any machine.
    """
    task, views = made.task, made.task.recipe["views"]
    with made.stage("evaluate"), devices.exact():
        scored = transfer.head(made.network) if made.extractor else made.network
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
    return predictions


def record(made: Training) -> store.Run:
    """Score the kept epoch, write the run's files, and remove the checkpoint."""
    task, history, predictions = made.task, pd.DataFrame(made.history), score(made)
    start, views = transfer.kind(task.params), task.recipe["views"]
    metrics = task.record(
        predictions,
        model={
            **({"weights": start} if start else {}),
            **({"views": _count(views)} if views else {}),
            "parameters": int(made.network.count_params()),
            "epochs_run": len(history),
            "best_epoch": recipe.best_epoch(task.recipe, made.history),
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
        lambda folder: made.network.save(folder / "model.keras"),
    )
    checkpoint.remove(made)
    return written


def _count(views: dict[str, Any]) -> int:
    return len(preprocess.views(np.zeros((1, 48, 48), np.uint8), **views))
