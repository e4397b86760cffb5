"""Scores, intervals and tests: whether a user may call one model better than another."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import classification_report as of_sklearn

from fer_utils.scores import (
    accuracy,
    accuracy_interval,
    bootstrap,
    calibration_error,
    classification_report,
    compare_pairs,
    most_confident_errors,
    score_predictions,
)

CLASSES = ("a", "b", "c")
FEW = np.array([0, 0, 0, 1, 1, 2])
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
LABELS = np.random.default_rng(0).integers(0, 7, 3589)


def guesses(labels, share, seed):
    """Predictions that are right with this probability, else of a random class of seven."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < share, labels, rng.integers(0, 7, len(labels)))


def test_counts_and_shares_by_hand():
    score = score_predictions(FEW, PROBABILITIES, CLASSES)
    assert score["n"] == 6 and score["accuracy"] == pytest.approx(3 / 6)
    assert score["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert score["per_class"]["a"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    )
    assert score["per_class"]["c"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert score["macro_f1"] == pytest.approx((2 / 3 + 2 / 5 + 0) / 3)
    assert score["top2_accuracy"] == pytest.approx(1.0)
    assert score["nll"] == pytest.approx(-np.log([0.8, 0.6, 0.2, 0.6, 0.4, 0.2]).mean())
    assert most_confident_errors(FEW, PROBABILITIES, 2).tolist() == [2, 5]
    for measure in (score_predictions, bootstrap):
        with pytest.raises(ValueError, match="no images"):
            measure(FEW[:0], PROBABILITIES[:0], CLASSES)


def test_interval_is_wilsons():
    # 1,579 of 3,589: centre (p + z^2/2n)/(1 + z^2/n), by hand
    low, high = accuracy_interval(1579, 3589)
    assert (low, high) == pytest.approx((0.42379, 0.45626), abs=2e-5)
    assert accuracy_interval(0, 10)[0] == 0
    assert accuracy_interval(10, 10)[1] == pytest.approx(1)
    assert accuracy(np.zeros(0, bool)) == pytest.approx(
        dict(zip(accuracy(FEW), (0, *[float("nan")] * 3), strict=True)), nan_ok=True
    )


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, False, True, True])
    # bin of 0.95: accuracy 0.5, gap 0.45; bin of 0.55: accuracy 1, gap 0.45
    assert calibration_error(confidence, correct) == pytest.approx(0.45)
    assert calibration_error(np.ones(3), np.ones(3)) == 0


def test_report_is_that_of_scikit_learn():
    table = classification_report(score_predictions(FEW, PROBABILITIES, CLASSES))
    expected = of_sklearn(
        FEW, PROBABILITIES.argmax(axis=1), target_names=CLASSES, output_dict=True, zero_division=0
    )
    names = {"macro average": "macro avg", "weighted average": "weighted avg"}
    assert table.loc["accuracy"].tolist() == pytest.approx([expected["accuracy"]] * 3 + [6])
    for name in [*CLASSES, *names]:
        assert table.loc[name].tolist() == pytest.approx(
            [*expected[names.get(name, name)].values()]
        )


def test_a_class_without_images_is_in_no_macro_score():
    """Nor one that is predicted and never there, as in a folder without any disgust."""
    labels, predicted = LABELS % 6, guesses(LABELS, 0.5, 1)
    score = score_predictions(labels, np.eye(7)[predicted], tuple("abcdefg"))
    f1 = [of["f1"] for of in score["per_class"].values()]
    assert score["macro_f1"] == pytest.approx(np.mean(f1[:6]))
    assert bootstrap(labels, predicted, 7).loc["macro_f1", "value"] == pytest.approx(
        np.mean(f1[:6])
    )
    report = classification_report(score)
    assert report.loc["macro average", "f1"] == pytest.approx(np.mean(f1[:6]))


def test_bootstrap_is_that_of_resampled_images_and_repeats_by_seed():
    """Cells are drawn in place of images; the interval must be the usual one."""
    labels, predicted = LABELS[:400], guesses(LABELS[:400], 0.5, 1)
    drawn = np.random.default_rng(5).integers(0, 400, (2000, 400))
    expected = np.percentile((labels == predicted)[drawn].mean(axis=1), [2.5, 97.5])
    table = bootstrap(labels, predicted, 7, draws=20_000)
    found = table.loc["accuracy", ["low", "high"]].to_numpy(float)
    np.testing.assert_allclose(found, expected, atol=0.005)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    assert bootstrap(labels, predicted, 7).equals(bootstrap(labels, predicted, 7))
    assert not bootstrap(labels, predicted, 7).equals(bootstrap(labels, predicted, 7, seed=1))


def test_only_images_that_one_model_alone_gets_right_decide():
    labels = np.zeros(100, int)
    first, second = np.zeros(100, int), np.zeros(100, int)
    first[:4], second[4:19], first[50:60], second[50:60] = 1, 1, 1, 2
    (found,) = compare_pairs(labels, {"one": first, "two": second}).to_dict("records")
    assert (found["only_first"], found["only_second"]) == (15, 4)
    assert found["p"] == pytest.approx(binomtest(4, 19, 0.5).pvalue)
    same = compare_pairs(labels, {"one": first, "again": first})
    assert same["p"].tolist() == [1] and not same["differs"].any()


def test_pairs_finds_the_one_real_difference():
    good, same, poor = (guesses(LABELS, share, i) for i, share in enumerate((0.6, 0.6, 0.5), 1))
    table = compare_pairs(LABELS, {"good": good, "poor": poor, "same": same})
    assert len(table) == 3 and table["p"].is_monotonic_increasing
    # Holm: the smallest times 3, the next times 2, none below the one before
    expected = np.maximum.accumulate(table["p"] * [3, 2, 1])
    np.testing.assert_allclose(table["p_holm"], np.minimum(expected, 1))
    rows = table.set_index(["first", "second"])
    expected = {("good", "poor"): True, ("poor", "same"): True, ("good", "same"): False}
    assert rows["differs"].to_dict() == expected
    each = (good == LABELS).astype(float) - (poor == LABELS)
    error = 1.96 * each.std(ddof=1) / len(LABELS) ** 0.5
    found = rows.loc[("good", "poor"), ["difference", "low", "high"]].astype(float)
    np.testing.assert_allclose(found, each.mean() + error * np.array([0, -1, 1]))


def test_many_equal_models_give_no_difference():
    """Of 45 pairs of equally good models a few have p below 0.05 by chance; Holm calls none."""
    models = {f"m{i}": guesses(LABELS, 0.5, 10 + i) for i in range(10)}
    table = compare_pairs(LABELS, models)
    assert len(table) == 45 and (table["p"] < 0.05).any() and not table["differs"].any()
    alone = compare_pairs(LABELS, {"only": LABELS})
    assert len(alone) == 0 and {"p_holm", "differs"} <= set(alone.columns)
