"""Random geometric augmentation of a whole batch as one affine warp, inside the training graph."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = ("rotation", "width_shift", "height_shift", "shear", "zoom", "horizontal_flip")


def matrices(
    rotation: Any, shift_x: Any, shift_y: Any, shear: Any, zoom_x: Any, zoom_y: Any, flip: Any
) -> Any:
    """Affine maps from output to input pixels, (n, 8), for images of 48x48, backend tensors.

    Angles in degrees, shifts in pixels, `flip` 0 or 1. The meaning of each value and the order
    (rotate, shift, shear, zoom about the image centre, then mirror) are those of Keras'
    ImageDataGenerator, which the papers used.
    """
    from keras import ops

    centre = (48 - 1) / 2
    theta, slope = rotation * (np.pi / 180), shear * (np.pi / 180)
    cos, sin = ops.cos(theta), ops.sin(theta)
    # rotation @ shear @ zoom on (x, y) offsets from the centre
    xx, xy = cos * zoom_x, -(cos * ops.sin(slope) + sin * ops.cos(slope)) * zoom_y
    yx, yy = sin * zoom_x, (cos * ops.cos(slope) - sin * ops.sin(slope)) * zoom_y
    # a mirrored output reads its column from the other side
    sign = 1.0 - 2.0 * flip
    xx, yx = xx * sign, yx * sign
    rest_x = centre + cos * shift_x - sin * shift_y - (xx + xy) * centre
    rest_y = centre + sin * shift_x + cos * shift_y - (yx + yy) * centre
    zero = ops.zeros_like(theta)
    return ops.stack([xx, xy, rest_x, yx, yy, rest_y, zero, zero], axis=1)


def random_affine(
    rotation: float = 0,
    width_shift: float = 0,
    height_shift: float = 0,
    shear: float = 0,
    zoom: float = 0,
    horizontal_flip: bool = False,
    seed: int = 0,
) -> Any:
    """Keras layer that warps uint8 or float images (n, 48, 48, 1) in training, float32 out.

    Ranges mean what they mean in Keras' ImageDataGenerator: `rotation` and `shear` in degrees to
    either side, shifts as a share of the side, `zoom` z as a factor from 1 - z to 1 + z for each
    axis by itself. Pixels from outside repeat the border (fill_mode "nearest").
    """
    import keras
    from keras import ops, random

    class RandomAffine(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(dtype="float32", autocast=False, name="random_affine")
            self.generator = random.SeedGenerator(seed)

        def call(self, images: Any, training: bool = False) -> Any:
            images = ops.cast(images, "float32")
            if not training:
                return images
            n = ops.shape(images)[0]

            def between(low: float, high: float) -> Any:
                return random.uniform((n,), low, high, seed=self.generator)

            transforms = matrices(
                between(-rotation, rotation),
                between(-width_shift * 48, width_shift * 48),
                between(-height_shift * 48, height_shift * 48),
                between(-shear, shear),
                between(1 - zoom, 1 + zoom),
                between(1 - zoom, 1 + zoom),
                ops.cast(between(0, 1) < (0.5 if horizontal_flip else 0.0), "float32"),
            )
            return ops.image.affine_transform(
                images, transforms, interpolation="bilinear", fill_mode="nearest"
            )

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    return RandomAffine()
