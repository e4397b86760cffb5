"""Random augmentation of a whole batch inside the training graph, no Python for an image.

All geometry composes into one affine warp.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def matrices(
    rotation: Any, shift_x: Any, shift_y: Any, shear: Any, zoom_x: Any, zoom_y: Any, *flips: Any
) -> Any:
    """Affine maps from output to input pixels, (n, 8), for images of 48x48, backend tensors.

    Angles in degrees, shifts in pixels; `flips` 0 or 1, left to right and upside down. Meanings and
    order (rotate, shift, shear, zoom about the image centre, then mirror) are those of Keras'
    ImageDataGenerator, which the papers used.
    """
    from keras import ops

    centre = (48 - 1) / 2
    theta, slope = rotation * (np.pi / 180), shear * (np.pi / 180)
    cos, sin = ops.cos(theta), ops.sin(theta)
    # rotation @ shear @ zoom on (x, y) offsets from the centre
    xx, xy = cos * zoom_x, -(cos * ops.sin(slope) + sin * ops.cos(slope)) * zoom_y
    yx, yy = sin * zoom_x, (cos * ops.cos(slope) - sin * ops.sin(slope)) * zoom_y
    # a mirrored output reads its column, or its row, from the other side
    signs = [1.0 - 2.0 * flip for flip in flips]
    xx, yx, xy, yy = xx * signs[0], yx * signs[0], xy * signs[1], yy * signs[1]
    rest_x = centre + cos * shift_x - sin * shift_y - (xx + xy) * centre
    rest_y = centre + sin * shift_x + cos * shift_y - (yx + yy) * centre
    zero = ops.zeros_like(theta)
    return ops.stack([xx, xy, rest_x, yx, yy, rest_y, zero, zero], axis=1)


def warp(images: Any, maps: Any) -> Any:
    """Images under affine maps; pixels from outside repeat the border."""
    from keras import ops

    return ops.image.affine_transform(images, maps, interpolation="bilinear", fill_mode="nearest")


def illuminate(images: Any, brightness: Any, contrast: Any) -> Any:
    """Pixels 0 to 255 (n, 48, 48, 1) times `brightness` (n,), spread by `contrast` (n,).

    `contrast` is the factor of a pixel's distance from its image's mean; what leaves 0 to 255 is
    clipped, after each of the two.
    """
    from keras import ops

    images = ops.clip(images * brightness[:, None, None, None], 0, 255)
    mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
    return ops.clip((images - mean) * contrast[:, None, None, None] + mean, 0, 255)


def erase(images: Any, x: Any, y: Any, width: Any, height: Any) -> Any:
    """Images (n, 48, 48, 1) with a rectangle of each, in pixels, at the image's mean.

    After random erasing (Zhong et al. 2020), which fills with noise.
    """
    from keras import ops

    places = ops.arange(48, dtype="float32")
    columns = (places >= x[:, None]) & (places < (x + width)[:, None])
    rows = (places >= y[:, None]) & (places < (y + height)[:, None])
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    return ops.where(inside, ops.mean(images, axis=(1, 2, 3), keepdims=True), images)


def rectangles(between: Any, share: float) -> tuple[Any, Any, Any, Any]:
    """Corner, width and height of a random rectangle for a `share` of the images, width 0 else.

    It covers 2 to 33 % of the pixels, of aspect 1:3 to 3:1. `between` draws uniform values for a
    batch between two bounds.
    """
    from keras import ops

    area = between(0.02, 0.33) * 48 * 48
    aspect = ops.exp(between(-np.log(3), np.log(3)))
    width = ops.minimum(ops.sqrt(area * aspect), 48)
    height = ops.minimum(ops.sqrt(area / aspect), 48)
    x, y = between(0, 1) * (48 - width), between(0, 1) * (48 - height)
    width *= ops.cast(between(0, 1) < share, "float32")
    return x, y, width, height


def layer(
    rotation: float = 0,
    width_shift: float = 0,
    height_shift: float = 0,
    shear: float = 0,
    zoom: float | list[float] = 0,
    horizontal_flip: bool = False,
    vertical_flip: bool = False,
    brightness: float = 0,
    contrast: float = 0,
    erasing: float = 0,
    seed: int = 0,
) -> Any:
    """Keras layer that augments uint8 or float images (n, 48, 48, 1) in training, float32 out.

    Ranges mean what they mean in Keras' ImageDataGenerator: `rotation` and `shear` in degrees to
    either side, shifts as a share of the side, `zoom` z as a factor from 1 - z to 1 + z (or the two
    factors) for each axis by itself. Pixels from outside repeat the border (fill_mode "nearest").
    `brightness` and `contrast` b are factors from 1 - b to 1 + b, `erasing` a share of images.
    """
    from keras import layers, ops, random

    zooms = zoom if isinstance(zoom, list) else [1 - zoom, 1 + zoom]
    flips = horizontal_flip, vertical_flip
    moved = any([rotation, width_shift, height_shift, shear, zooms != [1, 1], *flips])

    class RandomAugmentation(layers.Layer):
        def __init__(self) -> None:
            super().__init__(dtype="float32", autocast=False, name="random_augmentation")
            self.generator = random.SeedGenerator(seed)

        def call(self, images: Any, training: bool = False) -> Any:
            images = ops.cast(images, "float32")
            if not training:
                return images
            n = ops.shape(images)[0]

            def between(low: float, high: float) -> Any:
                return random.uniform((n,), low, high, seed=self.generator)

            if moved:
                moves = [rotation, width_shift * 48, height_shift * 48, shear]
                drawn = [between(-most, most) for most in moves]
                drawn += [between(*zooms), between(*zooms)]
                drawn.append(ops.cast(between(0, 1) < (0.5 if horizontal_flip else 0.0), "float32"))
                # drawn only where asked for: recipes without it keep their random numbers
                down = between(0, 1) < 0.5 if vertical_flip else ops.zeros((n,))
                images = warp(images, matrices(*drawn, ops.cast(down, "float32")))
            if brightness or contrast:
                factors = (between(1 - b, 1 + b) for b in (brightness, contrast))
                images = illuminate(images, *factors)
            if erasing:
                images = erase(images, *rectangles(between, erasing))
            return images

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    return RandomAugmentation()
