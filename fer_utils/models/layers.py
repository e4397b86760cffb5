"""Layers for training at the speed of the device: images held there, fused normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np


def held(images: np.ndarray) -> Any:
    """A Keras layer from places int32 (n,) to images (n, ...), which go to the device once."""
    import keras
    from keras import ops

    class Held(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(dtype="float32", autocast=False, name="held")
            self.images = self.add_weight(
                shape=images.shape,
                dtype=images.dtype.name,
                initializer=lambda shape, dtype: ops.convert_to_tensor(images),
                trainable=False,
                name="images",
            )

        def call(self, places: Any) -> Any:
            return ops.take(self.images, places, axis=0)

        def compute_output_spec(self, places: Any) -> Any:
            shape = (*places.shape, *images.shape[1:])
            return keras.KerasTensor(shape, dtype=images.dtype.name)

    return Held()


def fuse(network: Any) -> Any:
    """A copy of a network whose batch normalisation runs as one fused operation on TensorFlow.

    The copy has its own weights, in the order of the original's; arithmetic and moving averages
    are those of keras.layers.BatchNormalization, which needs many small float32 operations.
    Returned as it is on other backends, where the compiler does the same by itself.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return network

    def replace(layer: Any) -> Any:
        plain = type(layer) is keras.layers.BatchNormalization
        return (_fused_class() if plain else type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=replace)
    copy.set_weights(network.get_weights())
    return copy


def _fused_class() -> Any:
    import keras
    import tensorflow as tf

    class FusedBatchNormalization(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            rank = len(inputs.shape)
            if rank != 4 or self.axis not in (-1, 3) or not (self.scale and self.center):
                return super().call(inputs, training=training, mask=mask)
            gamma, beta = tf.cast(self.gamma, tf.float32), tf.cast(self.beta, tf.float32)
            if not (training and self.trainable):
                return tf.compat.v1.nn.fused_batch_norm(
                    inputs, gamma, beta, tf.cast(self.moving_mean, tf.float32),
                    tf.cast(self.moving_variance, tf.float32), self.epsilon, is_training=False,
                )[0]  # fmt: skip
            output, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                inputs, gamma, beta, epsilon=self.epsilon, is_training=True
            )
            # the operation divides by n - 1, Keras by n
            count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
            variance *= (count - 1) / count
            for average, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                average.assign(average * self.momentum + batch * (1 - self.momentum))
            return output

    return FusedBatchNormalization
