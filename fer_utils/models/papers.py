"""Keras builders of the networks in the papers.

Every model takes pixel values 0 to 255 of shape (n, 48, 48, 1), scales them itself and returns
class probabilities (n, classes) in float32, so a saved model needs nothing but images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_utils.base import ParameterError
from fer_utils.models import torchvision
from fer_utils.models.builders import builder, class_probabilities, scaled_pixels

if TYPE_CHECKING:
    import keras


@builder
def basic_cnn(classes: int = 7, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """Basic CNN of engdata301 (section "Model architectures"): 839,047 parameters at 7 classes.

    Conv 32 3x3 ReLU, max-pool 2x2; Conv 64 3x3 ReLU, max-pool 2x2; dense 128 ReLU; softmax.
    The paper does not give the padding; "valid", the Keras default, is used.
    """
    from keras import Sequential, layers

    return Sequential(
        [
            *scaled_pixels(scale, offset),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            class_probabilities(classes),
        ],
        name="basic_cnn",
    )


@builder
def deep_cnn(
    classes: int = 7,
    scale: float = 1 / 255,
    offset: float = 0.0,
    block_dropout: float = 0.25,
    dropout: float = 0.5,
) -> keras.Model:
    """Deep CNN of engdata301 (section "Model architectures"): 2,651,623 parameters at 7 classes.

    Three blocks of two 3x3 convolutions (32, 64, 128 filters) with batch normalisation, max-pool
    2x2 and dropout; dense 512 ReLU; dropout 0.5; softmax. The paper leaves open the padding, the
    order within a block and the dropout of the blocks; taken are "same", so that six convolutions
    fit 48 pixels, normalisation before the ReLU as in Ioffe and Szegedy 2015, and 0.25.
    """
    from keras import Sequential, layers

    stack = scaled_pixels(scale, offset)
    for filters in (32, 64, 128):
        for _ in range(2):
            stack += [
                layers.Conv2D(filters, 3, padding="same", use_bias=True),
                layers.BatchNormalization(),
                layers.Activation("relu"),
            ]
        stack += [layers.MaxPooling2D(), layers.Dropout(block_dropout)]
    stack += [
        layers.Flatten(),
        layers.Dense(512, activation="relu"),
        layers.Dropout(dropout),
        class_probabilities(classes),
    ]
    return Sequential(stack, name="deep_cnn")


@builder
def resnet50(
    classes: int = 7,
    scale: float = 1 / 255,
    offset: float = 0.0,
    size: int = 224,
    fine_tune: str = "head",
    dropout: float = 0.5,
    stride_in_3x3: bool = False,
) -> keras.Model:
    """ResNet-50 of engdata301 (section "Model architectures"): 24,114,055 parameters at 7 classes.

    Faces scaled up to `size` pixels and replicated to three channels; ResNet-50 (He et al. 2016,
    Keras' own) without its top; global average pooling; dense 256 ReLU; dropout 0.5; softmax.
    `fine_tune` names what is trained: the "head" (the paper), the "last_stage" (conv5) with it, or
    "all". The network starts with random weights; `transfer.load` gives it others, torchvision's in
    the form that `stride_in_3x3` builds. The pixels are scaled to [0, 1] as the paper says, not as
    ImageNet weights were trained; the order of the colours makes no difference to grey faces.
    """
    import keras
    from keras import layers

    if fine_tune not in ("head", "last_stage", "all"):
        raise ParameterError(f"fine_tune is '{fine_tune}'; valid are head, last_stage, all")
    pixels, rescaling = scaled_pixels(scale, offset)
    stack = layers.Resizing(size, size, name="upscaled")(rescaling(pixels))
    stack = layers.Concatenate(name="channels")([stack, stack, stack])
    base = keras.applications.ResNet50(
        include_top=False, weights=None, input_tensor=stack, pooling="avg"
    )
    base = torchvision.stride_in_3x3(base) if stride_in_3x3 else base
    for layer in base.layers:
        layer.trainable = fine_tune == "all" or (
            fine_tune == "last_stage" and layer.name.startswith("conv5")
        )
    hidden = layers.Dense(256, activation="relu")(base.output)
    output = class_probabilities(classes)(layers.Dropout(dropout)(hidden))
    return keras.Model(base.input, output, name="resnet50")


@builder
def six_layer_cnn(classes: int = 7, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """Network of six-layer-2020 (section IV C): 1,210,343 parameters at 7 classes.

    Six ReLU convolutions with a max-pool after every two (3x3 stride 2, 3x3 stride 2, 2x2 stride
    2), two dropouts of 0.2, one dense ReLU layer, softmax. The paper gives 1.2 million parameters
    but no filters: taken are 3x3 "same" convolutions with 32, 64 and 128 filters, for which 288
    dense units (the next multiple of 32) meet that number; the dropouts stand on either side of
    the dense layer. Unpadded 64, 128 and 256 filters with 64 dense units meet it too, but learn
    the training images more slowly (36 against 44 % after four epochs, seed 0), and the paper's
    network fits them almost wholly.
    """
    from keras import Sequential, layers

    stack = scaled_pixels(scale, offset)
    for filters, pool in ((32, 3), (64, 3), (128, 2)):
        stack += [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(pool, strides=2),
        ]
    stack += [
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(288, activation="relu"),
        layers.Dropout(0.2),
        class_probabilities(classes),
    ]
    return Sequential(stack, name="six_layer_cnn")


@builder
def dcnn_three_class(classes: int = 3, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """DCNN of korchi (section 3.3): 2,395,075 parameters at 3 classes.

    Blocks of two convolutions with 64 (5x5), 128 (3x3) and 256 (3x3) filters, ELU, he_normal, batch
    normalisation, max-pool 2x2 and dropout 0.4, 0.4, 0.5; dense 128 ELU; batch normalisation;
    dropout 0.6; softmax. The paper leaves open the padding and whether each convolution or each
    block is normalised; taken are "same" and each convolution, after its ELU as in the list.
    """
    from keras import Sequential, layers

    stack = scaled_pixels(scale, offset)
    for filters, kernel, dropout in ((64, 5, 0.4), (128, 3, 0.4), (256, 3, 0.5)):
        for _ in range(2):
            stack += [
                layers.Conv2D(
                    filters,
                    kernel,
                    padding="same",
                    activation="elu",
                    kernel_initializer="he_normal",
                ),
                layers.BatchNormalization(),
            ]
        stack += [layers.MaxPooling2D(), layers.Dropout(dropout)]
    stack += [
        layers.Flatten(),
        layers.Dense(128, activation="elu", kernel_initializer="he_normal"),
        layers.BatchNormalization(),
        layers.Dropout(0.6),
        class_probabilities(classes),
    ]
    return Sequential(stack, name="dcnn_three_class")


def _hejslet_vetterstein(
    name: str,
    blocks: tuple[tuple[int, ...], ...],
    dense: int,
    block_dropout: float,
    classes: int,
    scale: float,
    offset: float,
) -> keras.Model:
    from keras import Sequential, layers

    stack = scaled_pixels(scale, offset)
    for block in blocks:
        for filters in block:
            stack += [
                layers.Conv2D(filters, 3, padding="same", activation="relu"),
                layers.BatchNormalization(),
            ]
        stack += [layers.MaxPooling2D(), layers.Dropout(block_dropout)]
    stack += [
        layers.Flatten(),
        layers.Dense(dense, activation="relu"),
        layers.Dropout(0.5),
        class_probabilities(classes),
    ]
    return Sequential(stack, name=name)


@builder
def heavy_cnn(classes: int = 7, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """First network of hejslet-vetterstein (section 4.3): 5,279,431 parameters at 7 classes.

    3x3 ReLU convolutions, batch normalisation after each: 64, 64; 128, 128; 256; max-pool 2x2 and
    dropout 0.25 after each block; dense 512 ReLU; dropout 0.5; softmax. The padding is not given;
    with "same" the network has the "+5 million" parameters of the paper, without it 1.7 million.
    """
    blocks = ((64, 64), (128, 128), (256,))
    return _hejslet_vetterstein("heavy_cnn", blocks, 512, 0.25, classes, scale, offset)


@builder
def light_cnn(classes: int = 7, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """Second network of hejslet-vetterstein (section 6.1): 1,469,543 parameters at 7 classes.

    heavy_cnn reduced to 1.5 million parameters, dropout 0.40 after each block. The paper does not
    say what was reduced: taken is half of all filters (32, 32; 64, 64; 128) and the multiple of 32
    dense units that comes nearest to its number, 288.
    """
    blocks = ((32, 32), (64, 64), (128,))
    return _hejslet_vetterstein("light_cnn", blocks, 288, 0.40, classes, scale, offset)


@builder
def pipeline_cnn(classes: int = 7, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """CNN of choudhari (section 3.4): 684,423 parameters at 7 classes.

    The paper names the layers (convolution, max-pool, dropout, batch normalisation, dense, softmax)
    and no size. Taken is the plainest network that fits: three blocks of one 3x3 ReLU convolution
    (32, 64, 128, "same"), batch normalisation, max-pool 2x2 and dropout 0.25; dense 128 ReLU;
    dropout 0.5; softmax.
    """
    from keras import Sequential, layers

    stack = scaled_pixels(scale, offset)
    for filters in (32, 64, 128):
        stack += [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
        ]
    stack += [
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.5),
        class_probabilities(classes),
    ]
    return Sequential(stack, name="pipeline_cnn")
