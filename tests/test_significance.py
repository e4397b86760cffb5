"""Intervals and tests: whether a user may call one model better than another."""

import numpy as np
import pytest
from scipy.stats import binomtest

from fer_utils.scores import (
    _holm,
    accuracy_interval,
    bootstrap,
    compare_pairs,
    mcnemar,
    score_predictions,
)


def guesses(labels, accuracy, seed):
    """Predictions that are right with this probability, else of a random class of seven."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < accuracy, labels, rng.integers(0, 7, len(labels)))


LABELS = np.random.default_rng(0).integers(0, 7, 3589)


def test_bootstrap_values_are_those_of_evaluation():
    """Class 6 is never there and never predicted: its F1 is zero in both."""
    labels = LABELS % 6
    predicted = guesses(labels, 0.5, 1) % 6
    table = bootstrap(labels, predicted, classes=7)
    score = score_predictions(labels, np.eye(7)[predicted], tuple("abcdefg"))
    assert table.loc["accuracy", "value"] == pytest.approx(score["accuracy"])
    assert table.loc["macro_f1", "value"] == pytest.approx(score["macro_f1"])


def test_bootstrap_is_that_of_resampled_images():
    """Cells are drawn in place of images; the interval must be the usual one."""
    labels, predicted = LABELS[:400], guesses(LABELS[:400], 0.5, 1)
    rng = np.random.default_rng(5)
    drawn = rng.integers(0, 400, (2000, 400))
    expected = np.percentile((labels == predicted)[drawn].mean(axis=1), [2.5, 97.5])
    found = bootstrap(labels, predicted, 7, draws=20_000).loc["accuracy"]
    np.testing.assert_allclose(found[["low", "high"]].to_numpy(float), expected, atol=0.005)


def test_bootstrap_interval_holds_the_value_and_repeats_by_seed():
    predicted = guesses(LABELS, 0.5, 1)
    table = bootstrap(LABELS, predicted, 7)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    assert table.equals(bootstrap(LABELS, predicted, 7))
    assert not table.equals(bootstrap(LABELS, predicted, 7, seed=1))
    low, high = accuracy_interval(int((LABELS == predicted).sum()), len(LABELS))
    assert table.loc["accuracy", ["low", "high"]].tolist() == pytest.approx([low, high], abs=0.002)


def test_bootstrap_interval_halves_with_four_times_the_images():
    predicted = guesses(LABELS, 0.5, 1)
    few, many = (bootstrap(np.tile(LABELS, k), np.tile(predicted, k), 7) for k in (1, 4))
    ratio = (many["high"] - many["low"]) / (few["high"] - few["low"])
    np.testing.assert_allclose(ratio, 0.5, atol=0.04)


def test_bootstrap_of_no_images_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        bootstrap(LABELS[:0], LABELS[:0], 7)


def test_mcnemar_counts_and_p():
    """Only the images that one model alone gets right decide."""
    labels = np.zeros(100, int)
    first, second = np.zeros(100, int), np.zeros(100, int)
    first[:4], second[4:19], first[50:60], second[50:60] = 1, 1, 1, 2
    found = mcnemar(labels, first, second)
    assert (found["only_first"], found["only_second"]) == (15, 4)
    assert found["p"] == pytest.approx(binomtest(4, 19, 0.5).pvalue)
    turned = mcnemar(labels, second, first)
    assert (turned["only_first"], turned["p"]) == (4, pytest.approx(found["p"]))


def test_mcnemar_of_a_model_with_itself_is_one():
    assert mcnemar(LABELS, LABELS, LABELS)["p"] == 1


def test_holm_by_hand():
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 raised to the value before it
    found = _holm(np.array([0.005, 0.01, 0.03, 0.04]))
    np.testing.assert_allclose(found, [0.02, 0.03, 0.06, 0.06])
    np.testing.assert_allclose(_holm(np.array([0.6, 0.7])), [1, 1])


def test_pairs_finds_the_one_real_difference():
    good, same = guesses(LABELS, 0.6, 1), guesses(LABELS, 0.6, 2)
    poor = guesses(LABELS, 0.5, 3)
    table = compare_pairs(LABELS, {"good": good, "poor": poor, "same": same})
    assert len(table) == 3 and table["p"].is_monotonic_increasing
    assert (table["p_holm"] >= table["p"]).all()
    rows = table.set_index(["first", "second"])
    assert rows["differs"].to_dict() == {
        ("good", "poor"): True,
        ("poor", "same"): True,
        ("good", "same"): False,
    }
    expected = (good == LABELS).mean() - (poor == LABELS).mean()
    assert rows.loc[("good", "poor"), "difference"] == pytest.approx(expected)
    each = (good == LABELS).astype(float) - (poor == LABELS)
    error = 1.96 * each.std(ddof=1) / len(LABELS) ** 0.5
    interval = rows.loc[("good", "poor"), ["low", "high"]].astype(float)
    np.testing.assert_allclose(interval, [expected - error, expected + error])
    assert rows.loc[("poor", "same"), "difference"] < 0


def test_many_equal_models_give_no_difference():
    """Of 45 pairs of equally good models a few have p below 0.05 by chance; Holm calls none."""
    models = {f"m{i}": guesses(LABELS, 0.5, 10 + i) for i in range(10)}
    table = compare_pairs(LABELS, models)
    assert len(table) == 45 and (table["p"] < 0.05).any() and not table["differs"].any()


def test_one_model_has_no_pairs():
    table = compare_pairs(LABELS, {"only": LABELS})
    assert len(table) == 0 and {"p_holm", "differs"} <= set(table.columns)
