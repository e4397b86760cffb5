"""Calibration and rejection: whether a user may believe a stated confidence."""

import numpy as np
import pytest

from fer_utils.analysis import calibration
from fer_utils.scores import accuracy_interval, calibration_error, score_predictions


def calibrated(n=20_000, classes=7, seed=0):
    """Labels drawn from their own probabilities: calibrated by construction."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return np.minimum(labels, classes - 1), probabilities


def sharpened(probabilities, factor):
    powers = probabilities**factor
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_known_sharpening(factor):
    """Else a report would correct confidences to wrong ones."""
    labels, probabilities = calibrated()
    network = sharpened(probabilities, factor)
    found = calibration.temperature(labels, network)
    assert found == pytest.approx(factor, rel=0.04)
    np.testing.assert_allclose(
        calibration.scaled(network, factor), probabilities, rtol=1e-9, atol=1e-12
    )


def test_temperature_without_an_error_is_the_lowest():
    assert calibration.temperature(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])) < 0.06


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_scaling_survives_a_probability_of_zero(temperature):
    """A saturated softmax holds exact zeros; NaN would spoil every score after it."""
    network = np.array([[1, 0, 0], [0.6, 0.4, 0], [0.5, 0.5, 0]], np.float32)
    after = calibration.scaled(network, temperature)
    assert after.dtype == np.float64 and np.isfinite(after).all()
    np.testing.assert_allclose(after.sum(axis=1), 1)
    np.testing.assert_array_equal(after.argmax(axis=1), [0, 0, 0])
    if temperature == 1:
        np.testing.assert_allclose(after, network, atol=1e-7)


def test_temperature_stays_finite_where_the_label_has_probability_zero():
    labels = np.array([0, 1, 2, 0])
    network = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    assert calibration.COLDEST <= calibration.temperature(labels, network) <= calibration.HOTTEST


def test_calibration_by_hand():
    probabilities = np.array([[0.95, 0.05], [0.93, 0.07], [0.55, 0.45], [0.0, 1.0]])
    table = calibration.calibration(np.array([0, 1, 0, 1]), probabilities, bins=10)
    assert table["n"].tolist() == [1, 3]  # certainty 1 belongs to the last bin, not to an 11th
    np.testing.assert_allclose(table[["low", "high"]], [[0.5, 0.6], [0.9, 1.0]])
    np.testing.assert_allclose(table["confidence"], [0.55, 0.96])
    np.testing.assert_allclose(table["accuracy"], [1, 2 / 3])
    low, high = accuracy_interval(2, 3)
    assert table.iloc[1][["accuracy_low", "accuracy_high"]].tolist() == [low, high]


def test_the_bins_add_up_to_the_calibration_error():
    """The diagram and the number beside it must tell the same."""
    labels, probabilities = calibrated(3000)
    network = sharpened(probabilities, 2)
    table = calibration.calibration(labels, network)
    gaps = (table["accuracy"] - table["confidence"]).abs() * table["n"] / 3000
    confidence, correct = network.max(axis=1), network.argmax(axis=1) == labels
    assert gaps.sum() == pytest.approx(calibration_error(confidence, correct))


def test_coverage_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    table = calibration.coverage(np.array([0, 0, 1, 1]), probabilities)
    assert table["coverage"].tolist() == [0.25, 0.5, 0.75, 1]
    assert table["threshold"].tolist() == [0.9, 0.8, 0.7, 0.6]
    np.testing.assert_allclose(table["accuracy"], [1, 1, 2 / 3, 1 / 2])


def test_coverage_follows_from_its_threshold():
    """A user who applies the threshold gets the stated share and accuracy, ties included."""
    labels, probabilities = calibrated(1234)
    probabilities = probabilities.round(1)
    table = calibration.coverage(labels, probabilities)
    assert len(table) <= 101 and table["coverage"].iloc[-1] == 1
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    for row in table.itertuples():
        kept = confidence >= row.threshold
        assert row.coverage == pytest.approx(kept.mean())
        assert row.accuracy == pytest.approx(correct[kept].mean())
    assert table["coverage"].is_monotonic_increasing and table["threshold"].is_unique


def test_before_after_repairs_an_overconfident_network():
    labels, probabilities = calibrated(6000)
    network = sharpened(probabilities, 3)
    validation, test = (labels[:3000], network[:3000]), (labels[3000:], network[3000:])
    table = calibration.before_after(validation, test)
    assert list(table.index) == ["before", "after"]
    assert table["temperature"].tolist() == [1, calibration.temperature(*validation)]
    score = score_predictions(*test, tuple("abcdefg"))
    assert table.loc["before", ["ece", "nll"]].tolist() == pytest.approx(
        [score["ece"], score["nll"]]
    )
    assert table.loc["after", "ece"] < 0.03 < 0.2 < table.loc["before", "ece"]
    assert table.loc["after", "nll"] < table.loc["before", "nll"]


def test_a_vote_among_neighbours_has_no_temperature():
    labels, _ = calibrated(200)
    votes = np.eye(7)[labels].astype(np.float32)
    table = calibration.before_after((labels, votes), (labels, votes))
    assert (
        table.loc["before", "ece"] == pytest.approx(0, abs=1e-6) and table.loc["after"].isna().all()
    )
