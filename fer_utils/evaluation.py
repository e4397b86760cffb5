"""Scores of class probabilities against labels, with intervals and calibration."""

from __future__ import annotations

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


def scores(labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> dict:
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
