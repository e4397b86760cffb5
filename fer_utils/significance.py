"""Is a difference more than chance? Bootstrap intervals and paired tests of classifiers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd


def bootstrap(
    labels: np.ndarray, predicted: np.ndarray, classes: int, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """95 % percentile intervals over images (Efron 1979) of accuracy and macro F1.

    `labels` and `predicted` are classes (n,), 0 to classes - 1. Rows accuracy and macro_f1; columns
    value, low, high. As in `evaluation.scores`, a class without images or predictions has F1 zero.
    """
    if len(labels) == 0:
        raise ValueError("bootstrap: there are no images to draw from")
    cells = np.asarray(labels, int) * classes + np.asarray(predicted, int)
    table = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    value = _scores(table[None])[:, 0]
    low, high = np.percentile(_scores(redrawn(table, draws, seed)), [2.5, 97.5], axis=1)
    return pd.DataFrame({"value": value, "low": low, "high": high}, index=["accuracy", "macro_f1"])


def redrawn(table: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """Confusion matrices (draws, classes, classes) of the images of one, drawn with replacement.

    Only its cell matters of an image, so n images are n draws from the cells: the same
    distribution, without `draws` times n indices.
    """
    n, rng = int(table.sum()), np.random.default_rng(seed)
    return rng.multinomial(n, table.ravel() / n, draws).reshape(-1, *table.shape)


def f1(tables: np.ndarray) -> np.ndarray:
    """F1 (..., classes) of confusion matrices (..., classes, classes); 0 of 0 is an F1 of 0."""
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    return 2 * right / np.maximum(tables.sum(axis=-2) + tables.sum(axis=-1), 1)


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """McNemar's exact test (1947) of two classifiers' predictions (n,) of the same images.

    only_first and only_second count the images that just one of them gets right; p is the
    two-sided binomial probability of so uneven a division if both were equally good, 1 where
    there is no such image.
    """
    from scipy.stats import binomtest

    right_first, right_second = first == labels, second == labels
    only_first = int((right_first & ~right_second).sum())
    only_second = int((right_second & ~right_first).sum())
    n = only_first + only_second
    p = float(binomtest(only_first, n).pvalue) if n else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": p}


def pairs(labels: np.ndarray, predictions: dict[str, np.ndarray]) -> pd.DataFrame:
    """McNemar's test for every pair of models, the smallest p first.

    `predictions` gives the predicted classes (n,) of each model. Columns: first, second, difference
    (accuracy of first less that of second) with its 95 % interval low, high (normal approximation,
    paired, of this pair alone), only_first, only_second, p, p_holm (corrected for the number of
    pairs, Holm 1979), differs (p_holm below 0.05).
    """
    rows, n = [], len(labels)
    for first, second in combinations(predictions, 2):
        found = mcnemar(labels, predictions[first], predictions[second])
        one, other = found["only_first"], found["only_second"]
        difference = (one - other) / n
        # each image adds 1, -1 or 0
        error = 1.96 * (((one + other) / n - difference**2) / (n - 1)) ** 0.5
        interval = {"low": difference - error, "high": difference + error}
        rows.append(
            {"first": first, "second": second, "difference": difference, **interval, **found}
        )
    columns = ["first", "second", "difference", "low", "high", "only_first", "only_second", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.sort_values("p", kind="stable", ignore_index=True)
    p_holm = _holm(table["p"].to_numpy(float))
    return table.assign(p_holm=p_holm, differs=p_holm < 0.05)


def written(p: float) -> str:
    """A p value as it is printed."""
    return f"{p:.3f}" if p >= 0.001 else "<\N{NO-BREAK SPACE}0.001"


def _holm(p: np.ndarray) -> np.ndarray:
    """Adjusted values of ascending p: each times the number of tests not yet passed."""
    return np.minimum(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), 1)


def _scores(tables: np.ndarray) -> np.ndarray:
    """Accuracy and macro F1, (2, draws), of confusion matrices (draws, classes, classes)."""
    right = np.diagonal(tables, axis1=1, axis2=2).sum(axis=1)
    return np.stack([right / tables.sum(axis=(1, 2)), f1(tables).mean(axis=1)])
