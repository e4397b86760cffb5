"""Corruptions: a curve is only worth something if each step is worse than the one before."""

import numpy as np
import pytest

from fer_utils.analysis import robustness
from fer_utils.scores import accuracy_interval


def faces(n=8):
    """Smooth pictures with a light middle, dark bands for eyes and mouth, and some texture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    face = 40 + 120 * np.exp(-((x - 24) ** 2 + (y - 24) ** 2) / 400)
    face[15:21, 10:38] -= 60
    face[36:41, 16:32] -= 50
    shift = rng.uniform(-15, 15, (n, 1, 1))
    return np.clip(face + shift + rng.normal(0, 6, (n, 48, 48)), 0, 255).astype(np.uint8)


IMAGES = faces()


@pytest.mark.parametrize("kind", robustness.KINDS)
def test_every_strength_is_farther_from_the_original(kind):
    before = 0.0
    for strength in range(1, 6):
        worse = robustness.corrupted(IMAGES, kind, strength)
        assert worse.dtype == np.uint8 and worse.shape == IMAGES.shape
        distance = ((worse.astype(float) - IMAGES) ** 2).mean(axis=(1, 2))
        assert (distance > before).all()
        before = distance


@pytest.mark.parametrize("kind", robustness.KINDS)
def test_corruption_repeats_by_seed_and_leaves_the_input(kind):
    before = IMAGES.copy()
    first, again = (robustness.corrupted(IMAGES, kind, 3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(IMAGES, before)
    other = robustness.corrupted(IMAGES, kind, 3, seed=5)
    assert (first != other).any() == (kind in ("noise", "rotation"))


def test_parameters_mean_what_the_table_says():
    brighter = robustness.corrupted(IMAGES, "brightness", 1)
    np.testing.assert_array_equal(brighter, np.minimum(np.rint(IMAGES * np.float32(1.15)), 255))
    flatter = robustness.corrupted(IMAGES, "contrast", 2)
    deviation = flatter.std(axis=(1, 2)) / IMAGES.std(axis=(1, 2))
    np.testing.assert_allclose(deviation, 0.5, atol=0.01)
    np.testing.assert_allclose(flatter.mean(axis=(1, 2)), IMAGES.mean(axis=(1, 2)), atol=0.5)
    grey = np.full((20, 48, 48), 128, np.uint8)
    assert robustness.corrupted(grey, "noise", 3).std() == pytest.approx(20, rel=0.02)
    assert robustness.corrupted(grey, "noise", 3).mean() == pytest.approx(128, abs=0.3)
    line = np.zeros((1, 48, 48), np.uint8)
    line[0, :, 24] = 255
    spread = robustness.corrupted(line, "blur", 5)[0].astype(float)
    variance = (spread.sum(axis=0) * (np.arange(48) - 24) ** 2).sum() / spread.sum()
    assert np.sqrt(variance) == pytest.approx(2, rel=0.05)
    assert robustness.told("blur", 5) == "sigma 2 px"
    assert robustness.told("eyes hidden", 3) == "25% of height"


def test_images_turn_both_ways_by_the_stated_angle():
    line = np.zeros((40, 48, 48), np.uint8)
    line[:, 23:25, 4:44] = 255
    turned = robustness.corrupted(line, "rotation", 4)
    y, x = np.mgrid[:48, :48] - 23.5
    moments = [(turned * term).sum(axis=(1, 2)) for term in (x * x, y * y, x * y)]
    angles = np.degrees(0.5 * np.arctan2(2 * moments[2], moments[0] - moments[1]))
    np.testing.assert_allclose(np.abs(angles), 20, atol=1)
    assert 10 < (angles > 0).sum() < 30


@pytest.mark.parametrize("kind, band", [("eyes hidden", (12, 24)), ("mouth hidden", (32, 44))])
def test_bands_hide_the_named_part_and_nothing_else(kind, band):
    hidden = robustness.corrupted(IMAGES, kind, 3)
    changed = np.flatnonzero((hidden != IMAGES).any(axis=(0, 2)))
    assert (changed.min(), changed.max() + 1) == band
    for after, before in zip(hidden, IMAGES, strict=True):
        assert set(np.unique(after[slice(*band)])) == {round(before.mean())}


def test_the_strongest_bands_do_not_overlap():
    """Or "eyes hidden" would also measure the mouth."""
    rows = [
        set(np.flatnonzero((robustness.corrupted(IMAGES, kind, 5) != IMAGES).any(axis=(0, 2))))
        for kind in ("eyes hidden", "mouth hidden")
    ]
    assert [len(found) for found in rows] == [20, 20] and not rows[0] & rows[1]


def test_table_scores_what_the_model_saw():
    labels = np.arange(8) % 2
    seen = []

    def predict(images):
        """Right as long as the band of the mouth has any detail."""
        seen.append(images)
        detail = images[:, 36:41].std(axis=(1, 2)) > 0
        return np.eye(2)[np.where(detail, labels, 1 - labels)]

    table = robustness.table(predict, IMAGES, labels, kinds=("noise", "mouth hidden"), seed=2)
    assert len(seen) == 11  # the untouched images once, not once for every kind
    np.testing.assert_array_equal(seen[0], IMAGES)
    np.testing.assert_array_equal(seen[1], robustness.corrupted(IMAGES, "noise", 1, seed=2))
    assert table["strength"].tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert table["kind"].tolist() == ["noise"] * 6 + ["mouth hidden"] * 6
    assert table["value"].tolist()[:2] == ["untouched", "sd 5 grey levels"]
    assert table["accuracy"].tolist() == [1] * 6 + [1, 1, 0, 0, 0, 0]
    low, high = accuracy_interval(8, 8)
    assert table.iloc[0][["accuracy_low", "accuracy_high"]].tolist() == [low, high]
