"""Training of one network by its parameter file, resumable at every epoch.

Headless: python -m fer_utils.training params/models/<id>.yaml --data PATH --results DIR
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import resource
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils import balance, datasets, evaluation, parameters, quality, results
from fer_utils.schedule import Schedule

EVALUATION_BATCH = 256
NOTEBOOK_STUDY = "results/notebook"  # where notebooks opened by themselves write
CODE = (
    "augment",
    "balance",
    "cache",
    "datasets",
    "evaluation",
    "faces",
    "fer2013",
    "images",
    "layers",
    "models",
    "parameters",
    "quality",
    "schedule",
    "sources",
    "synthetic",
    "tables",
    "training",
)


def precision_for(choice: str) -> str:
    """The Keras dtype policy: "auto" is bfloat16 where the processor has it, else float32."""
    if choice != "auto":
        return choice
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        if "amx_bf16" in flags or "avx512_bf16" in flags:
            return "mixed_bfloat16"
    return "float32"


def run(
    params: dict[str, Any],
    dataset: datasets.Dataset,
    study: str | Path,
    seed: int = 0,
    say: Any = print,
) -> results.Run:
    """Train, score and record one model in the study's folder, or present the finished run.

    A run is presented instead of repeated when parameters, data, seed and training code are the
    same. An interrupted run goes on after its last whole epoch. `say` gets one line per epoch.
    """
    folder = results.run_folder(study, params["id"], seed)
    rows = np.arange(len(dataset))
    if params.get("classes"):
        chosen = datasets.select_classes(dataset, params["classes"])
        kept = [name in chosen.classes for name in dataset.classes]
        rows, dataset = np.flatnonzero(np.array(kept)[dataset.labels]), chosen
    identity = {
        "params": params,
        "seed": seed,
        "data": dataset.provenance["sha256"],
        "code": results.code_sha256(CODE),
    }
    with results.locked(folder):
        return _presented_or_trained(params, dataset, rows, folder, seed, identity, say)


def _presented_or_trained(params, dataset, rows, folder, seed, identity, say) -> results.Run:
    with contextlib.suppress(results.ResultError):
        finished = results.read_run(folder)
        if _identity(finished.metrics) == identity and (folder / "model.keras").is_file():
            say(f"finished run of the same parameters, data, code and seed: {folder.name}")
            return finished
    return _Training(params, dataset, rows, folder, seed, identity, say).run()


def runs_or_examples(study: str | Path) -> list[results.Run]:
    """The finished runs of a study; ResultError if there are none.

    In the folder of notebooks that are opened by themselves two short runs on a few synthetic
    faces are made instead, so that there is something to show.
    """
    finished = results.finished_runs(study)
    if finished:
        return finished
    if results.study_folder(study) != results.study_folder(NOTEBOOK_STUDY):
        raise results.ResultError(f"{study}: no finished run here; train a model first")
    print("no finished run in this folder: two short ones are trained, to have something to show")
    dataset = datasets.load("synthetic:n=1500")
    limits = {"epochs": 2, "train_limit": 1000}
    models = ("basic_cnn", "deep_cnn")
    return [run(parameters.model(name, "demo", **limits), dataset, study) for name in models]


def _identity(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "params": metrics["params"],
        "seed": metrics["seed"],
        "data": metrics["data"]["sha256"],
        "code": metrics["environment"]["code_sha256"],
    }


class _Training:
    """State of one training: networks, parts of the data, history and the schedule's counters."""

    def __init__(self, params, dataset, rows, folder, seed, identity, say):
        self.params, self.recipe = params, params["training"]
        self.dataset, self.rows, self.folder, self.seed = dataset, rows, folder, seed
        self.identity, self.say = identity, say
        self.checkpoint = folder / "checkpoint.npz"
        self.parts = datasets.split(dataset, params["protocol"], seed)
        self.stages: dict[str, float] = {}
        self.history: list[dict[str, float]] = []
        self.schedule = Schedule(self.recipe)
        self.best_weights: list[np.ndarray] = []

    def run(self) -> results.Run:
        with self._stage("build"):
            self._build()
        with self._stage("data"):
            images, labels, weights = self._training_data()
        resumed = self._resume()
        if resumed:
            self.say(f"resumed after epoch {resumed}")
        with self._stage("train"):
            while not self.schedule.finished(len(self.history)):
                self._epoch(images, labels, weights)
                self._save_checkpoint()
        with self._stage("evaluate"):
            net, predictions = self._finish()
        return self._record(net, predictions)

    @contextlib.contextmanager
    def _stage(self, name: str):
        start = time.perf_counter()
        yield
        self.stages[name] = round(time.perf_counter() - start, 3)

    def _build(self) -> None:
        import keras

        from fer_utils import augment, layers

        keras.backend.clear_session()
        keras.utils.set_random_seed(self.seed)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            tf.config.experimental.enable_op_determinism()
        self.precision = precision_for(self.recipe["precision"])
        keras.config.set_dtype_policy(self.precision)
        self.net = layers.fuse(self._network())
        ranges = self.recipe["augmentation"]
        stack = [keras.Input((48, 48, 1), dtype="uint8")]
        if ranges:
            stack.append(augment.random_affine(**ranges, seed=self.seed))
        self.trainer = keras.Sequential([*stack, self.net])
        optimizers = {
            "adam": keras.optimizers.Adam,
            "sgd": keras.optimizers.SGD,
        }
        self.trainer.compile(
            optimizer=optimizers[self.recipe["optimizer"]](self.recipe["learning_rate"]),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
        )
        self.trainer.optimizer.build(self.trainer.trainable_variables)

    def _network(self) -> Any:
        from fer_utils import models

        options = {"classes": len(self.dataset.classes), **self._scaling()}
        return models.build(self.params["builder"], **options, **self.params["options"])

    def _scaling(self) -> dict[str, float]:
        if self.recipe["pixels"] == "rescale":
            return {"scale": 1 / 255, "offset": 0.0}
        pixels = self.dataset.images[self.parts["train"]]
        mean, deviation = float(pixels.mean()), float(pixels.std()) or 1.0
        return {"scale": 1 / deviation, "offset": -mean / deviation}

    def _training_data(self):
        part = self.parts["train"]
        limit = self.recipe["train_limit"]
        if limit and limit < len(part):
            part = np.sort(np.random.default_rng([self.seed, 1]).permutation(part)[:limit])
        chosen = balance.apply(
            self.dataset.images[part],
            self.dataset.labels[part],
            self.recipe["balance"],
            target=self.recipe["balance_target"],
            seed=self.seed,
        )
        of_class = chosen.weights
        weights = of_class and np.array([of_class[label] for label in chosen.labels.tolist()])
        return chosen.images[..., None], chosen.labels, weights

    def _epoch(self, images, labels, weights) -> None:
        number = len(self.history) + 1
        # the order depends on seed and epoch alone, so that a resumed run sees the same batches
        order = np.random.default_rng([self.seed, 2, number]).permutation(len(labels))
        start = time.perf_counter()
        logs = self.trainer.fit(
            images[order],
            labels[order],
            sample_weight=None if weights is None else weights[order],
            batch_size=self.recipe["batch_size"],
            shuffle=False,
            verbose=0,
        ).history
        seconds = time.perf_counter() - start
        part = self.parts["validation"]
        validation = self.trainer.evaluate(
            self.dataset.images[part][..., None],
            self.dataset.labels[part],
            batch_size=EVALUATION_BATCH,
            verbose=0,
            return_dict=True,
        )
        entry = {
            "epoch": number,
            "loss": logs["loss"][0],
            "accuracy": logs["accuracy"][0],
            "val_loss": validation["loss"],
            "val_accuracy": validation["accuracy"],
            "learning_rate": float(self.trainer.optimizer.learning_rate),
            "seconds": round(seconds, 3),
            "images_per_second": round(len(labels) / seconds, 1),
        }
        if not np.isfinite(entry["loss"]):
            raise FloatingPointError(
                f"{self.params['id']}: the loss became {entry['loss']} in epoch {number}; "
                "lower training.learning_rate or set training.precision: float32"
            )
        self.history.append(entry)
        best, rate = self.schedule.follow(entry)
        if best:
            self.best_weights = self.net.get_weights()
        if rate is not None:
            self.trainer.optimizer.learning_rate = rate
        self.say(
            f"epoch {number:>3}/{self.recipe['epochs']}"
            f"  loss {entry['loss']:.3f}  accuracy {entry['accuracy']:.3f}"
            f"  val_loss {entry['val_loss']:.3f}  val_accuracy {entry['val_accuracy']:.3f}"
            f"  {entry['images_per_second']:,.0f} images/s{'  best' if best else ''}"
        )

    def _variables(self) -> list[Any]:
        return [*self.trainer.variables, *self.trainer.optimizer.variables]

    def _save_checkpoint(self) -> None:
        from keras import ops

        arrays = {
            f"variable_{i}": ops.convert_to_numpy(variable)
            for i, variable in enumerate(self._variables())
        }
        arrays |= {f"best_{i}": weight for i, weight in enumerate(self.best_weights)}
        state = {
            "schedule": self.schedule.state,
            "history": self.history,
            "identity": self.identity,
        }
        with results.replacing(self.checkpoint) as temporary, open(temporary, "wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **arrays)

    def _resume(self) -> int:
        """Take up the checkpoint of the same identity, if there is one; epochs already done."""
        try:
            with np.load(self.checkpoint, allow_pickle=False) as saved:
                state = json.loads(str(saved["state"]))
                if state["identity"] != self.identity:
                    return 0
                values = [saved[f"variable_{i}"] for i in range(len(self._variables()))]
                best = [saved[f"best_{i}"] for i in range(len(self.net.weights))]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return 0  # none, or damaged: training starts anew
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        self.schedule.state = state["schedule"]
        self.history, self.best_weights = state["history"], best
        return len(self.history)

    def _finish(self) -> tuple[Any, dict[str, dict[str, np.ndarray]]]:
        """The best weights in a float32 network, and its probabilities for every part.

        float32 so that whoever loads model.keras gets the recorded probabilities on any machine.
        """
        import keras

        keras.config.set_dtype_policy("float32")
        final = self._network()
        final.set_weights(self.best_weights)
        predictions = {}
        for role, name in self._split_names().items():
            part = self.parts[role]
            predictions[name] = {
                "probabilities": final.predict(
                    self.dataset.images[part][..., None], batch_size=EVALUATION_BATCH, verbose=0
                ),
                "labels": self.dataset.labels[part],
                "index": self.rows[part],
            }
        return final, predictions

    def _split_names(self) -> dict[str, str]:
        """Name of each part: the official split it is equal to, else its role."""
        names = {}
        for role, part in self.parts.items():
            usage = set(self.dataset.usage[part])
            whole = len(usage) == 1 and np.isin(self.dataset.usage, list(usage)).sum() == len(part)
            names[role] = str(usage.pop()) if whole else role
        if np.array_equal(self.parts["validation"], self.parts["test"]):
            names["validation"] = names["test"]
        return names

    def _record(self, net: Any, predictions: dict[str, dict[str, np.ndarray]]) -> results.Run:
        import keras

        names, classes = self._split_names(), self.dataset.classes
        scores = {
            name: evaluation.scores(of["labels"], of["probabilities"], classes)
            for name, of in predictions.items()
        }
        known = quality.in_reference(
            self.dataset.images[self.parts["test"]], self.dataset.images[self.parts["train"]]
        )
        test = predictions[names["test"]]
        if known.any() and not known.all():
            scores[f"{names['test']}_not_in_training"] = evaluation.scores(
                test["labels"][~known], test["probabilities"][~known], classes
            )
        provenance = self.dataset.provenance
        seconds = sum(entry["seconds"] for entry in self.history)
        rates = [entry["images_per_second"] for entry in self.history]
        metrics = {
            "schema_version": results.SCHEMA_VERSION,
            "run_id": self.params["id"],
            "seed": self.seed,
            "params": self.params,
            "data": {
                "synthetic": bool(provenance.get("synthetic", False)),
                **{
                    key: provenance[key]
                    for key in ("kind", "source", "sha256", "pixels_sha256", "counts", "split")
                },
            },
            "protocol": {
                "name": self.params["protocol"],
                **names,
                "classes": list(classes),
                "selected_on": f"{self.recipe['keep_best']} of {names['validation']}",
            },
            "environment": {
                **results.environment(),
                "backend": keras.backend.backend(),
                "precision": self.precision,
                "device": _device(),
                "code_sha256": self.identity["code"],
            },
            "timing": {
                "training_seconds": round(seconds, 3),
                "images_per_second": float(np.median(rates)),
                "stages": self.stages,
                "peak_memory_mb": _peak_memory_mb(),
                "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
            "model": {
                "parameters": int(net.count_params()),
                "epochs_run": len(self.history),
                "best_epoch": self.schedule.state["best_epoch"],
                "stopped_early": len(self.history) < self.recipe["epochs"],
            },
            "scores": scores,
        }
        history = pd.DataFrame(self.history)
        run = results.write_run(self.folder, metrics, history, predictions, net)
        self.checkpoint.unlink(missing_ok=True)
        return run


def _device() -> str:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return "cpu"


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (1024**2 if sys.platform == "darwin" else 1024))


def main(arguments: list[str] | None = None) -> int:
    """Command line of the headless training; exit status 0, or 2 with one message."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_utils.training",
        description="Train one model without a notebook and write its run folder.",
    )
    parser.add_argument("params", help="params/models/<id>.yaml")
    parser.add_argument("--data", default="synthetic", help="as in run_all.sh (default: synthetic)")
    parser.add_argument(
        "--results", default="results/full", help="study folder; the run goes to runs/<id>/seed_<n>"
    )
    parser.add_argument("--profile", help="apply the limits of this profile, as run_all.sh does")
    parser.add_argument("--on-bad", choices=["error", "skip"], default="error")
    parser.add_argument("--resize", action="store_true", help="scale images of other sizes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    limits = {} if options.epochs is None else {"epochs": options.epochs}
    try:
        if options.seed < 0:
            raise parameters.ParameterError(f"--seed is {options.seed} but must be at least 0")
        params = parameters.model(options.params, options.profile, **limits)
        finished = run(
            params,
            datasets.load(options.data, options.on_bad, resize=options.resize),
            Path(options.results).absolute(),
            options.seed,
        )
    except (datasets.DataError, parameters.ParameterError, results.ResultError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on after the last epoch", file=sys.stderr)
        return 130
    print(f"{finished.folder}: accuracy {finished.test['accuracy']:.3f}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
