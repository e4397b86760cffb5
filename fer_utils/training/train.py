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
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils.base import AFTER_EPOCH, ResultError, replacing, status
from fer_utils.data import balance, preprocess, quality
from fer_utils.models import devices
from fer_utils.runs import store
from fer_utils.runs.store import VIEWS
from fer_utils.scores import nll
from fer_utils.training import augment, mixing, optimizer, transfer
from fer_utils.training.schedule import Schedule
from fer_utils.training.task import Task

EVALUATION_BATCH = 256


def run(
    params: dict[str, Any],
    dataset: datasets.Dataset,
    study: str | Path,
    seed: int = 0,
    say: Any = print,
) -> store.Run:
    """Train, score and record one model in the study's folder, or present the finished run.

    A run is presented instead of repeated when parameters, data, seed and training version are the
    same. An interrupted run goes on after its last whole epoch. `say` gets one line per epoch.
    """
    params = transfer.settle(params)
    task = Task(params, dataset, seed)
    folder = store.run_folder(study, params["id"], seed, params["protocol"])
    with store.locked(folder):
        if finished := task.finished(folder, "model.keras"):
            made = finished.metrics["environment"]
            say(
                "finished run of the same parameters, data, seed and training version: "
                f"{folder.name}, trained with {made['backend']}, {made['precision']}"
            )
            return finished
        if (folder / "metrics.json").is_file():
            say(
                "the finished run there is of other parameters, data, seed or training version: "
                "trained anew"
            )
        return Training(task, folder, say).run()


def run_protocols(
    complete: list[dict[str, Any]],
    dataset: datasets.Dataset,
    study: str | Path,
    seed: int = 0,
    say: Any = print,
) -> list[store.Run]:
    """The runs of one model, common protocol first, each trained by itself.

    The paper's is left out where the data cannot give it; DataError if that leaves none.
    """
    runs = []
    for params in complete:
        try:
            if len(complete) > 1:
                say(f"protocol {params['protocol']}")
            runs.append(run(params, dataset, study, seed, say))
        except datasets.DataError as error:
            if not runs:
                raise
            say(f"the paper's protocol is left out: {error}")
    return runs


def runs_or_examples(
    study: str | Path, source: str = "synthetic", models: tuple[str, ...] = ()
) -> list[store.Run]:
    """The finished runs of a study, or of some models in it; ResultError if there are none.

    In the folder of notebooks that are opened by themselves short runs on the images of `source`
    are made instead, of the first of `models`, so that there is something to show.
    """
    finished = store.finished_runs(study, models or ("*",))
    if finished:
        return finished
    if store.study_folder(study) != store.study_folder(store.NOTEBOOK_STUDY):
        what = f" of {' or '.join(models)}" if models else ""
        raise ResultError(f"{study}: no finished run{what} here; train a model first")
    devices.start()
    examples = models[:1] or ("basic_cnn", "deep_cnn")
    print(f"no finished run here: {' and '.join(examples)} are trained briefly, to have some")
    dataset = datasets.load(source)
    limits = {"epochs": 2, "train_limit": 1000}
    return [run(parameters.model(name, "demo", **limits), dataset, study) for name in examples]


class Training:
    """One training: network, data, optimizer, its history and its checkpoint."""

    def __init__(self, task: Task, folder: Path, say: Any) -> None:
        self.task, self.params, self.recipe, self.seed = task, task.params, task.recipe, task.seed
        self.folder, self.say, self.extractor = folder, say, None
        self.checkpoint = folder / "checkpoint.npz"
        self.schedule = Schedule(task.recipe)
        self.history: list[dict[str, float]] = []
        self.best_weights: list[np.ndarray] = []
        self.stages: dict[str, float] = {}
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

    def run(self) -> store.Run:
        """Train to the end, from the checkpoint where there is one, and write the run."""
        labels, weights = self.assemble()
        if self._resume():
            self.say(f"resumed after epoch {len(self.history)}")
        with self._stage("train"):
            while not self.schedule.finished(len(self.history)):
                self._epoch(labels, weights)
                self._save_checkpoint()
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
        }

    def _build(self) -> None:
        from fer_utils.models import layers

        network = self._network()
        transfer.load(network, self.recipe["weights"])
        # a frozen base sees every image once, so its features are as good as the images
        altering = self.recipe["augmentation"] or self.recipe["mixing"]
        if altering or not transfer.frozen(network):
            self.net = layers.fuse(network)
            return
        self.net = transfer.head(network)
        with devices.exact():
            self.whole = self._network()
            self.whole.set_weights(network.get_weights())
            self.extractor = transfer.extractor(self.whole)

    def _hold_data(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Put the training images, then the validation images, on the device."""
        from fer_utils.models import layers

        images, labels, weights = self._training_data()
        validation = self._inputs(self.task.part("validation")[0])
        self.validation = np.arange(len(images), len(images) + len(validation), dtype="int32")
        self.held = layers.held(np.concatenate([images, validation]))
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
            self.trainer = keras.Model(inputs, self.net(mixed))
        else:
            self.trainer = keras.Sequential([*stack, self.net])
        steps = -(-images // self.recipe["batch_size"]) * self.recipe["epochs"]
        self.trainer.compile(
            optimizer=optimizer.make(self.recipe, steps),
            loss=optimizer.loss(self.recipe),
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
        number = len(self.history) + 1
        # the order depends on seed and epoch alone, so that a resumed run sees the same batches
        order = np.random.default_rng([self.seed, 2, number]).permutation(len(labels))
        rate = optimizer.rate(self.trainer.optimizer)
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
            entry = {
                "epoch": number,
                "loss": logs["loss"][0],
                "accuracy": logs["accuracy"][0],
                **self._validate(),
                "learning_rate": rate,
                "seconds": round(seconds, 3),
                "images_per_second": round(len(order) / seconds, 1),
            }
            self.history.append(entry)
            if best := self.schedule.follow(entry):
                self.best_weights = [devices.array(weight) for weight in self.net.weights]
        if self.recipe["reduce_lr"]:
            self.trainer.optimizer.learning_rate = self.schedule.state["learning_rate"]
        self.say(
            f"epoch {number:>3}/{self.recipe['epochs']}"
            f"  loss {entry['loss']:.3f}  accuracy {entry['accuracy']:.3f}"
            f"  val_loss {entry['val_loss']:.3f}  val_accuracy {entry['val_accuracy']:.3f}"
            f"  {entry['images_per_second']:,.0f} images/s{'  best' if best else ''}"
        )

    def _lesson(
        self, order: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[Any, np.ndarray]:
        """What one epoch is fitted to, inputs and targets, for training images in `order`."""
        places, targets = order.astype("int32"), labels[order]
        if not self.recipe["mixing"]:
            return places, targets
        partner, mix, targets = mixing.draw(targets, **self.recipe["mixing"], rng=rng)
        return [places, places[partner], mix], targets

    def _validate(self) -> dict[str, float]:
        labels, places = self.task.part("validation")[1], self.validation
        if self.recipe["mixing"]:
            alone = np.tile(np.array([1, 0, 0, 0, 0], np.float32), (len(places), 1))
            places = [places, places, alone]
        inputs = devices.batches(places, size=EVALUATION_BATCH)
        probabilities = self.trainer.predict(**inputs, verbose=0)
        return {
            "val_loss": nll(labels, probabilities),
            "val_accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        }

    def _variables(self) -> list[Any]:
        """All that training changes; the images stay as they are."""
        state = [v for v in self.trainer.variables if v is not self.held.images]
        return [*state, *self.trainer.optimizer.variables]

    def _predicted(self, network: Any, part: np.ndarray) -> np.ndarray:
        return self._answers(network, self.task.dataset.images[part])

    def _predicted_from_views(self, network: Any, part: np.ndarray) -> np.ndarray:
        views = preprocess.views(self.task.dataset.images[part], **self.recipe["views"])
        return sum(self._answers(network, view) for view in views) / len(views)

    def _answers(self, network: Any, images: np.ndarray) -> np.ndarray:
        inputs = devices.batches(self._inputs(images), size=EVALUATION_BATCH)
        return network.predict(**inputs, verbose=0)

    def _save_checkpoint(self) -> None:
        variables = self._variables()
        arrays = {f"variable_{i}": devices.array(variable) for i, variable in enumerate(variables)}
        arrays |= {f"best_{i}": weight for i, weight in enumerate(self.best_weights)}
        state = {
            "schedule": self.schedule.state,
            "history": self.history,
            "identity": self.task.identity,
            "engine": self.engine,
        }
        with replacing(self.checkpoint) as temporary, open(temporary, "wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **arrays)

    def _resume(self) -> bool:
        """Take up the checkpoint of the same identity, if there is one."""
        for half_written in self.folder.glob(".checkpoint.*.partial.npz"):
            half_written.unlink()  # by a killed process
        variables = self._variables()
        try:
            with np.load(self.checkpoint, allow_pickle=False) as saved:
                state = json.loads(str(saved["state"]))
                if state["identity"] != self.task.identity:
                    self.say(
                        "the checkpoint is of other parameters, data or training version: "
                        "training anew"
                    )
                    return False
                if state["engine"] != self.engine:
                    engine = " ".join(str(value) for value in state["engine"].values())
                    self.say(f"the checkpoint was trained with {engine}: training starts anew")
                    return False
                values = [saved[f"variable_{i}"] for i in range(len(variables))]
                best = [saved[f"best_{i}"] for i in range(len(self.net.weights))]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return False  # none, or damaged: training starts anew
        self.schedule.state, self.history, self.best_weights = (
            state["schedule"],
            state["history"],
            best,
        )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return True

    def _finish(self) -> store.Run:
        """Score the best weights in a float32 network and write the run's files.

        float32 so that whoever loads model.keras gets the recorded probabilities on any machine.
        """
        with self._stage("evaluate"), devices.exact():
            final = self.whole if self.extractor else self._network()
            scored = transfer.head(final) if self.extractor else final
            scored.set_weights(self.best_weights)
            predictions = self.task.predictions(lambda part: self._predicted(scored, part))
            if self.recipe["views"]:
                self.say(f"scoring the mean over {_count_of_views(self.recipe)} views of an image")
                predictions |= self.task.predictions(
                    lambda part: self._predicted_from_views(scored, part),
                    ("validation", "test"),
                    VIEWS,
                )
        history = pd.DataFrame(self.history)
        start = transfer.kind(self.params)
        metrics = self.task.record(
            predictions,
            model={
                **({"weights": start} if start else {}),
                **({"views": _count_of_views(self.recipe)} if self.recipe["views"] else {}),
                "parameters": int(final.count_params()),
                "epochs_run": len(history),
                "best_epoch": self.schedule.state["best_epoch"],
                "stopped_early": len(history) < self.recipe["epochs"],
            },
            timing={
                "training_seconds": round(float(history["seconds"].sum()), 3),
                "images_per_second": float(history["images_per_second"].median()),
                "stages": self.stages,
            },
            engine=self.engine,
        )
        run = store.write_run(
            self.folder,
            metrics,
            history,
            predictions,
            lambda folder: final.save(folder / "model.keras"),
        )
        self.checkpoint.unlink(missing_ok=True)
        return run


def _count_of_views(recipe: dict[str, Any]) -> int:
    return len(preprocess.views(np.zeros((1, 48, 48), np.uint8), **recipe["views"]))


def _train(options: argparse.Namespace) -> None:
    limits = {} if options.epochs is None else {"epochs": options.epochs}
    devices.start()
    parameters.check_seeds("--seed", options.seed)
    complete = parameters.protocols(options.params, options.profile, **limits)
    if options.protocol:
        complete = complete[:1] if options.protocol == "official" else complete[-1:]
    dataset = datasets.load(options.data, options.on_bad, resize=options.resize)
    study = Path(options.results).absolute()
    made_up = ", synthetic faces, not FER2013" if dataset.provenance.get("synthetic") else ""
    print(
        f"{complete[0]['id']} on {options.data} ({len(dataset):,} images{made_up}), "
        f"run folder {store.run_folder(study, complete[0]['id'], options.seed)}",
        flush=True,
    )
    runs = run_protocols(complete, dataset, study, options.seed)
    for finished in runs:
        protocol, test = finished.metrics["protocol"], finished.test
        print(
            f"{finished.folder}: {test['accuracy']:.1%} of {test['n']:,} {protocol['test']} "
            f"images right ({test['accuracy_low']:.1%} to {test['accuracy_high']:.1%}), "
            f"{protocol['name']} protocol"
        )


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
        "--protocol",
        choices=["official", "paper"],
        help="the common protocol or the paper's own only (default: both)",
    )
    options = parser.parse_args(arguments)
    return status(lambda: _train(options), AFTER_EPOCH)


if __name__ == "__main__":
    sys.exit(main())
