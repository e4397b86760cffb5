"""Balancing: the counts each strategy promises, and the paper's augmentation ranges."""

import cv2
import numpy as np
import pytest

from fer_utils.data import balance

COUNTS = {0: 30, 1: 4, 3: 50, 6: 12}  # an unbalanced set in which classes 2, 4 and 5 are absent
EXPECTED = {
    "none": COUNTS,
    "class_weights": COUNTS,
    "oversample": dict.fromkeys(COUNTS, 50),
    "undersample": dict.fromkeys(COUNTS, 4),
    "augment": dict.fromkeys(COUNTS, 20),
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.repeat(list(COUNTS), list(COUNTS.values()))).astype(np.uint8)
    return rng.integers(0, 256, (len(labels), 48, 48), dtype=np.uint8), labels


def counts(labels):
    values, numbers = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


@pytest.mark.parametrize("strategy", balance.STRATEGIES)
def test_plan_and_result_agree_and_every_row_traces_to_its_source(data, strategy):
    images, labels = data
    table = balance.plan(labels, strategy, target=20).set_index("class")
    result = balance.apply(images, labels, strategy, target=20)
    assert counts(result.labels) == EXPECTED[strategy]
    assert table["before"].to_dict() == COUNTS and table["after"].to_dict() == EXPECTED[strategy]
    distinct = {c: len(np.unique(result.source[result.labels == c])) for c in COUNTS}
    assert table["kept"].to_dict() == distinct
    assert (table["kept"] + table["added"] == table["after"]).all()
    assert result.images.dtype == result.labels.dtype == np.uint8
    np.testing.assert_array_equal(result.labels, labels[result.source])
    differs = (result.images != images[result.source]).any(axis=(1, 2))
    np.testing.assert_array_equal(differs, result.augmented)
    assert result.augmented.any() == (strategy == "augment")
    assert (result.weights is not None) == (strategy == "class_weights")


def test_augment_keeps_small_classes_whole_and_cuts_large_ones_without_repeats(data):
    images, labels = data
    before = images.copy()
    result = balance.apply(images, labels, "augment", target=20)
    np.testing.assert_array_equal(images, before)
    kept = result.source[~result.augmented]
    assert len(np.unique(kept)) == len(kept) == 20 + 4 + 20 + 12
    for label in (1, 6):
        assert set(np.flatnonzero(labels == label)) <= set(kept)
    assert counts(result.labels[result.augmented]) == {1: 16, 6: 8}
    only = labels == 3  # a class that has the target already
    result = balance.apply(images[only], labels[only], "augment", target=50)
    np.testing.assert_array_equal(result.images, images[only])


@pytest.mark.parametrize("strategy", ["oversample", "undersample", "augment"])
def test_the_seed_decides_everything(data, strategy):
    np.random.seed(1)
    first, other = (balance.apply(*data, strategy, target=20, seed=seed) for seed in (3, 4))
    np.random.seed(2)
    again = balance.apply(*data, strategy, target=20, seed=3)
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.source, other.source)


def test_a_class_draws_the_same_whatever_the_other_classes_are(data):
    """Dropping a class (the three-class protocol) must not redraw the rest."""
    images, labels = data
    everything = balance.apply(images, labels, "augment", target=20, seed=5)
    rows = np.flatnonzero(np.isin(labels, [3, 6]))
    part = balance.apply(images[rows], labels[rows], "augment", target=20, seed=5)
    same = np.isin(everything.labels, [3, 6])
    np.testing.assert_array_equal(everything.images[same], part.images)
    # and classes do not share one random stream
    result = balance.apply(images[[0, 0]], np.array([0, 1], np.uint8), "augment", target=5)
    zero, one = (result.images[result.augmented & (result.labels == c)] for c in (0, 1))
    assert not np.array_equal(zero, one)


def test_class_weights_are_the_balanced_ones():
    """n / (classes * count): 6 / (2 * 4) and 6 / (2 * 2); an absent class never divides by 0."""
    weights = balance.class_weights(np.array([0, 0, 2, 0, 2, 0]), 4)
    assert weights == {0: 0.75, 1: 0.0, 2: 1.5, 3: 0.0}
    with pytest.raises(ValueError, match="label 2 does not fit n_classes=2"):
        balance.class_weights(np.array([0, 2]), 2)


def test_sampled_indices():
    labels = np.array([0, 0, 0, 1, 0, 1], np.uint8)
    over, under = (balance.sampled(labels, f"{kind}sample", seed=1) for kind in ("over", "under"))
    np.testing.assert_array_equal(over[:6], np.arange(6))
    assert counts(labels[over]) == {0: 4, 1: 4}
    assert counts(labels[under]) == {0: 2, 1: 2} and (np.diff(under) > 0).all()


def test_wrong_settings_and_data_are_named(data):
    images, labels = data
    for settings, message in (
        (("smote", 10), "none, class_weights, oversample, undersample, augment"),
        (("augment", 0), "1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            balance.apply(images, labels, *settings)
    with pytest.raises(ValueError, match="96 images do not match 95 labels"):
        balance.apply(images, labels[:-1], "none")
    with pytest.raises(ValueError, match="no labels"):
        balance.apply(images[:0], labels[:0], "augment")


class Script:
    """Stands in for a Generator: hands out the given values in order, never noise."""

    def __init__(self, uniform, random):
        self.values, self.chances, self.ranges = list(uniform), list(random), []

    def uniform(self, low, high):
        self.ranges.append((low, high))
        return self.values.pop(0)

    def random(self):
        return self.chances.pop(0)


def augmented(image, angle=0.0, zoom=1.0, alpha=1.0, beta=0.0, flip=False):
    rng = Script([angle, zoom, alpha, beta], [0.49 if flip else 0.51, 0.31])
    out = balance.augment_face(image, rng)
    assert rng.ranges == [(-15, 15), (0.95, 1.08), (0.9, 1.1), (-8, 8)]  # the paper's
    return out


def test_each_step_of_the_papers_augmentation(data):
    face = cv2.GaussianBlur(data[0][0], (0, 0), 2)
    turn = cv2.getRotationMatrix2D((24, 24), 11, 1.0)
    turned = cv2.warpAffine(face, turn, (48, 48), borderMode=cv2.BORDER_REFLECT_101)
    smaller, larger = (cv2.resize(face, (side, side)) for side in (45, 51))
    same = np.testing.assert_array_equal
    same(augmented(face), face)
    same(augmented(face, angle=11), turned)
    same(augmented(face, flip=True), face[:, ::-1])
    same(augmented(face, zoom=1.08), larger[1:49, 1:49])
    same(augmented(face, zoom=0.95), np.pad(smaller, ((1, 2), (1, 2)), mode="reflect"))
    # values past 255 must not wrap round to black, nor values below 0 to white
    ramp = np.repeat(np.array([0, 5, 100, 254], np.uint8), 12) * np.ones((48, 1), np.uint8)
    same(augmented(ramp, alpha=1.1, beta=7.7)[0, ::12], [8, 13, 118, 255])
    same(augmented(ramp, alpha=0.9, beta=-7.7)[0, ::12], [0, 0, 82, 221])


def test_noise_of_sigma_3_falls_on_three_in_ten():
    flat = np.full((48, 48), 120, np.uint8)
    draws = [balance.augment_face(flat, np.random.default_rng(seed)).std() for seed in range(1000)]
    noise = np.array(draws)
    assert (noise > 0).mean() == pytest.approx(0.3, abs=0.04)
    # rounding to whole levels adds 1/12 to the variance
    assert noise[noise > 0].mean() == pytest.approx(np.sqrt(9 + 1 / 12), abs=0.05)
