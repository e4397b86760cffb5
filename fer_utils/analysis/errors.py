"""Where models err: the same test images under all of them, galleries, pairs, image properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fer_utils.data import preprocess
from fer_utils.runs import claims, store
from fer_utils.runs.store import Run
from fer_utils.scores import SCORE, accuracy


@dataclass(frozen=True)
class Tested:
    """Models on the same held-out images under the common protocol, one run of each.

    `runs` by run id, the best on validation first; `labels` (n,) and `index` (n,) into the data;
    `probabilities` float32 (n, classes) by run id.
    """

    runs: dict[str, Run]
    labels: np.ndarray
    index: np.ndarray
    probabilities: dict[str, np.ndarray]

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        """Predicted labels (n,) by run id."""
        return {name: rows.argmax(axis=1) for name, rows in self.probabilities.items()}

    @property
    def names(self) -> dict[str, str]:
        """Titles by run id."""
        return {name: run.metrics["params"]["title"] for name, run in self.runs.items()}


def tested(runs: list[Run], role: str = "test") -> Tested:
    """The runs that have all classes and the common protocol, each model's first seed.

    `role` is the part of the data, "test" or "validation". ResultError if there is no run.
    """
    best = store.best_run(runs)
    protocol = best.metrics["protocol"]
    split, of_best = protocol[role], best.predictions(protocol[role])
    chosen: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.metrics["seed"]):
        same = all(run.metrics["protocol"][key] == protocol[key] for key in ("name", "classes"))
        if same and np.array_equal(run.predictions(split)["index"], of_best["index"]):
            chosen.setdefault(run.metrics["run_id"], run)
    best_first = sorted(chosen.items(), key=lambda item: -item[1].validation["accuracy"])
    probabilities = {name: run.predictions(split)["probabilities"] for name, run in best_first}
    return Tested(dict(best_first), of_best["labels"], of_best["index"], probabilities)


def drawn(condition: np.ndarray, labels: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Places of up to `per_class` images of each class that meet a condition (n,), by seed."""
    rng = np.random.default_rng(seed)
    found = [np.flatnonzero(condition & (labels == label)) for label in np.unique(labels)]
    return np.concatenate([rng.permutation(places)[:per_class] for places in found])


def confused(tested: Tested, classes: list[str], most: int = 10) -> pd.DataFrame:
    """The pairs that are confused most, over all models: label, predicted, images by model.

    `of` is how many images have the label. The counts are of images with that label that a model
    gives the other class.
    """
    from sklearn.metrics import confusion_matrix

    counts = {
        tested.names[name]: confusion_matrix(tested.labels, predicted, labels=range(len(classes)))
        for name, predicted in tested.predictions.items()
    }
    label, predicted = np.nonzero(~np.eye(len(classes), dtype=bool))
    table = pd.DataFrame({name: cells[label, predicted] for name, cells in counts.items()})
    order = table.sum(axis=1).sort_values(ascending=False, kind="stable").index[:most]
    table.insert(0, "label", np.array(classes)[label])
    table.insert(1, "predicted", np.array(classes)[predicted])
    table.insert(2, "of", np.bincount(tested.labels, minlength=len(classes))[label])
    return table.loc[order].reset_index(drop=True)


def by_fifth(properties: pd.DataFrame, correct: np.ndarray) -> pd.DataFrame:
    """Accuracy in five equal parts of the images by each property.

    Columns: property, part (1 has the lowest values), n, accuracy, accuracy_low and _high (95 %
    interval). Images of which a property is unknown (NaN) are left out of it.
    """
    rows = []
    for name, values in properties.items():
        ascending = values.reset_index(drop=True).dropna().sort_values(kind="stable").index
        for part, places in enumerate(np.array_split(ascending, 5), 1):
            if len(places):
                rows.append({"property": name, "part": part} | accuracy(correct[places]))
    return pd.DataFrame(rows, columns=["property", "part", *SCORE])


def more_views(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, labels: np.ndarray
) -> pd.DataFrame:
    """What averaging over kinds of views buys on images uint8 (n, 48, 48), and how many it takes.

    Columns: kind, views, accuracy, accuracy_low, accuracy_high, and the gain over the single view
    with its 95 % interval, paired on the images: gain, gain_low, gain_high.
    """
    seen = np.stack([predict(view) for view in preprocess.views(images, 2, 5, 0.06)])
    half = len(seen) // 2  # the other half are the mirrored ones
    kinds = {
        "as it is": [0],
        "mirrored": [0, half],
        "shifted by 2 pixels": [*range(5)],
        "turned by 5 degrees": [0, 5, 6],
        "6 % smaller and larger": [0, 7, 8],
        "all of these": [*range(half)],
    }
    rows, single = [], seen[0].argmax(axis=1) == labels
    for kind, places in kinds.items():
        if len(places) > 2:
            places += [half + place for place in places]
        right = seen[places].mean(axis=0).argmax(axis=1) == labels
        gain = claims.difference(pd.Series(right), pd.Series(single))
        gains = dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True))
        rows.append({"kind": kind, "views": len(places)} | accuracy(right) | gains)
    return pd.DataFrame(rows).drop(columns="n")
