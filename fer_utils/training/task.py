"""A model's task under one protocol: the parts of the data, their scores and the run's record."""

from __future__ import annotations

import contextlib
import datetime
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_utils import data, models
from fer_utils.base import EMOTIONS, ParameterError, ResultError
from fer_utils.data import preprocess, quality
from fer_utils.data.readers import EMOTION_FOLDERS
from fer_utils.runs import provenance, store
from fer_utils.runs.store import VIEWS
from fer_utils.scores import score_predictions

Predictions = dict[str, dict[str, np.ndarray]]  # by split: probabilities, labels and index
TRAINING_VERSION = 1  # raised by hand when training changes its numbers
# what a record says of a model that is not trained in epochs
NO_EPOCHS = {"epochs_run": None, "best_epoch": None, "stopped_early": False}


class Task:
    """What a model is trained, selected and tested on, by its parameters and seed.

    `dataset` has the classes of the task, `rows` its places in the whole data, `parts` the
    indices of train, validation and test, `names` what their scores are called: the official split
    that a part is equal to, else its role.
    """

    def __init__(self, params: dict[str, Any], dataset: data.Dataset, seed: int) -> None:
        check_network(params)
        self.params, self.recipe, self.seed = params, params["training"], seed
        provenance.git_commit()  # now: the commit that hours of training began with
        self.rows = np.arange(len(dataset))
        self.totals = {usage: int((dataset.usage == usage).sum()) for usage in data.USAGES}
        if params.get("classes"):
            chosen = data.select_classes(dataset, params["classes"])
            kept = [name in chosen.classes for name in dataset.classes]
            self.rows, dataset = np.flatnonzero(np.array(kept)[dataset.labels]), chosen
        self.dataset = dataset
        self.parts = data.split(dataset, params["protocol"], seed)
        self.training_split = self.parts["train"]  # whole, also where a limit cuts it
        limit, part = self.recipe["train_limit"], self.parts["train"]
        if limit and limit < len(part):
            drawn = np.random.default_rng([seed, 1]).permutation(part)[:limit]
            self.parts["train"] = np.sort(drawn)
        self.names = self._names()
        self.identity = {
            "params": params,
            "seed": seed,
            "data": data.content_sha256(dataset),
            "training_version": TRAINING_VERSION,
        }
        if step := self.recipe.get("preprocess"):
            self.dataset = replace(dataset, images=getattr(preprocess, step)(dataset.images))

    def _names(self) -> dict[str, str]:
        names = {}
        for role, part in self.parts.items():
            usage = set(self.dataset.usage[part])
            whole = len(usage) == 1 and np.isin(self.dataset.usage, list(usage)).sum() == len(part)
            names[role] = str(usage.pop()) if whole else role
        if np.array_equal(self.parts["validation"], self.parts["test"]):
            names["validation"] = names["test"]
        return names

    def finished(self, folder: Path, model: str) -> store.Run | None:
        """The run in a folder if it is complete and of this task, with its file `model`."""
        with contextlib.suppress(ResultError):
            found = store.read_run(folder)
            record = found.metrics
            identity = {
                "params": _used(record["params"]),
                "seed": record["seed"],
                "data": record["data"]["content_sha256"],
                "training_version": record["environment"].get("training_version"),
            }
            asked = self.identity | {"params": _used(self.params)}
            if identity == asked and (folder / model).is_file():
                return found
        return None

    def folder(self, study: str | Path) -> Path:
        """Where the run lies in a study."""
        return store.run_folder(study, self.params["id"], self.seed, self.params["protocol"])

    def networks(self, study: str | Path, names: tuple[str, ...] = ("*",)) -> list[store.Run]:
        """The finished networks of a study under the common protocol on the same images."""
        return [
            run
            for run in store.finished_runs(study, names)
            if run.metrics["protocol"]["name"] == "official"
            and run.metrics["data"]["content_sha256"] == self.identity["data"]
            and "builder" in run.metrics["params"]
        ]

    def part(self, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (n, 48, 48) and labels (n,) of "train", "validation" or "test"."""
        index = self.parts[role]
        return self.dataset.images[index], self.dataset.labels[index]

    def predictions(
        self,
        probabilities: Callable[[np.ndarray], np.ndarray],
        roles: tuple[str, ...] = ("train", "validation", "test"),
        suffix: str = "",
    ) -> Predictions:
        """What predictions.npz holds: every part's probabilities, labels and places in the data.

        `probabilities` is called once for each part with its indices into the task's data. The
        parts are called by their names and the `suffix`.
        """
        parts = {self.names[role] + suffix: self.parts[role] for role in roles}
        return {
            name: {
                "probabilities": np.asarray(probabilities(part), np.float32),
                "labels": self.dataset.labels[part],
                "index": self.rows[part],
            }
            for name, part in parts.items()
        }

    def scores(self, predictions: Predictions) -> dict[str, dict[str, Any]]:
        """Scores of every part, and of the test part without what is known from training."""
        classes, test = self.dataset.classes, self.names["test"]

        def score(name: str, kept: Any = slice(None)) -> dict[str, Any]:
            of = predictions[name]
            return score_predictions(of["labels"][kept], of["probabilities"][kept], classes)

        scores = {name: score(name) for name in predictions}
        known = quality.in_reference(self.part("test")[0], self.dataset.images[self.training_split])
        if known.any() and not known.all():
            for name in (test, test + VIEWS):
                if name in predictions:
                    scores[f"{name}_not_in_training"] = score(name, ~known)
        return scores

    def record(
        self,
        predictions: Predictions,
        model: dict[str, Any],
        timing: dict[str, Any],
        engine: dict[str, Any],
    ) -> dict[str, Any]:
        """metrics.json; `engine` is backend, precision and device."""
        source, classes = self.dataset.provenance, self.dataset.classes
        keys = ("kind", "source", "sha256", "pixels_sha256", "counts", "split")
        counts = np.bincount(self.part("test")[1], minlength=len(classes))
        absent = [name for name, count in zip(classes, counts, strict=True) if not count]
        return {
            "schema_version": store.SCHEMA_VERSION,
            "run_id": self.params["id"],
            "seed": self.seed,
            "params": self.params,
            "data": {
                "synthetic": bool(source.get("synthetic", False)),
                **{key: source[key] for key in keys},
                "totals": self.totals,
                "content_sha256": self.identity["data"],
            },
            "protocol": {
                "name": self.params["protocol"],
                **self.names,
                "classes": list(classes),
                # macro scores are over the other classes
                **({"classes_without_test_images": absent} if absent else {}),
                "selected_on": self._selected_on(),
            },
            "environment": provenance.environment()
            | engine
            | {"training_version": TRAINING_VERSION},
            "timing": {
                **timing,
                "peak_memory_mb": _peak_memory_mb(),
                "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
            "model": model,
            "scores": self.scores(predictions),
        }

    def _selected_on(self) -> str:
        """What the validation part has decided, in words."""
        rules = (self.recipe.get(key) for key in ("early_stopping", "reduce_lr"))
        monitors = [self.recipe["keep_best"], *(rule["monitor"] for rule in rules if rule)]
        monitors = [name for name in dict.fromkeys(monitors) if name != "last"]
        if not monitors:
            return "nothing, the last epoch is kept"
        return f"{' and '.join(monitors)} of {self.names['validation']}"


def _used(params: dict[str, Any]) -> dict[str, Any]:
    return params | {"training": store.used(params["training"])}


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (1024**2 if sys.platform == "darwin" else 1024))


def check_network(params: dict[str, Any]) -> None:
    """ParameterError for a builder, an option or a class that there is not; nothing is built."""
    for name in params.get("classes") or []:
        if name.lower() not in EMOTION_FOLDERS:
            known = ", ".join(EMOTIONS)
            raise ParameterError(f"{params['id']}: unknown class '{name}'; known are {known}")
    if "builder" in params:
        scratch = (params.get("from_scratch") or {}).get("options", {})
        for options in (params["options"], scratch):
            try:
                models.check(params["builder"], options)
            except ParameterError as error:
                raise ParameterError(f"{params['id']}: {error}") from None
