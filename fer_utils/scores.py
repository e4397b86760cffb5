"""Scores of class probabilities, intervals, and paired tests of classifiers on the same images."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

SCORE = ("n", "accuracy", "accuracy_low", "accuracy_high")


def accuracy_interval(correct: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion, from 0 to 1 (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def accuracy(correct: np.ndarray) -> dict[str, float]:
    """n, accuracy, accuracy_low, accuracy_high (95 % Wilson) of answers, bool (n,); NaN of none."""
    n, right = len(correct), int(np.sum(correct))
    values = (right / n, *accuracy_interval(right, n)) if n else [float("nan")] * 3
    return dict(zip(SCORE, (n, *values), strict=True))


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
) -> dict[str, Any]:
    """All scores of one split as plain numbers: the record that metrics.json keeps.

    `labels` (n,) integers, `probabilities` (n, classes). A class that is never predicted has
    precision and F1 zero; macro F1 is the mean over the classes that have images. `confusion` rows
    are labels, columns predictions.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    if len(labels) == 0:
        raise ValueError("scores: the split has no images")
    labels = np.asarray(labels, dtype=int)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    predicted, which = probabilities.argmax(axis=1), list(range(len(classes)))
    of_class = np.transpose(
        precision_recall_fscore_support(labels, predicted, labels=which, zero_division=0)
    )
    per_class = {
        name: {"precision": p, "recall": r, "f1": f1, "support": int(n)}
        for name, (p, r, f1, n) in zip(classes, of_class.tolist(), strict=True)
    }
    leading = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    return {
        **accuracy(predicted == labels),
        "macro_f1": float(np.mean([row["f1"] for row in per_class.values() if row["support"]])),
        "per_class": per_class,
        "confusion": confusion_matrix(labels, predicted, labels=which).tolist(),
        "top2_accuracy": float((leading == labels[:, None]).any(axis=1).mean()),
        "ece": calibration_error(probabilities.max(axis=1), predicted == labels),
        "nll": nll(labels, probabilities),
    }


def classification_report(score: dict[str, Any]) -> pd.DataFrame:
    """Precision, recall, F1 (0 to 1) and support of each class, then their means.

    The last rows are those of scikit-learn's report: accuracy, the mean over the classes that have
    images, and the mean over the images.
    """
    table = pd.DataFrame(score["per_class"]).T
    shares, support = table[["precision", "recall", "f1"]], table["support"]
    table.loc["accuracy"] = [*[score["accuracy"]] * 3, score["n"]]
    table.loc["macro average"] = [*shares[support > 0].mean(), score["n"]]
    table.loc["weighted average"] = [*np.average(shares, axis=0, weights=support), score["n"]]
    return table.astype({"support": int})


def most_confident_errors(labels: np.ndarray, probabilities: np.ndarray, count: int) -> np.ndarray:
    """Positions of the wrong predictions, most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")[:count]]


def bootstrap(
    labels: np.ndarray, predicted: np.ndarray, classes: int, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """95 % percentile intervals over images (Efron 1979): value, low, high by score.

    Of accuracy and macro F1; `labels` and `predicted` are classes (n,).
    """
    from sklearn.metrics import confusion_matrix

    if len(labels) == 0:
        raise ValueError("bootstrap: there are no images to draw from")
    table = confusion_matrix(labels, predicted, labels=range(classes))

    def scores(tables: np.ndarray) -> np.ndarray:
        right = np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2))
        return np.stack([right, f1_scores(tables)[:, table.any(axis=1)].mean(axis=1)])

    value = scores(table[None])[:, 0]
    low, high = np.percentile(scores(redrawn(table, draws, seed)), [2.5, 97.5], axis=1)
    return pd.DataFrame({"value": value, "low": low, "high": high}, index=["accuracy", "macro_f1"])


def redrawn(table: np.ndarray, draws: int, seed: int = 0) -> np.ndarray:
    """Confusion matrices (draws, classes, classes) of the images of one, drawn with replacement."""
    # only its cell matters of an image, so n images are n draws from the cells
    n, rng = int(table.sum()), np.random.default_rng(seed)
    return rng.multinomial(n, table.ravel() / n, draws).reshape(-1, *table.shape)


def f1_scores(tables: np.ndarray) -> np.ndarray:
    """F1 (..., classes) of confusion matrices (..., classes, classes); 0 of 0 is 0."""
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    return 2 * right / np.maximum(tables.sum(axis=-2) + tables.sum(axis=-1), 1)


def compare_pairs(labels: np.ndarray, predictions: dict[str, np.ndarray]) -> pd.DataFrame:
    """McNemar's exact test (1947) for every pair of models, the smallest p first.

    `predictions` gives the predicted classes (n,) of each model. Columns: first, second, difference
    in accuracy with its 95 % interval low, high (normal approximation, paired), only_first and
    only_second (images that just one gets right), p, p_holm (Holm 1979), differs (p_holm < 0.05).
    """
    from scipy.stats import binomtest

    rows, n = [], len(labels)
    for first, second in combinations(predictions, 2):
        right, other = (predictions[name] == labels for name in (first, second))
        one, two = int((right & ~other).sum()), int((other & ~right).sum())
        p = float(binomtest(one, one + two).pvalue) if one + two else 1.0
        difference = (one - two) / n
        # each image adds 1, -1 or 0
        error = 1.96 * (((one + two) / n - difference**2) / (n - 1)) ** 0.5
        interval = difference - error, difference + error
        rows.append((first, second, difference, *interval, one, two, p))
    columns = ["first", "second", "difference", "low", "high", "only_first", "only_second", "p"]
    table = pd.DataFrame(rows, columns=columns).sort_values("p", kind="stable", ignore_index=True)
    # each p times the number of tests not yet passed
    p_holm = np.maximum.accumulate(table["p"].to_numpy(float) * np.arange(len(table), 0, -1))
    return table.assign(p_holm=np.minimum(p_holm, 1), differs=p_holm < 0.05)


def p_text(p: float) -> str:
    """How a p value is printed."""
    return f"{p:.3f}" if p >= 0.001 else "<\N{NO-BREAK SPACE}0.001"
