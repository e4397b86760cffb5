"""Near duplicates: a test image that training knows must be found, a new face must not."""

import cv2
import numpy as np
import pytest

from fer_utils.analysis import leakage
from fer_utils.data import load, quality
from fer_utils.scores import score_predictions


def pictures(n, seed):
    """Smooth pictures with detail at the size of a face's parts."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 200, (n, 12, 12)).astype(np.float32)
    smooth = [cv2.resize(image, (48, 48), interpolation=cv2.INTER_CUBIC) for image in coarse]
    return np.clip(smooth, 0, 255).astype(np.uint8)


TRAINING, OTHERS = pictures(300, 0), pictures(100, 1)


def recompressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0)


def watermarked(image):
    return cv2.putText(image.copy(), "stock", (4, 44), cv2.FONT_HERSHEY_PLAIN, 0.6, 255)


NOISE = np.random.default_rng(2).normal(0, 4, (48, 48))
COPIES = {
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.1, beta=10),
    "recompressed": recompressed,
    "noisy": lambda image: np.clip(image + NOISE, 0, 255).astype(np.uint8),
    "scaled": lambda image: cv2.resize(cv2.resize(image, (40, 40)), (48, 48)),
    "watermarked": watermarked,
}


@pytest.mark.parametrize("how", COPIES)
def test_altered_copies_are_near(how):
    """The bytes differ, so the check for exact duplicates lets these through."""
    copies = np.stack([COPIES[how](image) for image in TRAINING[:100]])
    assert not quality.in_reference(copies, TRAINING).any()
    least = 0.8 if how == "watermarked" else 0.97
    assert leakage.near(copies, TRAINING).mean() >= least


def test_other_pictures_are_not_near():
    """Or honest test images would be thrown out."""
    assert not leakage.near(OTHERS, TRAINING).any()


def test_exact_copies_are_near_at_distance_zero():
    mixed = np.concatenate([OTHERS[:10], TRAINING[290:]])  # the last ones: every part is searched
    np.testing.assert_array_equal(leakage.near(mixed, TRAINING, 0), [False] * 10 + [True] * 10)


def test_search_equals_comparing_every_pair():
    images, reference = OTHERS, TRAINING
    distances = np.array(
        [
            [bin(a ^ b).count("1") for b in leakage.hashes(reference).tolist()]
            for a in leakage.hashes(images).tolist()
        ]
    )
    for distance in (16, 18):
        expected = distances.min(axis=1) <= distance
        assert expected.any() and not expected.all()
        np.testing.assert_array_equal(leakage.near(images, reference, distance), expected)


def test_hash_by_definition():
    """Written out with the cosine transform's own sums."""
    image = cv2.resize(TRAINING[0], (32, 32), interpolation=cv2.INTER_AREA).astype(float)
    k, x = np.mgrid[:32, :32]
    basis = np.cos(np.pi * k * (2 * x + 1) / 64)
    waves = (basis @ image @ basis.T)[1:9, 1:9].ravel()
    expected = np.packbits(waves > np.median(waves)).view(np.uint64)[0]
    assert leakage.hashes(TRAINING[:1])[0] == expected


def test_blank_images_are_near_to_none():
    """All blank pictures hash alike, and FER2013 holds 13."""
    blank = np.full((3, 48, 48), 128, np.uint8)
    blank[1], blank[2, 0, 0] = 0, 135
    assert not leakage.near(blank, np.concatenate([blank, TRAINING])).any()
    assert not leakage.near(TRAINING[:5], blank).any()


def test_no_images_and_no_reference():
    assert leakage.near(TRAINING[:0], TRAINING).shape == (0,)
    assert not leakage.near(TRAINING[:5], TRAINING[:0]).any()


def test_scores_leave_out_what_training_knows():
    labels = np.array([0, 1, 0, 1, 0, 1])
    probabilities = np.eye(2)[[0, 1, 0, 1, 1, 1]]
    exact = np.array([True, True, False, False, False, False])
    near = np.array([True, False, True, False, False, False])
    table = leakage.scores_table(labels, probabilities, exact, near)
    assert list(table.index) == ["all", "without exact", "without exact and near"]
    assert table["n"].tolist() == [6, 4, 3]
    np.testing.assert_allclose(table["accuracy"], [5 / 6, 3 / 4, 2 / 3])
    expected = score_predictions(labels[3:], probabilities[3:], ("a", "b"))
    assert table.iloc[2].to_dict() == pytest.approx({k: expected[k] for k in table.columns})


def test_scores_without_any_image_left():
    every = np.ones(3, bool)
    table = leakage.scores_table(np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], every, every)
    assert table["n"].tolist() == [3, 0, 0] and table["accuracy"].isna().tolist() == [0, 1, 1]


def test_counts_on_fer2013(fer2013_path):
    """The numbers beside THRESHOLD."""
    dataset = load(fer2013_path)
    private, training = (dataset.images[dataset.usage == u] for u in ("PrivateTest", "Training"))
    exact = quality.in_reference(private, training)
    found = [
        int((leakage.near(private, training, k) & ~exact).sum()) for k in (leakage.THRESHOLD, 8)
    ]
    assert found == [183, 275]
