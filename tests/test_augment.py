"""Augmentation: ranges mean what ImageDataGenerator's mean, pixel for pixel."""

import numpy as np
import pytest
from scipy import ndimage

from fer_utils import augment


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

    names = ("rotation", "shift_x", "shift_y", "shear", "zoom_x", "zoom_y", "flip")
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
    np.testing.assert_allclose(warped(face, **values, flip=1), mirrored, atol=2e-3)


def test_nothing_changes_outside_training(face):
    layer = augment.random_affine(rotation=30, horizontal_flip=True)
    batch = np.repeat(face[None, ..., None], 3, axis=0)
    np.testing.assert_array_equal(layer(batch, training=False), batch)


def test_shift_stays_within_its_range_and_reaches_it(face):
    layer = augment.random_affine(width_shift=0.1, seed=1)
    ramp = np.tile(np.arange(48, dtype=np.float32), (400, 48, 1))[..., None]
    moved = np.array(layer(ramp, training=True))[:, 24, 24, 0] - 24
    assert np.abs(moved).max() <= 4.8 + 1e-3
    assert np.ptp(moved) > 9 and abs(moved.mean()) < 0.5
    column = np.tile(np.arange(48, dtype=np.float32)[:, None], (400, 1, 48))[..., None]
    np.testing.assert_allclose(np.array(layer(column, training=True)), column, atol=1e-3)


def test_flip_is_half_of_the_time(face):
    layer = augment.random_affine(horizontal_flip=True, seed=2)
    batch = np.repeat(face[None, ..., None], 600, axis=0)
    flipped = [
        not np.allclose(image, face, atol=0.01)
        for image in np.array(layer(batch, training=True))[..., 0]
    ]
    assert 0.43 < np.mean(flipped) < 0.57
