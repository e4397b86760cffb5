"""Training of one network by its parameter file, resumable at every epoch.

Headless: python -m fer_utils.training params/models/<id>.yaml --data PATH --results DIR
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import (
    augment,
    datasets,
    devices,
    distillation,
    evaluation,
    lineage,
    mixing,
    optimizer,
    parameters,
    predecessors,
    results,
    transfer,
)
from fer_utils.base import AFTER_EPOCH, status
from fer_utils.data import balance, quality
from fer_utils.protocol import Task
from fer_utils.results import VIEWS
from fer_utils.schedule import Schedule

EVALUATION_BATCH = 256
CODE = (
    "augment",
    "base",
    "data/__init__",
    "data/balance",
    "data/dataset",
    "data/quality",
    "data/readers",
    "data/synthetic",
    "datasets",
    "devices",
    "distillation",
    "evaluation",
    "inference",
    "layers",
    "lineage",
    "mixing",
    "optimizer",
    "parameters",
    "predecessors",
    "pretrained",
    "protocol",
    "schedule",
    "training",
    "transfer",
)


def run(
    params: dict[str, Any],
    dataset: datasets.Dataset,
    study: str | Path,
    seed: int = 0,
    say: Any = print,
    count: int = 1,
    beside: Sequence[dict[str, Any]] = (),
) -> results.Run:
    """Train, score and record one model in the study's folder, or present the finished run.

    A run is presented instead of repeated when parameters, data, seed and training code are the
    same. An interrupted run goes on after its last whole epoch. `beside` are parameters of the same
    model under other protocols: those that train on the same images get a checkpoint of the epochs
    that are the same for them. `say` gets one line per epoch, `count` is the number of devices.
    """
    task, folder = _place(params, dataset, study, seed)
    with contextlib.ExitStack() as locks:
        locks.enter_context(results.locked(folder))
        finished = task.finished(folder, "model.keras")
        if finished:
            made = finished.metrics["environment"]
            say(
                f"finished run of the same parameters, data, code and seed: {folder.name}, "
                f"trained with {made['backend']}, {made['precision']}, {made['devices']} device"
                f"{'s' * (made['devices'] > 1)}"
            )
            return finished
        if (folder / "metrics.json").is_file():
            say("the finished run there is of other parameters, data, code or seed: trained anew")
        others = []
        for one in beside:
            # one that the data cannot give, or that another process works on, is not helped
            with contextlib.suppress(datasets.DataError, results.ResultError):
                other, place = _place(one, dataset, study, seed)
                if other.trains_like(task):
                    locks.enter_context(results.locked(place))
                    if not other.finished(place, "model.keras"):
                        others.append((other, place))
        return Training(task, folder, say, count, others).run()


def _place(
    params: dict[str, Any], dataset: datasets.Dataset, study: str | Path, seed: int
) -> tuple[Task, Path]:
    """The task of a run and the run's folder."""
    params = predecessors.settle(transfer.settle(params), study, seed)
    folder = results.run_folder(study, params["id"], seed, params["protocol"])
    return Task(params, dataset, seed, CODE), folder


def run_protocols(
    complete: list[dict[str, Any]],
    dataset: datasets.Dataset,
    study: str | Path,
    seed: int = 0,
    say: Any = print,
    count: int = 1,
) -> list[results.Run]:
    """The runs of one model, common protocol first.

    The paper's is left out where the data cannot give it; DataError if that leaves none.
    Protocols that train on the same images are trained together until their validation images ask
    for different things.
    """
    runs = []
    for number, params in enumerate(complete, 1):
        try:
            if len(complete) > 1:
                say(f"protocol {params['protocol']}")
            runs.append(run(params, dataset, study, seed, say, count, complete[number:]))
        except datasets.DataError as error:
            if number == 1:
                raise
            say(f"the paper's protocol is left out: {error}")
    return runs


def runs_or_examples(
    study: str | Path, source: str = "synthetic", models: tuple[str, ...] = ()
) -> list[results.Run]:
    """The finished runs of a study, or of some models in it; ResultError if there are none.

    In the folder of notebooks that are opened by themselves short runs on the images of `source`
    are made instead, of the first of `models`, so that there is something to show.
    """
    finished = results.finished_runs(study, models or ("*",))
    if finished:
        return finished
    if results.study_folder(study) != results.study_folder(results.NOTEBOOK_STUDY):
        what = f" of {' or '.join(models)}" if models else ""
        raise results.ResultError(f"{study}: no finished run{what} here; train a model first")
    devices.start()
    examples = models[:1] or ("basic_cnn", "deep_cnn")
    print(f"no finished run here: {' and '.join(examples)} are trained briefly, to have some")
    dataset = datasets.load(source)
    limits = {"epochs": 2, "train_limit": 1000}
    return [run(parameters.model(name, "demo", **limits), dataset, study) for name in examples]


class Course:
    """What the validation images of one task make of a training: history and best weights."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task, self.checkpoint = task, folder / "checkpoint.npz"
        self.schedule = Schedule(task.recipe)
        self.history: list[dict[str, float]] = []
        self.best_weights: list[np.ndarray] = []
        self.validation = np.array([], "int32")  # places of the images that are held
        self.trained_for = task.params["protocol"]  # whose training the checkpoint is from

    @property
    def finished(self) -> bool:
        """Does the training end here?"""
        return self.schedule.finished(len(self.history))

    def agrees(self, other: Course) -> bool:
        """Were all epochs the same for both, and would the next one be?"""
        losses, others = ([entry["loss"] for entry in one.history] for one in (self, other))
        rate, other_rate = (one.schedule.state.get("learning_rate") for one in (self, other))
        return losses == others and rate == other_rate and not self.finished


class Training:
    """One training: networks, data, optimizer and the course it takes.

    `beside` are other tasks with the same training images, and their folders. Each has a checkpoint
    there with the epochs that are the same for it, until its validation images ask for something
    else than those of `task`.
    """

    def __init__(
        self,
        task: Task,
        folder: Path,
        say: Any,
        count: int,
        beside: Sequence[tuple[Task, Path]] = (),
    ) -> None:
        self.task, self.params, self.recipe, self.seed = task, task.params, task.recipe, task.seed
        self.folder, self.say, self.count, self.extractor = folder, say, count, None
        self.teachers: list[Any] = []
        self.stages: dict[str, float] = {}
        self.course = Course(task, folder)
        self.beside = [Course(*each) for each in beside]
        size = self.recipe["batch_size"]
        if size % count:
            raise parameters.ParameterError(
                f"--devices is {count}, which does not divide the batches of {size} images that "
                f"{self.params['id']} has"
            )
        self._set_up()

    def assemble(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Network, data and optimizer on the device; labels and weights of the training images.

        Labels are (n,), or float32 (n, classes) where the recipe has shares of classes.
        """
        with devices.policy(self.precision):
            with self._stage("build"):
                self._build()
            with self._stage("data"):
                labels, weights = self._hold_data()
            with self._stage("compile"):
                self._compile(len(labels))
        return labels, weights

    def run(self) -> results.Run:
        """Train to the end, from the checkpoint where there is one, and write the run."""
        with devices.spread(self.count):
            labels, weights = self.assemble()
            resumed = self._resume()
            if resumed:
                by = self.course.trained_for
                shared = f" of the {by} protocol's training" * (by != self.params["protocol"])
                self.say(f"resumed after epoch {resumed}{shared}")
            for course in self.beside:
                self.say(
                    f"these epochs are the {course.task.params['protocol']} protocol's, too, until "
                    "its validation images ask for something else"
                )
            with self._stage("train"):
                while not self.course.finished:
                    self._epoch(labels, weights)
                    self._save_checkpoints()
        return self._finish()

    @contextlib.contextmanager
    def _stage(self, name: str):
        start = time.perf_counter()
        yield
        self.stages[name] = round(time.perf_counter() - start, 3)

    def _set_up(self) -> None:
        import keras

        devices.quiet()
        keras.backend.clear_session()
        keras.utils.set_random_seed(self.seed)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_op_determinism()
        self.precision = devices.precision_for(self.recipe["precision"])
        self.engine = {
            "backend": keras.backend.backend(),
            "precision": self.precision,
            "device": devices.name(),
            "devices": self.count,
        }
        if self.count > 1 and self.engine["device"] == "cpu":
            self.say("no GPU here: the processor is split, which shows that it works, no faster")

    def _build(self) -> None:
        from fer_utils import layers

        network = self._network()
        transfer.load(network, self.recipe["weights"])
        for key, told in lineage.named(self.recipe):
            self.say(f"{key}: {told['run']}, {told['file']}")
        if self.recipe["start_from"]:
            predecessors.start(network, self.params, self.task.identity["data"])
        # a frozen base sees every image once, so its features are as good as the images
        altering = ("augmentation", "mixing", "progressive_resizing", "distillation")
        if any(self.recipe[key] for key in altering) or not transfer.frozen(network):
            self.net = self.learner = layers.fuse(network)
            if self.recipe["progressive_resizing"]:
                self.resizing = augment.resizing()
                self.learner = layers.behind(self.resizing, self.net)
            if told := self.recipe["distillation"]:
                data, protocol = self.task.identity["data"], self.params["protocol"]
                self.teachers = distillation.teachers(told, data, protocol)
                self.learner = distillation.taught(self.learner, self.teachers, told["weight"])
            return
        self.net = self.learner = transfer.head(network)
        with devices.exact():
            self.whole = self._network()
            self.whole.set_weights(network.get_weights())
            self.extractor = transfer.extractor(self.whole)

    def _hold_data(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Put the training images, then every course's validation images, on the device."""
        from fer_utils import layers

        images, labels, weights = self._training_data()
        parts, start = [images], len(images)
        for course in (self.course, *self.beside):
            parts.append(self._inputs(course.task.part("validation")[0]))
            course.validation = np.arange(start, start + len(parts[-1]), dtype="int32")
            start += len(parts[-1])
        self.held = layers.held(np.concatenate(parts))
        return labels, weights

    def _compile(self, images: int) -> None:
        import keras

        stack = [keras.Input((), dtype="int32"), self.held]
        if self.recipe["augmentation"]:
            stack.append(augment.layer(**self.recipe["augmentation"], seed=self.seed))
        if self.recipe["mixing"]:
            seen = keras.Sequential(stack)
            inputs = [keras.Input((), dtype="int32"), keras.Input((), dtype="int32")]
            inputs.append(keras.Input((5,)))
            mixed = mixing.layer()(seen(inputs[0]), seen(inputs[1]), inputs[2])
            self.trainer = keras.Model(inputs, self.learner(mixed))
        else:
            self.trainer = keras.Sequential([*stack, self.learner])
        steps = -(-images // self.recipe["batch_size"]) * self.recipe["epochs"]
        self.trainer.compile(
            optimizer=optimizer.make(self.recipe, steps),
            loss=optimizer.loss(self.recipe),
            loss_weights=optimizer.share_of_labels(self.recipe),
            metrics=["accuracy"],
            jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
        )
        self.trainer.optimizer.build(self.trainer.trainable_variables)
        # metrics make their variables when first called; in fit() that costs a second tracing
        answers = np.eye(self.net.output_shape[-1], dtype=np.float32)
        soft = optimizer.soft_labels(self.recipe)
        self.trainer.compute_metrics(None, answers[:1] if soft else np.array([0]), answers[:1])
        self.trainer.reset_metrics()

    def _network(self) -> Any:
        from fer_utils import models

        options = {"classes": len(self.task.dataset.classes), **self._scaling()}
        return models.build(self.params["builder"], **options, **self.params["options"])

    def _scaling(self) -> dict[str, float]:
        if self.recipe["pixels"] == "rescale":
            return {"scale": 1 / 255, "offset": 0.0}
        pixels = self.task.part("train")[0]
        mean, deviation = float(pixels.mean()), float(pixels.std()) or 1.0
        return {"scale": 1 / deviation, "offset": -mean / deviation}

    def _inputs(self, images: np.ndarray) -> np.ndarray:
        """What the trained network takes for these images: their pixels or their features."""
        if not self.extractor:
            return images[..., None]
        with devices.exact():
            return transfer.features(self.extractor, images, self.say)

    def _training_data(self):
        images, labels = self.task.part("train")
        kept = ~quality.unwanted(images, self.recipe["leave_out"])
        chosen = balance.apply(
            images[kept],
            labels[kept],
            self.recipe["balance"],
            target=self.recipe["balance_target"],
            seed=self.seed,
        )
        of_class = chosen.weights
        weights = of_class and np.array([of_class[label] for label in chosen.labels.tolist()])
        return self._inputs(chosen.images), self._targets(chosen.labels), weights

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        if optimizer.soft_labels(self.recipe):
            return np.eye(len(self.task.dataset.classes), dtype=np.float32)[labels]
        return labels

    def _epoch(self, labels: np.ndarray, weights: np.ndarray | None) -> None:
        number = len(self.course.history) + 1
        # the order depends on seed and epoch alone, so that a resumed run sees the same batches
        order = np.random.default_rng([self.seed, 2, number]).permutation(len(labels))
        order = order[: len(order) // self.count * self.count]  # every device gets its share
        rate = optimizer.rate(self.trainer.optimizer)
        size = self._resize(number)
        start = time.perf_counter()
        logs = self.trainer.fit(
            **devices.batches(
                *self._lesson(order, labels, np.random.default_rng([self.seed, 3, number])),
                None if weights is None else weights[order],
                size=self.recipe["batch_size"],
            ),
            shuffle=False,
            verbose=0,
        ).history
        seconds = time.perf_counter() - start
        if not np.isfinite(logs["loss"][0]):
            raise FloatingPointError(
                f"{self.params['id']}: the loss became {logs['loss'][0]} in epoch {number}; "
                "lower training.learning_rate or set training.precision: float32"
            )
        with optimizer.averaged(self.trainer.optimizer, self.trainer.trainable_variables):
            for course in (*self.beside, self.course):
                entry = {
                    "epoch": number,
                    "loss": logs["loss"][0],
                    "accuracy": logs["accuracy"][0],
                    **self._validate(course),
                    "learning_rate": rate,
                    "seconds": round(seconds, 3),
                    "images_per_second": round(len(order) / seconds, 1),
                    **({"image_size": size} if size else {}),
                }
                course.history.append(entry)
                if best := course.schedule.follow(entry):
                    course.best_weights = [devices.array(weight) for weight in self.net.weights]
        self.say(
            f"epoch {number:>3}/{self.recipe['epochs']}"
            f"  loss {entry['loss']:.3f}  accuracy {entry['accuracy']:.3f}"
            f"  val_loss {entry['val_loss']:.3f}  val_accuracy {entry['val_accuracy']:.3f}"
            f"  {entry['images_per_second']:,.0f} images/s"
            f"{f' of {size}x{size}' if size else ''}{'  best' if best else ''}"
        )

    def _resize(self, number: int) -> int | None:
        """Set the size of the training images in an epoch, where the recipe has sizes."""
        sizes = self.recipe["progressive_resizing"]
        if not sizes:
            return None
        sizes = sizes[-self.recipe["epochs"] :]  # where epochs are cut, the first ones go
        size = sizes[(number - 1) * len(sizes) // self.recipe["epochs"]]
        if size != self.resizing.size:
            self.resizing.size = size
            self.trainer.make_train_function(force=True)
        return size

    def _lesson(
        self, order: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[Any, np.ndarray]:
        """What one epoch is fitted to, inputs and targets, for training images in `order`."""
        places, targets = order.astype("int32"), labels[order]
        if not self.recipe["mixing"]:
            return places, targets
        partner, mix, targets = mixing.draw(targets, **self.recipe["mixing"], rng=rng)
        return [places, places[partner], mix], targets

    def _validate(self, course: Course) -> dict[str, float]:
        labels = course.task.part("validation")[1]
        batch = EVALUATION_BATCH // self.count * self.count
        places = np.resize(course.validation, -(-len(labels) // self.count) * self.count)
        if self.recipe["mixing"]:
            alone = np.tile(np.array([1, 0, 0, 0, 0], np.float32), (len(places), 1))
            places = [places, places, alone]
        probabilities = self.trainer.predict(**devices.batches(places, size=batch), verbose=0)
        probabilities = probabilities[: len(labels)]
        return {
            "val_loss": evaluation.nll(labels, probabilities),
            "val_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        }

    def _variables(self) -> list[Any]:
        """All that training changes; images and teachers stay as they are."""
        fixed = [self.held.images, *(v for teacher in self.teachers for v in teacher.variables)]
        fixed = {id(variable) for variable in fixed}
        state = [variable for variable in self.trainer.variables if id(variable) not in fixed]
        return [*state, *self.trainer.optimizer.variables]

    def _predicted(self, network: Any, part: np.ndarray) -> np.ndarray:
        return self._answers(network, self.task.dataset.images[part])

    def _predicted_from_views(self, network: Any, part: np.ndarray) -> np.ndarray:
        views = augment.views(self.task.dataset.images[part], **self.recipe["views"])
        return sum(self._answers(network, view) for view in views) / len(views)

    def _answers(self, network: Any, images: np.ndarray) -> np.ndarray:
        inputs = devices.batches(self._inputs(images), size=EVALUATION_BATCH)
        return network.predict(**inputs, verbose=0)

    def _save_checkpoints(self) -> None:
        """One for each course; those that part from the training's own go no further here."""
        for course in (*self.beside, self.course):  # the last one's learning rate stays
            if self.recipe["reduce_lr"]:
                rate = course.schedule.state["learning_rate"]
                self.trainer.optimizer.learning_rate = rate
            self._save(course)
        self._part()

    def _part(self) -> None:
        for course in self.beside:
            if not course.agrees(self.course):
                told = "ends here" if course.finished else "goes on by itself later"
                self.say(f"the {course.task.params['protocol']} protocol {told}")
        self.beside = [course for course in self.beside if course.agrees(self.course)]

    def _save(self, course: Course) -> None:
        arrays = {
            f"variable_{i}": devices.array(variable) for i, variable in enumerate(self._variables())
        }
        arrays |= {f"best_{i}": weight for i, weight in enumerate(course.best_weights)}
        state = {
            "schedule": course.schedule.state,
            "history": course.history,
            "identity": course.task.identity,
            "engine": self.engine,
            "trained_for": self.params["protocol"],
        }
        with results.replacing(course.checkpoint) as temporary, open(temporary, "wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **arrays)

    def _resume(self) -> int:
        """Take up the checkpoint of the same identity, if there is one; epochs already done."""
        values = self._load(self.course, self.say)
        for variable, value in zip(self._variables(), values, strict=False):
            variable.assign(value)
        for course in self.beside:
            self._load(course, lambda line: None)
        self._part()
        return len(self.course.history)

    def _load(self, course: Course, say: Any) -> list[np.ndarray]:
        """Put a course where its checkpoint is; the values of the variables, none without one."""
        for half_written in course.checkpoint.parent.glob(".checkpoint.*.partial.npz"):
            half_written.unlink()  # by a killed process
        try:
            with np.load(course.checkpoint, allow_pickle=False) as saved:
                state = json.loads(str(saved["state"]))
                if state["identity"] != course.task.identity:
                    say("the checkpoint is of other parameters, data or code: training anew")
                    return []
                if state["engine"] != self.engine:
                    told = " ".join(str(value) for value in state["engine"].values())
                    say(f"the checkpoint was trained with {told}: training starts anew")
                    return []
                values = [saved[f"variable_{i}"] for i in range(len(self._variables()))]
                best = [saved[f"best_{i}"] for i in range(len(self.net.weights))]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return []  # none, or damaged: training starts anew
        course.schedule.state, course.history = state["schedule"], state["history"]
        course.best_weights, course.trained_for = best, state["trained_for"]
        return values

    def _finish(self) -> results.Run:
        """Score the best weights in a float32 network and write the run's files.

        float32 so that whoever loads model.keras gets the recorded probabilities on any machine.
        """
        with self._stage("evaluate"), devices.exact():
            final = self.whole if self.extractor else self._network()
            scored = transfer.head(final) if self.extractor else final
            scored.set_weights(self.course.best_weights)
            predictions = self.task.predictions(lambda part: self._predicted(scored, part))
            if self.recipe["views"]:
                self.say(f"scoring the mean over {_count_of_views(self.recipe)} views of an image")
                predictions |= self.task.predictions(
                    lambda part: self._predicted_from_views(scored, part),
                    ("validation", "test"),
                    VIEWS,
                )
        history, best_epoch = self.course.history, self.course.schedule.state["best_epoch"]
        seconds = sum(entry["seconds"] for entry in history)
        size = history[-1].get("image_size")
        rates = [e["images_per_second"] for e in history if e.get("image_size") == size]
        start = transfer.kind(self.params)
        metrics = self.task.record(
            predictions,
            model={
                **({"weights": start} if start else {}),
                **({"views": _count_of_views(self.recipe)} if self.recipe["views"] else {}),
                "parameters": int(final.count_params()),
                "epochs_run": len(history),
                "best_epoch": best_epoch,
                "stopped_early": len(history) < self.recipe["epochs"],
            },
            timing={
                "training_seconds": round(seconds, 3),
                "images_per_second": float(np.median(rates)),
                "stages": self.stages,
            },
            engine=self.engine,
        )
        run = results.write_run(
            self.folder,
            metrics,
            pd.DataFrame(history),
            predictions,
            lambda folder: final.save(folder / "model.keras"),
        )
        self.course.checkpoint.unlink(missing_ok=True)
        return run


def _count_of_views(recipe: dict[str, Any]) -> int:
    return len(augment.views(np.zeros((1, 48, 48), np.uint8), **recipe["views"]))


def _train(options: argparse.Namespace) -> None:
    from fer_utils import export

    limits = {} if options.epochs is None else {"epochs": options.epochs}
    devices.start()
    parameters.check_seeds("--seed", options.seed)
    if options.devices < 1:
        raise parameters.ParameterError(f"--devices is {options.devices}; give at least 1")
    complete = parameters.protocols(options.params, options.profile, **limits)
    if options.protocol:
        complete = complete[:1] if options.protocol == "official" else complete[-1:]
    dataset = datasets.load(options.data, options.on_bad, resize=options.resize)
    study = Path(options.results).absolute()
    made_up = ", synthetic faces, not FER2013" if dataset.provenance.get("synthetic") else ""
    print(
        f"{complete[0]['id']} on {options.data} ({len(dataset):,} images{made_up}), "
        f"run folder {results.run_folder(study, complete[0]['id'], options.seed)}",
        flush=True,
    )
    runs = run_protocols(complete, dataset, study, options.seed, count=options.devices)
    for finished in runs:
        protocol, test = finished.metrics["protocol"], finished.test
        print(
            f"{finished.folder}: {test['accuracy']:.1%} of {test['n']:,} {protocol['test']} "
            f"images right ({test['accuracy_low']:.1%} to {test['accuracy_high']:.1%}), "
            f"{protocol['name']} protocol"
        )
    for finished in runs:
        if export.possible():
            export.export(finished, dataset)


def main(arguments: list[str] | None = None) -> int:
    """Command line of the headless training; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_utils.training",
        description="Train one model without a notebook and write its run folder.",
    )
    parser.add_argument("params", help="params/models/<id>.yaml")
    parser.add_argument("--data", required=True, help="as in run_all.sh, or synthetic")
    parser.add_argument(
        "--results",
        default="results/full",
        help="study folder (default: %(default)s); the run goes to runs/<id>/seed_<n> in it",
    )
    parser.add_argument("--profile", help="apply the limits of this profile, as run_all.sh does")
    parser.add_argument("--on-bad", choices=["error", "skip"], default="error")
    parser.add_argument("--resize", action="store_true", help="scale images of other sizes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument(
        "--devices", type=int, default=1, metavar="N", help="share each batch among N devices"
    )
    parser.add_argument(
        "--protocol",
        choices=["official", "paper"],
        help="the common protocol or the paper's own only (default: both, which then share the "
        "epochs that are the same)",
    )
    options = parser.parse_args(arguments)
    return status(lambda: _train(options), AFTER_EPOCH)


if __name__ == "__main__":
    sys.exit(main())
