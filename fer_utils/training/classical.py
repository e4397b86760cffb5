"""The classical systems: PCA with nearest neighbours, HOG and LBP with a support vector machine.

Nearest neighbours also work on what a trained network's last hidden layer says of an image.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from fer_utils import data
from fer_utils.base import EMOTIONS, ParameterError
from fer_utils.models import devices
from fer_utils.runs import predictors, store
from fer_utils.scores import accuracy
from fer_utils.training.task import NO_EPOCHS, Task

CELL = 8  # pixels a side of the cells of both descriptors
FILE = "model.joblib"


def pixels(images: np.ndarray) -> np.ndarray:
    """Grey values from 0 to 1, float32 (n, 2304), of images uint8 (n, 48, 48)."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def hog(images: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients (Dalal and Triggs 2005), float32 (n, 900).

    Nine directions in cells of 8x8 pixels, normalised in blocks of 2x2 cells that overlap by half.
    """
    block, cell = (2 * CELL, 2 * CELL), (CELL, CELL)
    descriptor = cv2.HOGDescriptor((48, 48), block, cell, cell, 9)
    return np.stack([descriptor.compute(image).ravel() for image in images])


def lbp_codes(images: np.ndarray) -> np.ndarray:
    """Uniform local binary patterns (Ojala et al. 2002) of radius 1, codes 0 to 9, (n, 48, 48)."""
    from skimage.feature import local_binary_pattern

    return np.stack([local_binary_pattern(image, 8, 1, "uniform") for image in images])


def lbp(images: np.ndarray) -> np.ndarray:
    """Shares of the ten uniform patterns in each cell of 8x8 pixels, float32 (n, 360)."""
    codes, side = lbp_codes(images), 48 // CELL
    cells = codes.reshape(len(images), side, CELL, side, CELL).swapaxes(2, 3)
    cells = cells.reshape(len(images), side * side, CELL * CELL)
    shares = np.stack([(cells == code).mean(axis=2) for code in range(10)], axis=2)
    return shares.reshape(len(images), -1).astype(np.float32)


FEATURES = {
    "pixels": pixels,
    "hog": hog,
    "lbp": lbp,
    "hog+lbp": lambda images: np.hstack([hog(images), lbp(images)]),
}


def _estimator(pipeline: str, seed: int, chosen: dict[str, Any]) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    pca = PCA(chosen["components"], svd_solver="randomized", random_state=seed)
    if pipeline == "pca_knn":
        neighbours = KNeighborsClassifier(chosen["k"], weights=chosen["weights"])
        return make_pipeline(pca, neighbours)
    # ties are broken by the decision value, so that the largest one is what is predicted
    machine = SVC(C=chosen["C"], kernel=chosen["kernel"], break_ties=True, cache_size=1000)
    return make_pipeline(StandardScaler(), pca, machine)


@dataclass
class Classifier:
    """A fitted pipeline that turns images uint8 (n, 48, 48) into probabilities (n, classes).

    A support vector machine has margins and no probabilities: these are the softmax of its
    decision values times `scale`, which is fitted on validation data and changes no prediction.
    """

    features: str
    estimator: Any
    classes: int = len(EMOTIONS)
    scale: float | None = None

    def decisions(self, images: np.ndarray) -> np.ndarray:
        """Decision values of a support vector machine, probabilities of nearest neighbours.

        A class that the fitted images lack has -inf, or 0.
        """
        inputs = FEATURES[self.features](images)
        if margins := hasattr(self.estimator, "decision_function"):
            values = self.estimator.decision_function(inputs)
            if values.ndim == 1:  # two classes have one value
                values = np.stack([-values, values], axis=1)
        else:
            values = self.estimator.predict_proba(inputs)
        every = np.full((len(values), self.classes), -np.inf if margins else 0.0)
        every[:, self.estimator.classes_] = values
        return every

    def predict(self, images: np.ndarray) -> np.ndarray:
        from scipy.special import softmax

        values = self.decisions(images)
        values = values if self.scale is None else softmax(values * self.scale, axis=1)
        return values.astype(np.float32)

    def numbers(self) -> int:
        """How many numbers the fitted pipeline stores: what is comparable to parameters."""
        kept = ("components_", "mean_", "scale_", "_fit_X", "support_vectors_", "_dual_coef_")
        steps = [step for _, step in self.estimator.steps]
        arrays = [getattr(step, name, None) for step in steps for name in kept]
        return int(sum(array.size for array in arrays if array is not None))


def run(
    params: dict[str, Any], dataset: data.Dataset, study: str | Path, seed: int = 0,
    say: Any = print,
) -> store.Run:  # fmt: skip
    """Search the grid, fit, score and record one pipeline, or present the finished run.

    Each entry of the grid is fitted on at most `grid_limit` training images and scored on the
    validation split; the best one is fitted on all of them. `history` of the run is the grid.
    model.joblib is a pickle, to be read from one's own study only.
    """
    import joblib

    task = Task(params, dataset, seed)
    folder = task.folder(study)
    with store.locked(folder):
        if finished := task.finished(folder, FILE):
            say(f"finished run of the same parameters, data and seed: {folder.name}")
            return finished
        times = [time.perf_counter()]
        grid = _search(task, say)
        times.append(time.perf_counter())
        chosen = grid.loc[grid["val_accuracy"].idxmax()].drop(["val_accuracy", "seconds"]).to_dict()
        model = _fit(task, *task.part("train"), chosen)
        times.append(time.perf_counter())
        _calibrate(model, *task.part("validation"))
        predictions = task.predictions(lambda part: model.predict(task.dataset.images[part]))
        times.append(time.perf_counter())
        seconds = np.diff(times).round(3).tolist()
        metrics = task.record(
            predictions,
            model=NO_EPOCHS | {"parameters": model.numbers(), "chosen": chosen},
            timing={
                "training_seconds": seconds[1],
                "images_per_second": round(len(task.parts["train"]) / np.diff(times)[1], 1),
                "stages": dict(zip(("grid", "train", "evaluate"), seconds, strict=True)),
            },
            engine={"backend": "scikit-learn", "precision": "float32", "device": "cpu"},
        )
        return store.write_run(
            folder, metrics, grid, predictions, lambda at: joblib.dump(model, at / FILE, compress=3)
        )


def _fit(task: Task, images: np.ndarray, labels: np.ndarray, chosen: dict) -> Classifier:
    features = chosen.get("features", "pixels")
    estimator = _estimator(task.params["pipeline"], task.seed, chosen)
    estimator.fit(FEATURES[features](images), labels)
    return Classifier(features, estimator, classes=len(task.dataset.classes))


def _search(task: Task, say: Any) -> pd.DataFrame:
    """One row for each entry of the grid, with its accuracy on the validation split."""
    from sklearn.model_selection import ParameterGrid

    images, labels = task.part("train")
    limit = task.recipe["grid_limit"]
    if limit and limit < len(labels):
        drawn = np.random.default_rng([task.seed, 3]).permutation(len(labels))[:limit]
        images, labels = images[drawn], labels[drawn]
    for key in {"components", "k"} & set(task.recipe["grid"]):
        if max(task.recipe["grid"][key]) > len(labels):
            raise ParameterError(
                f"{task.params['id']}: training.grid.{key} goes up to "
                f"{max(task.recipe['grid'][key])} but the grid has {len(labels)} training images"
            )
    shown, truth = task.part("validation")
    rows = []
    for chosen in ParameterGrid(task.recipe["grid"]):
        start = time.perf_counter()
        right = _fit(task, images, labels, chosen).decisions(shown).argmax(axis=1) == truth
        seconds = round(time.perf_counter() - start, 3)
        rows.append(chosen | {"val_accuracy": float(right.mean()), "seconds": seconds})
    grid = pd.DataFrame(rows)
    best = grid.loc[grid["val_accuracy"].idxmax()].drop("seconds")
    words = "  ".join(f"{key} {value}" for key, value in best.drop("val_accuracy").items())
    say(f"grid of {len(grid)}, best: {words}  val_accuracy {best['val_accuracy']:.3f}")
    return grid


def _calibrate(model: Classifier, images: np.ndarray, labels: np.ndarray) -> None:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not hasattr(model.estimator, "decision_function"):
        return
    fitted = np.isin(labels, model.estimator.classes_)  # of the others nothing was learned
    values, labels = model.decisions(images[fitted]), labels[fitted]

    def loss(logarithm: float) -> float:
        scaled = log_softmax(values * np.exp(logarithm), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    model.scale = float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x))


def last_hidden(network: Any, images: np.ndarray) -> np.ndarray:
    """What a network's last hidden layer says of images uint8 (n, 48, 48): features (n, d)."""
    import keras

    features = keras.Model(network.inputs, network.layers[-1].input)
    return features.predict(**devices.batches(images[..., None], size=256), verbose=0)


def neighbours(network: store.Run, dataset: data.Dataset, ks: list[int]) -> dict[str, Any]:
    """Nearest neighbours among the features of a run's training images, in place of its classes.

    The number of neighbours is the best of `ks` on the validation split. Returns it as k, the
    number of features, and on the test split n, accuracy, accuracy_low and accuracy_high.
    """
    from sklearn.neighbors import KNeighborsClassifier

    devices.start()
    task = Task(network.metrics["params"], dataset, network.metrics["seed"])
    loaded = predictors.network(network)
    parts = {role: task.part(role) for role in task.parts}
    features = {role: last_hidden(loaded, images) for role, (images, _) in parts.items()}

    def right(k: int, role: str) -> np.ndarray:
        fitted = KNeighborsClassifier(k, weights="distance").fit(
            features["train"], parts["train"][1]
        )
        return fitted.predict(features[role]) == parts[role][1]

    best = max(ks, key=lambda k: right(k, "validation").mean())
    return {"k": best, "features": features["test"].shape[1]} | accuracy(right(best, "test"))
