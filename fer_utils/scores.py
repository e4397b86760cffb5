"""Scores of class probabilities, intervals, and paired tests of classifiers on the same images."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd


def accuracy_interval(correct: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion, from 0 to 1 (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error with equal-width bins (Guo et al. 2017), from 0 to 1."""
    edges = np.clip((confidence * bins).astype(int), 0, bins - 1)
    gap = np.bincount(edges, weights=correct - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def nll(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean negative log likelihood, in nats, of labels (n,) under probabilities (n, classes)."""
    of_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(of_label, 1e-12, None)).mean())


def score_predictions(
    labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> dict:
    """All scores of one split as plain numbers: the record that metrics.json keeps.

    `labels` (n,) integers, `probabilities` (n, classes). A class without images or predictions
    has precision, recall and F1 zero. `confusion` rows are labels, columns predictions.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    if len(labels) == 0:
        raise ValueError("scores: the split has no images")
    labels = np.asarray(labels, dtype=int)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    predicted = probabilities.argmax(axis=1)
    correct = predicted == labels
    low, high = accuracy_interval(int(correct.sum()), len(labels))
    which = range(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=list(which), zero_division=0
    )
    leading = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    return {
        "n": len(labels),
        "accuracy": float(correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "macro_f1": float(np.mean(f1)),
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(classes)
        },
        "confusion": confusion_matrix(labels, predicted, labels=list(which)).tolist(),
        "top2_accuracy": float((leading == labels[:, None]).any(axis=1).mean()),
        "ece": calibration_error(probabilities.max(axis=1), correct),
        "nll": nll(labels, probabilities),
    }


def classification_report(score: dict[str, Any]) -> pd.DataFrame:
    """Per-class table of a score: precision, recall, F1 (0 to 1), support; last a macro row."""
    table = pd.DataFrame(score["per_class"]).T.astype({"support": int})
    table.loc["macro average"] = [*table[["precision", "recall", "f1"]].mean(), score["n"]]
    return table.astype({"support": int})


def most_confident_errors(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Positions of the wrong predictions, most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")[:count]]


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


def f1_scores(tables: np.ndarray) -> np.ndarray:
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


def compare_pairs(labels: np.ndarray, predictions: dict[str, np.ndarray]) -> pd.DataFrame:
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


def p_text(p: float) -> str:
    """A p value as it is printed."""
    return f"{p:.3f}" if p >= 0.001 else "<\N{NO-BREAK SPACE}0.001"


def _holm(p: np.ndarray) -> np.ndarray:
    """Adjusted values of ascending p: each times the number of tests not yet passed."""
    return np.minimum(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), 1)


def _scores(tables: np.ndarray) -> np.ndarray:
    """Accuracy and macro F1, (2, draws), of confusion matrices (draws, classes, classes)."""
    right = np.diagonal(tables, axis1=1, axis2=2).sum(axis=1)
    return np.stack([right / tables.sum(axis=(1, 2)), f1_scores(tables).mean(axis=1)])
