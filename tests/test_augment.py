"""Augmentation: ranges mean what ImageDataGenerator's mean, pixel for pixel."""

import numpy as np
import pytest
from scipy import ndimage

from fer_utils.data import preprocess
from fer_utils.training import augment


@pytest.fixture(scope="module")
def face():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).uniform(0, 255, (48, 48)), 2)
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def expected(image, matrix):
    """scipy's warp about the image centre; `matrix` acts on (x, y) offsets, as in the papers."""
    centre = np.array([[1, 0, 23.5], [0, 1, 23.5], [0, 0, 1]])
    whole = centre @ matrix @ np.linalg.inv(centre)
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    rows = swap @ whole @ swap
    return ndimage.affine_transform(image, rows[:2, :2], rows[:2, 2], order=1, mode="nearest")


def warped(image, **values):
    from keras import ops

    names = ("rotation", "shift_x", "shift_y", "shear", "zoom_x", "zoom_y", "flip_x", "flip_y")
    neutral = dict.fromkeys(names, 0.0) | {"zoom_x": 1.0, "zoom_y": 1.0} | values
    transforms = augment.matrices(*(np.array([neutral[name]], np.float32) for name in names))
    output = ops.image.affine_transform(
        image[None, ..., None], transforms, interpolation="bilinear", fill_mode="nearest"
    )
    return np.array(output)[0, ..., 0]


def rotation(degrees):
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


def shear(degrees):
    a = np.deg2rad(degrees)
    return np.array([[1, -np.sin(a), 0], [0, np.cos(a), 0], [0, 0, 1]])


def shift(x, y):
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


@pytest.mark.parametrize(
    ("values", "matrix"),
    [
        ({"rotation": 13}, rotation(13)),
        ({"shift_x": 3.3}, shift(3.3, 0)),
        ({"shift_y": -2.5}, shift(0, -2.5)),
        ({"shear": 9}, shear(9)),
        ({"zoom_x": 0.9, "zoom_y": 1.2}, np.diag([0.9, 1.2, 1])),
        (
            {"rotation": -7, "shift_x": 2, "shift_y": 4, "shear": 5, "zoom_x": 1.1, "zoom_y": 0.9},
            rotation(-7) @ shift(2, 4) @ shear(5) @ np.diag([1.1, 0.9, 1]),
        ),
    ],
)
def test_warp_equals_scipy_pixel_for_pixel(face, values, matrix):
    np.testing.assert_allclose(warped(face, **values), expected(face, matrix), atol=2e-3)
    mirrored = expected(face, matrix)[:, ::-1]
    np.testing.assert_allclose(warped(face, **values, flip_x=1), mirrored, atol=2e-3)
    upside_down = expected(face, matrix)[::-1]
    np.testing.assert_allclose(warped(face, **values, flip_y=1), upside_down, atol=2e-3)


def test_nothing_changes_outside_training(face):
    layer = augment.layer(rotation=30, horizontal_flip=True)
    batch = np.repeat(face[None, ..., None], 3, axis=0)
    np.testing.assert_array_equal(layer(batch, training=False), batch)


def test_shift_stays_within_its_range_and_reaches_it(face):
    layer = augment.layer(width_shift=0.1, seed=1)
    ramp = np.tile(np.arange(48, dtype=np.float32), (400, 48, 1))[..., None]
    moved = np.array(layer(ramp, training=True))[:, 24, 24, 0] - 24
    assert np.abs(moved).max() <= 4.8 + 1e-3
    assert np.ptp(moved) > 9 and abs(moved.mean()) < 0.5
    column = np.tile(np.arange(48, dtype=np.float32)[:, None], (400, 1, 48))[..., None]
    np.testing.assert_allclose(np.array(layer(column, training=True)), column, atol=1e-3)


@pytest.mark.parametrize("flip", ["horizontal", "vertical"])
def test_flip_is_half_of_the_time(face, flip):
    layer = augment.layer(**{f"{flip}_flip": True}, seed=2)
    batch = np.repeat(face[None, ..., None], 600, axis=0)
    other = face[:, ::-1] if flip == "horizontal" else face[::-1]
    images = np.array(layer(batch, training=True))[..., 0]
    flipped = [np.allclose(image, other, atol=0.01) for image in images]
    assert 0.43 < np.mean(flipped) < 0.57
    assert all(np.allclose(image, face, atol=0.01) for image in images[~np.array(flipped)])


def test_zoom_may_be_two_factors(face):
    layer = augment.layer(zoom=[0.5, 0.5001], seed=3)
    centre = np.zeros((48, 48), np.float32)
    centre[23:25, 23:25] = 255
    enlarged = np.array(layer(centre[None, ..., None], training=True))[0, ..., 0]
    assert (enlarged > 120).sum() == 16  # half a factor shows the middle twice as large


def test_brightness_and_contrast_are_factors_clipped_to_pixels():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (5, 48, 48, 1)).astype(np.float32)
    brightness, contrast = rng.uniform(0.5, 1.5, (2, 5)).astype(np.float32)
    done = np.array(augment.illuminate(images, brightness, contrast))
    for image, b, c, output in zip(images, brightness, contrast, done, strict=True):
        lit = np.clip(image * b, 0, 255)
        np.testing.assert_allclose(
            output, np.clip((lit - lit.mean()) * c + lit.mean(), 0, 255), atol=1e-2
        )


def test_erased_rectangle_is_the_mean_and_the_rest_untouched(face):
    one = np.array([1.0], np.float32)
    done = np.array(augment.erase(face[None, ..., None], 5 * one, 10 * one, 8 * one, 4 * one))
    expected = face.copy()
    expected[10:14, 5:13] = face.mean()
    np.testing.assert_allclose(done[0, ..., 0], expected, rtol=1e-5)


def test_erasing_takes_its_share_of_images_and_of_their_pixels(face):
    layer = augment.layer(erasing=0.5, seed=4)
    batch = np.repeat(face[None, ..., None], 600, axis=0)
    changed = (np.array(layer(batch, training=True)) != batch).mean(axis=(1, 2, 3))
    assert 0.43 < (changed > 0).mean() < 0.57
    assert changed.max() < 0.36 and changed[changed > 0].min() > 0.015


def test_light_differs_from_image_to_image_within_its_range(face):
    layer = augment.layer(brightness=0.2, contrast=0.3, seed=5)
    grey = np.full((300, 48, 48, 1), 100, np.uint8)
    lit = np.array(layer(grey, training=True))[:, 0, 0, 0]
    assert 80 <= lit.min() < 84 and 116 < lit.max() <= 120


def test_ten_views_are_shifts_with_repeated_border_and_their_mirrors():
    image = np.arange(48 * 48, dtype=np.int32).reshape(1, 48, 48)
    views = preprocess.views(image, 2)
    assert len(views) == 10 and all(view.shape == image.shape for view in views)
    np.testing.assert_array_equal(views[0], image)
    np.testing.assert_array_equal(views[5], image[:, :, ::-1])
    shifted = {tuple(view[0, 20, 20:22]) for view in views[:5]}
    row = 48 * 20 + 20
    moved = [0, -96, 96, -2, 2]
    assert shifted == {(row + by, row + by + 1) for by in moved}
    up = next(view for view in views[1:5] if view[0, 20, 20] == row - 96)
    np.testing.assert_array_equal(up[0, 0], image[0, 0])  # the border is repeated


def test_views_are_turned_and_scaled_about_the_centre_both_ways(face):
    views = preprocess.views(face[None], rotation=5, zoom=0.06)
    assert len(views) == 10 and all(v.shape == (1, 48, 48) for v in views)
    turned = [preprocess.views(face[None], rotation=90)[place][0] for place in (1, 2)]
    assert {turned[0].tobytes(), turned[1].tobytes()} == {
        np.rot90(face, 1).tobytes(), np.rot90(face, 3).tobytes()
    }  # fmt: skip
    square = np.zeros((1, 48, 48), np.uint8)
    square[0, 14:34, 14:34] = 255
    smaller, larger = preprocess.views(square, zoom=0.2)[1:3]
    sides = [np.sqrt(view.sum() / 255) for view in (smaller, larger)]
    assert sides == pytest.approx([16, 24], abs=0.5)
