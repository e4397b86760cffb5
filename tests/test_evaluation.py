"""Scores: the numbers that a reader compares with the papers."""

import numpy as np
import pytest

from fer_utils.scores import (
    accuracy_interval,
    calibration_error,
    classification_report,
    most_confident_errors,
    score_predictions,
)

CLASSES = ("a", "b", "c")
LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.2, 0.7, 0.1],
        [0.3, 0.6, 0.1],
        [0.5, 0.4, 0.1],
        [0.1, 0.7, 0.2],
    ]
)


def test_counts_and_shares_by_hand():
    score = score_predictions(LABELS, PROBABILITIES, CLASSES)
    assert score["n"] == 6 and score["accuracy"] == pytest.approx(3 / 6)
    assert score["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert score["per_class"]["a"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    )
    assert score["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert score["macro_f1"] == pytest.approx((2 / 3 + 2 / 5 + 0) / 3)
    assert score["top2_accuracy"] == pytest.approx(1.0)
    nll = -np.log([0.8, 0.6, 0.2, 0.6, 0.4, 0.2]).mean()
    assert score["nll"] == pytest.approx(nll)


def test_interval_is_wilsons():
    # 1,579 of 3,589: centre (p + z^2/2n)/(1 + z^2/n), by hand
    low, high = accuracy_interval(1579, 3589)
    assert (low, high) == pytest.approx((0.42379, 0.45626), abs=2e-5)
    assert accuracy_interval(0, 10)[0] == 0
    assert accuracy_interval(10, 10)[1] == pytest.approx(1)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, False, True, True])
    # bin of 0.95: accuracy 0.5, gap 0.45; bin of 0.55: accuracy 1, gap 0.45
    assert calibration_error(confidence, correct) == pytest.approx(0.45)
    assert calibration_error(np.ones(3), np.ones(3)) == 0


def test_report_has_a_macro_row():
    table = classification_report(score_predictions(LABELS, PROBABILITIES, CLASSES))
    assert list(table.index) == [*CLASSES, "macro average"]
    assert table.loc["macro average", "support"] == 6
    assert table.loc["macro average", "recall"] == pytest.approx((2 / 3 + 1 / 2) / 3)


def test_most_confident_errors_come_first():
    assert most_confident_errors(LABELS, PROBABILITIES, 2).tolist() == [2, 5]


def test_empty_split_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        score_predictions(LABELS[:0], PROBABILITIES[:0], CLASSES)
