"""FER-Net, the network of this study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fer_utils.models.builders import builder, class_probabilities, scaled_pixels

if TYPE_CHECKING:
    import keras


@builder
def fer_net(
    classes: int = 7,
    scale: float = 1 / 255,
    offset: float = 0.0,
    filters: tuple[int, ...] = (32, 64, 128, 256),
    residuals: int = 1,
    squeeze: bool = False,
    dropout: float = 0.3,
) -> keras.Model:
    """This study's own residual network: 1,961,639 parameters at 7 classes.

    For each of `filters` a stage, with max-pool 2x2 between stages: a 3x3 convolution, then
    `residuals` residual units of two 3x3 convolutions, batch normalisation before every ReLU, no
    biases (He et al. 2016). `squeeze` weighs the channels of each residual by squeeze and
    excitation (Hu et al. 2018). Global average pooling; dropout; softmax.
    """
    import keras
    from keras import layers

    def convolution(stack: Any, count: int) -> Any:
        stack = layers.Conv2D(count, 3, padding="same", use_bias=False)(stack)
        return layers.BatchNormalization()(stack)

    pixels, rescaling = scaled_pixels(scale, offset)
    stack = rescaling(pixels)
    for stage, count in enumerate(filters):
        if stage:
            stack = layers.MaxPooling2D()(stack)
        stack = layers.Activation("relu")(convolution(stack, count))
        for _ in range(residuals):
            inner = layers.Activation("relu")(convolution(stack, count))
            inner = convolution(inner, count)
            if squeeze:
                weights = layers.GlobalAveragePooling2D(keepdims=True)(inner)
                weights = layers.Conv2D(count // 8, 1, activation="relu")(weights)
                weights = layers.Conv2D(count, 1, activation="sigmoid")(weights)
                inner = layers.Multiply()([inner, weights])
            stack = layers.Activation("relu")(layers.Add()([stack, inner]))
    stack = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(stack))
    return keras.Model(pixels, class_probabilities(classes)(stack), name="fer_net")
