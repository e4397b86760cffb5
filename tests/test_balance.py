"""Balancing: the counts each strategy promises, and the paper's augmentation ranges."""

import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from fer_utils.data import balance

COUNTS = {0: 30, 1: 4, 3: 50, 6: 12}  # an unbalanced set in which classes 2, 4 and 5 are absent


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.repeat(list(COUNTS), list(COUNTS.values()))).astype(np.uint8)
    return rng.integers(0, 256, (len(labels), 48, 48), dtype=np.uint8), labels


def counts(labels):
    values, numbers = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


# ---- what each strategy gives -------------------------------------------------------------


EXPECTED = {
    "none": COUNTS,
    "class_weights": COUNTS,
    "oversample": dict.fromkeys(COUNTS, 50),
    "undersample": dict.fromkeys(COUNTS, 4),
    "augment": dict.fromkeys(COUNTS, 20),
}


@pytest.mark.parametrize("strategy", balance.STRATEGIES)
def test_plan_and_result_agree(data, strategy):
    """The table shown to a reader is what the training set then holds, to the image."""
    images, labels = data
    table = balance.plan(labels, strategy, target=20)
    result = balance.apply(images, labels, strategy, target=20)
    assert list(table.columns) == ["class", "before", "after", "kept", "added"]
    assert counts(result.labels) == EXPECTED[strategy]
    assert dict(zip(table["class"], table["before"], strict=True)) == COUNTS
    assert dict(zip(table["class"], table["after"], strict=True)) == EXPECTED[strategy]
    distinct = {c: len(np.unique(result.source[result.labels == c])) for c in COUNTS}
    assert dict(zip(table["class"], table["kept"], strict=True)) == distinct
    assert (table["kept"] + table["added"] == table["after"]).all()


@pytest.mark.parametrize("strategy", balance.STRATEGIES)
def test_every_row_traces_to_its_source(data, strategy):
    """A label or an unaugmented image that does not match its source would poison training."""
    images, labels = data
    result = balance.apply(images, labels, strategy, target=20)
    n = len(result.labels)
    assert result.images.shape == (n, 48, 48) and result.images.dtype == np.uint8
    assert len(result.source) == len(result.augmented) == n
    assert result.labels.dtype == np.uint8 and result.augmented.dtype == bool
    np.testing.assert_array_equal(result.labels, labels[result.source])
    plain = ~result.augmented
    np.testing.assert_array_equal(result.images[plain], images[result.source[plain]])
    if strategy != "augment":
        assert plain.all()
    else:
        changed = (result.images != images[result.source]).any(axis=(1, 2))
        np.testing.assert_array_equal(changed, result.augmented)


@pytest.mark.parametrize("strategy", ["none", "class_weights"])
def test_strategies_that_leave_the_data_alone(data, strategy):
    images, labels = data
    result = balance.apply(images, labels, strategy)
    assert result.images is images and result.labels is labels
    np.testing.assert_array_equal(result.source, np.arange(len(labels)))


def test_augment_keeps_small_classes_whole_and_cuts_large_ones_without_repeats(data):
    """Losing an original, or drawing one twice, is not the paper's procedure."""
    images, labels = data
    result = balance.apply(images, labels, "augment", target=20)
    kept = result.source[~result.augmented]
    assert len(np.unique(kept)) == len(kept) == 20 + 4 + 20 + 12
    for label in (1, 6):
        assert set(np.flatnonzero(labels == label)) <= set(kept)
    assert counts(result.labels[result.augmented]) == {1: 16, 6: 8}
    assert len(np.unique(result.source[result.augmented & (result.labels == 6)])) > 4


def test_augment_at_the_exact_class_size_adds_and_drops_nothing(data):
    images, labels = data
    only = labels == 3
    result = balance.apply(images[only], labels[only], "augment", target=50)
    assert not result.augmented.any()
    np.testing.assert_array_equal(result.images, images[only])


@pytest.mark.parametrize("strategy", ["oversample", "undersample", "augment"])
def test_the_seed_decides_everything(data, strategy):
    """Two runs with one seed train on the same data; another seed is another draw."""
    images, labels = data
    np.random.seed(1)
    first = balance.apply(images, labels, strategy, target=20, seed=3)
    np.random.seed(2)
    again = balance.apply(images, labels, strategy, target=20, seed=3)
    other = balance.apply(images, labels, strategy, target=20, seed=4)
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.source, again.source)
    assert not np.array_equal(first.source, other.source)


def test_a_class_draws_the_same_whatever_the_other_classes_are(data):
    """Dropping a class (the three-class protocol) must not redraw the rest."""
    images, labels = data
    everything = balance.apply(images, labels, "augment", target=20, seed=5)
    rows = np.flatnonzero(np.isin(labels, [3, 6]))
    part = balance.apply(images[rows], labels[rows], "augment", target=20, seed=5)
    same = np.isin(everything.labels, [3, 6])
    np.testing.assert_array_equal(everything.images[same], part.images)
    np.testing.assert_array_equal(everything.source[same], rows[part.source])


def test_classes_do_not_share_one_random_stream(data):
    """With one seed for all classes every class would repeat the same transformations."""
    images, _ = data
    face = np.repeat(images[:1], 2, axis=0)
    result = balance.apply(face, np.array([0, 1], np.uint8), "augment", target=5)
    zero, one = (result.images[result.augmented & (result.labels == c)] for c in (0, 1))
    assert not np.array_equal(zero, one)


def test_apply_leaves_the_input_unchanged(data):
    images, labels = data
    before = images.copy()
    balance.apply(images, labels, "augment", target=20)
    np.testing.assert_array_equal(images, before)


def test_class_weights_are_the_balanced_ones():
    """n / (classes * count): 6 / (2 * 4) and 6 / (2 * 2); an absent class never divides by 0."""
    weights = balance.class_weights(np.array([0, 0, 2, 0, 2, 0]), 4)
    assert weights == {0: 0.75, 1: 0.0, 2: 1.5, 3: 0.0}
    with pytest.raises(ValueError, match="label 2 does not fit n_classes=2"):
        balance.class_weights(np.array([0, 2]), 2)


def test_only_class_weights_carries_weights(data):
    images, labels = data
    for strategy in balance.STRATEGIES:
        weights = balance.apply(images, labels, strategy, target=20).weights
        assert (weights is not None) == (strategy == "class_weights")
    weights = balance.apply(images, labels, "class_weights").weights
    assert weights[1] == pytest.approx(96 / (4 * 4)) and weights[3] == pytest.approx(96 / (4 * 50))


def test_sampled_indices():
    labels = np.array([0, 0, 0, 1, 0, 1], np.uint8)
    over, under = (balance.sampled(labels, f"{kind}sample", seed=1) for kind in ("over", "under"))
    np.testing.assert_array_equal(over[:6], np.arange(6))
    assert counts(labels[over]) == {0: 4, 1: 4}
    assert counts(labels[under]) == {0: 2, 1: 2} and (np.diff(under) > 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("smote", 10), "none, class_weights, oversample, undersample, augment"),
        (("augment", 0), "1 or more"),
        (("none", -5), "1 or more"),
    ],
)
def test_a_wrong_setting_says_what_is_valid(data, arguments, message):
    images, labels = data
    for call in (
        lambda: balance.plan(labels, *arguments),
        lambda: balance.apply(images, labels, *arguments),
    ):
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_data_that_cannot_be_balanced_is_refused(data):
    images, labels = data
    with pytest.raises(ValueError, match="96 images do not match 95 labels"):
        balance.apply(images, labels[:-1], "none")
    with pytest.raises(ValueError, match="no labels"):
        balance.apply(images[:0], labels[:0], "augment")


# ---- the augmentation of the paper --------------------------------------------------------


class Script:
    """Stands in for a Generator: hands out the given values in order, never noise."""

    def __init__(self, uniform, random):
        self.values, self.chances = list(uniform), list(random)

    def uniform(self, low, high):
        return self.values.pop(0)

    def random(self):
        return self.chances.pop(0)


def augmented(image, angle=0.0, zoom=1.0, alpha=1.0, beta=0.0, flip=False):
    return balance.augment_face(
        image, Script([angle, zoom, alpha, beta], [0.0 if flip else 0.99, 0.99])
    )


@pytest.fixture(scope="module")
def face(data):
    return cv2.GaussianBlur(data[0][0], (0, 0), 2)


def test_neutral_settings_change_nothing(face):
    np.testing.assert_array_equal(augmented(face), face)


def test_rotation_is_the_papers(face):
    turn = cv2.getRotationMatrix2D((24, 24), 11, 1.0)
    expected = cv2.warpAffine(face, turn, (48, 48), borderMode=cv2.BORDER_REFLECT_101)
    np.testing.assert_array_equal(augmented(face, angle=11), expected)


def test_flip_mirrors_left_and_right(face):
    np.testing.assert_array_equal(augmented(face, flip=True), face[:, ::-1])


def test_zooming_in_cuts_at_the_centre(face):
    larger = cv2.resize(face, (51, 51), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(augmented(face, zoom=1.08), larger[1:49, 1:49])


def test_zooming_out_pads_by_reflection(face):
    smaller = cv2.resize(face, (45, 45), interpolation=cv2.INTER_LINEAR)
    expected = np.pad(smaller, ((1, 2), (1, 2)), mode="reflect")
    np.testing.assert_array_equal(augmented(face, zoom=0.95), expected)


def test_contrast_and_brightness_are_rounded_and_clipped():
    """Values past 255 must not wrap round to black, nor values below 0 to white."""
    ramp = np.repeat(np.array([0, 5, 100, 254], np.uint8), 12) * np.ones((48, 1), np.uint8)
    np.testing.assert_array_equal(augmented(ramp, alpha=1.1, beta=7.7)[0, ::12], [8, 13, 118, 255])
    np.testing.assert_array_equal(augmented(ramp, alpha=0.9, beta=-7.7)[0, ::12], [0, 0, 82, 221])


DRAWS = 4000
DARK, BRIGHT = 40, 220


@pytest.fixture(scope="module")
def measured():
    """Transformations read back from the pixels of augmented probes, one row per draw.

    The probe has two discs, the left one brighter, on a dark ground: their line gives rotation
    and zoom, their order the flip. Flat images under the same draws give contrast, brightness
    and noise.
    """
    probe = np.full((48, 48), DARK, np.uint8)
    cv2.circle(probe, (12, 24), 4, 200, -1)
    cv2.circle(probe, (36, 24), 4, 120, -1)
    flats = [np.full((48, 48), value, np.uint8) for value in (DARK, BRIGHT)]
    x, y = np.meshgrid(np.arange(48.0), np.arange(48.0))
    rows = []
    for seed in range(DRAWS):
        out, dark, bright = (
            balance.augment_face(image, np.random.default_rng(seed)).astype(float)
            for image in (probe, *flats)
        )
        weight = np.where(out - dark > 15, out - dark, 0.0)
        left, right = weight * (x < 24), weight * (x >= 24)
        dx, dy = (
            (right * axis).sum() / right.sum() - (left * axis).sum() / left.sum() for axis in (x, y)
        )
        alpha = (bright - dark).mean() / (BRIGHT - DARK)
        rows.append(
            {
                "angle": np.degrees(np.arctan2(dy, dx)),
                "size": np.hypot(dx, dy) / 24 * 48,
                "flipped": right.sum() > left.sum(),
                "alpha": alpha,
                "beta": dark.mean() - alpha * DARK,
                "noise": dark.std(),
            }
        )
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def assert_uniform(values, low, high, slack):
    """Both ends are reached, not passed, and the mean and spread are those of a uniform draw."""
    width = high - low
    assert values.min() == pytest.approx(low, abs=slack)
    assert values.max() == pytest.approx(high, abs=slack)
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.015 * width)
    assert values.std() == pytest.approx(width / np.sqrt(12), rel=0.03)


def test_rotation_is_within_15_degrees(measured):
    assert_uniform(measured["angle"], -15, 15, 0.4)


def test_half_of_the_copies_are_mirrored(measured):
    assert measured["flipped"].mean() == pytest.approx(0.5, abs=0.02)


def test_zoom_is_095_to_108(measured):
    """int(48 * zoom) is 45 for 0.4 of the 6.24 pixels of range, 51 for 0.84, 46 to 50 for 1."""
    sizes, numbers = np.unique(np.rint(measured["size"]).astype(int), return_counts=True)
    assert np.abs(measured["size"] - np.rint(measured["size"])).max() < 0.45
    assert sizes.tolist() == [45, 46, 47, 48, 49, 50, 51]
    shares = np.array([0.4, 1, 1, 1, 1, 1, 0.84]) / 6.24
    np.testing.assert_allclose(numbers / DRAWS, shares, atol=0.015)


def test_contrast_is_09_to_11(measured):
    assert_uniform(measured["alpha"], 0.9, 1.1, 0.004)


def test_brightness_is_within_8_levels(measured):
    assert_uniform(measured["beta"], -8, 8, 0.8)


def test_noise_of_sigma_3_falls_on_three_in_ten(measured):
    """A flat image stays flat without noise: no border of another grey comes in."""
    noisy = measured["noise"] > 0
    assert noisy.mean() == pytest.approx(0.3, abs=0.015)
    # rounding to whole levels adds 1/12 to the variance
    assert measured["noise"][noisy].mean() == pytest.approx(np.sqrt(9 + 1 / 12), abs=0.02)


# ---- cost ---------------------------------------------------------------------------------


def test_balancing_is_fast_enough_to_do_before_every_run():
    """10,000 augmented copies took 0.5 s of one core; the whole procedure adds about as many."""
    images = np.zeros((10, 48, 48), np.uint8)
    start = time.process_time()
    balance.apply(images, np.zeros(10, np.uint8), "augment", target=10_010)
    assert time.process_time() - start < 5


def test_importing_balance_loads_no_training_library():
    code = "import sys, fer_utils.data.balance; print({m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert not [m for m in (b"tensorflow", b"keras", b"imblearn") if b"'" + m + b"'" in loaded]
