"""Data quality: duplicates, leakage and pixel statistics on hand-made data and on FER2013."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fer_utils.data import DataError, Dataset, load, quality


def texture(seed):
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def dataset():
    """Ten images: a pair across splits, a conflicting triple, and a near miss by one pixel."""
    near = texture(3).copy()
    near[47, 47] ^= 1
    rows = [
        (texture(0), 3, "Training"),
        (texture(1), 2, "PrivateTest"),
        (texture(0), 3, "PublicTest"),
        (texture(2), 4, "Training"),
        (texture(1), 0, "PrivateTest"),
        (texture(3), 6, "Training"),
        (near, 6, "PrivateTest"),
        (texture(1), 2, "Training"),
        (texture(4), 5, "Training"),
        (texture(4), 5, "Training"),
    ]
    images, labels, usage = zip(*rows, strict=True)
    names = np.array([f"{i}.png" for i in range(len(rows))])
    return Dataset(
        np.stack(images), np.array(labels, np.uint8), np.array(usage), names, {"bad_count": 7}
    )


def test_digests_follow_the_pixels_and_differ_by_one_bit(dataset):
    digests = quality.image_digests(dataset.images)
    assert digests[0] == digests[2] != digests[3] and digests[5] != digests[6]
    assert len(np.unique(digests)) == 6
    np.testing.assert_array_equal(quality.image_digests(dataset.images[::-1]), digests[::-1])
    np.testing.assert_array_equal(quality.image_digests(np.asfortranarray(dataset.images)), digests)
    with pytest.raises(DataError, match="float32"):  # whose bytes never equal those of uint8
        quality.in_reference(dataset.images.astype(np.float32), dataset.images)


def test_duplicate_groups(dataset):
    groups = quality.duplicate_groups(dataset)
    assert groups.to_dict("list") == {
        "group": [0, 1, 2],
        "size": [2, 3, 2],
        "indices": [[0, 2], [1, 4, 7], [8, 9]],
        "splits": [["Training", "PublicTest"], ["Training", "PrivateTest"], ["Training"]],
        "labels": [[3], [0, 2], [5]],
        "conflicting": [False, True, False],
    }


def test_duplicate_summary(dataset):
    assert quality.duplicate_summary(dataset) == {
        "groups": 3,
        "surplus_copies": 4,
        "spanning_groups": 2,
        "conflicting_groups": 1,
        "public_in_training": 1,
        "private_in_training": 2,
    }


def test_data_without_duplicates_gives_an_empty_table_with_its_columns(dataset):
    full = quality.duplicate_groups(dataset)
    for part in (dataset.take([3, 5, 6]), dataset.take([])):
        groups = quality.duplicate_groups(part)
        assert len(groups) == 0 and list(groups.columns) == list(full.columns)
        assert set(quality.duplicate_summary(part).values()) == {0}


def test_held_out_images_that_occur_in_training_or_a_reference(dataset):
    """Training images that repeat each other are no leak, nor copies between held-out splits."""
    assert np.flatnonzero(quality.in_training(dataset)).tolist() == [1, 2, 4]
    assert not quality.in_training(dataset.take([1, 4, 3])).any()
    found = quality.in_reference(dataset.images[:5], dataset.images[5:])
    assert found.dtype == bool and found.tolist() == [False, True, False, False, True]
    assert not quality.in_reference(dataset.images, dataset.images[:0]).any()


@pytest.fixture(scope="module")
def pictures():
    black, grey, blank = (np.full((48, 48), value, np.uint8) for value in (0, 90, 127))
    blank[::2, ::2] += 4  # what JPEG leaves of a blank picture
    faint = blank.copy()
    faint[0, 0] += 1
    dot = black.copy()
    dot[47, 47] = 255
    return np.stack([black, texture(0), grey, blank, faint, dot])


def test_constant_and_black_images(pictures):
    constant = quality.constant_images(pictures)
    assert constant.tolist() == [True, False, True, True, False, False]
    exact = quality.constant_images(pictures, tolerance=0)
    assert exact.tolist() == [True, False, True, False, False, False]
    assert quality.black_images(pictures).tolist() == [True] + [False] * 5


def test_statistics_are_those_of_the_pixels(pictures):
    table = quality.image_statistics(pictures)
    flat = pictures.reshape(len(pictures), -1).astype(float)
    np.testing.assert_allclose(table["brightness"], flat.mean(axis=1), rtol=1e-9)
    np.testing.assert_allclose(table["contrast"], flat.std(axis=1), rtol=1e-9, atol=1e-9)
    assert table["minimum"].tolist() == flat.min(axis=1).tolist()
    assert table["maximum"].tolist() == flat.max(axis=1).tolist()
    # sharpness is the variance of the Laplacian: by hand, with the border mirrored
    padded = np.pad(pictures[1].astype(float), 1, mode="reflect")
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    expected = (neighbours - 4 * pictures[1].astype(float)).var()
    assert table["sharpness"][1] == pytest.approx(expected)


def test_extremes_list_review_candidates_by_dataset_index():
    """Blur comes out lowest, noise highest, and dropped constant images shift no index."""
    plain = cv2.GaussianBlur(texture(1), (0, 0), 2)
    blurred = cv2.GaussianBlur(texture(1), (0, 0), 4)
    images = np.stack([np.zeros_like(plain), plain, texture(2), blurred])
    statistics = quality.image_statistics(images)
    usable = statistics[~quality.constant_images(images)]
    assert quality.extremes(usable, "sharpness", 2).tolist() == [3, 1]
    assert quality.extremes(usable, "sharpness", 1, highest=True).tolist() == [2]
    assert quality.extremes(statistics, "brightness", 1).tolist() == [0]
    assert len(quality.extremes(statistics, "contrast", 9)) == 4

    ties = quality.image_statistics(np.ones((400, 48, 48), np.uint8))  # in order, in every run
    assert quality.extremes(ties, "brightness", 200, highest=True).tolist() == list(range(200))


def test_mean_faces(dataset):
    faces = quality.mean_faces(dataset)
    assert faces.shape == (7, 48, 48) and faces.dtype == np.float32
    np.testing.assert_allclose(faces[3], texture(0))
    assert np.isnan(faces[1]).all() and not np.isnan(faces[[0, 2, 3, 4, 5, 6]]).any()
    part = replace(dataset.take([0, 3]), labels=np.array([1, 0], np.uint8))
    part = replace(part, provenance={"classes": ["sadness", "happiness"]})
    np.testing.assert_array_equal(quality.mean_faces(part), [texture(2), texture(0)])


def test_summary_counts_every_check(dataset, pictures):
    """Each number a reader sees, on data where all of them differ from zero or each other."""
    images = dataset.images.copy()
    images[3], images[5] = pictures[0], pictures[3]
    source = {"bad_count": 7, "converted": 5, "resized": 6}
    table = quality.summary(replace(dataset, images=images, provenance=source))
    assert list(table.columns) == ["check", "count", "meaning"]
    assert dict(zip(table["check"], table["count"], strict=True)) == {
        "images": 10,
        "bad rows left out": 7,
        "converted": 5,
        "resized": 6,
        "constant": 2,
        "black": 1,
        "duplicate groups": 3,
        "surplus copies": 4,
        "groups across splits": 2,
        "groups with conflicting labels": 1,
        "PublicTest images in Training": 1,
        "PrivateTest images in Training": 2,
    }
    assert table["meaning"].str.len().min() > 10


def test_fer2013_has_the_published_duplicates_and_constant_images(fer2013_path):
    fer2013 = load(fer2013_path)
    assert quality.duplicate_summary(fer2013) == {
        "groups": 1516,
        "surplus_copies": 1853,
        "spanning_groups": 557,
        "conflicting_groups": 57,
        "public_in_training": 280,
        "private_in_training": 288,
    }
    # 12 are black; the thirteenth is a blank grey JPEG of the values 127 to 130
    assert [quality.constant_images(fer2013.images, t).sum() for t in (0, 4, 46)] == [12, 13, 13]
    assert quality.black_images(fer2013.images).sum() == 12


def test_unwanted_marks_constant_images_and_later_copies():
    images = np.random.default_rng(0).integers(0, 255, (5, 48, 48)).astype(np.uint8)
    images[1], images[4] = 7, images[0]
    assert quality.unwanted(images, []).tolist() == [False] * 5
    assert quality.unwanted(images, ["constant"]).tolist() == [False, True, False, False, False]
    assert quality.unwanted(images, ["copies"]).tolist() == [False] * 4 + [True]
