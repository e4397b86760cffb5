"""Mixup and CutMix: each training image with a part of another one, its label likewise."""

from __future__ import annotations

from typing import Any

import numpy as np


def draw(
    targets: np.ndarray, kind: str, alpha: float, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(partner (n,), mix float32 (n, 5), targets (n, classes)) for images with labels `targets`.

    `partner` is the place of each image's other one, `mix` the weight of the image itself and the
    rectangle (left, top, width, height in pixels) that the other one covers. The weight is from
    Beta(alpha, alpha), a `share` of the images is mixed. "mixup" adds the two (Zhang et al. 2018),
    "cutmix" pastes a rectangle (Yun et al. 2019).
    """
    n = len(targets)
    partner = rng.permutation(n)
    kept = np.where(rng.random(n) < share, rng.beta(alpha, alpha, n), 1.0)
    mix = np.zeros((n, 5), np.float32)
    mix[:, 0] = kept
    if kind == "cutmix":
        side = np.rint(48 * np.sqrt(1 - kept))
        corner = np.floor(rng.random((n, 2)) * (49 - side)[:, None])
        mix = np.column_stack([np.ones(n), corner, side, side]).astype(np.float32)
        kept = 1 - (side / 48) ** 2
    mixed = kept[:, None] * targets + (1 - kept)[:, None] * targets[partner]
    return partner, mix, mixed.astype(np.float32)


def layer() -> Any:
    """Keras layer from (images, others, mix) to mixed images; both (n, 48, 48, 1), mix (n, 5)."""
    import keras
    from keras import ops

    class Mixing(keras.layers.Layer):
        def call(self, images: Any, others: Any, mix: Any) -> Any:
            places = ops.arange(48, dtype="float32")
            kept, left, top, width, height = (mix[:, i, None] for i in range(5))
            columns = (places >= left) & (places < left + width)
            rows = (places >= top) & (places < top + height)
            pasted = ops.cast((rows[:, :, None] & columns[:, None, :])[..., None], "float32")
            weight = kept[:, :, None, None] * (1 - pasted)
            images, others = ops.cast(images, "float32"), ops.cast(others, "float32")
            return weight * images + (1 - weight) * others

        def compute_output_shape(self, images_shape: Any, others_shape: Any, mix_shape: Any) -> Any:
            return images_shape

    return Mixing(dtype="float32", autocast=False, name="mixing")
