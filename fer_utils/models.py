"""Keras builders of the networks in the papers.

Every model takes pixel values 0 to 255 of shape (n, 48, 48, 1), scales them itself and returns
class probabilities (n, classes) in float32, so a saved model needs nothing but images.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fer_utils.parameters import ParameterError

if TYPE_CHECKING:
    import keras

SHARED = ("classes", "scale", "offset")  # what every builder takes, and the data settle
_BUILDERS: dict[str, Callable[..., keras.Model]] = {}


def builder(function: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Register a builder under its function name."""
    _BUILDERS[function.__name__] = function
    return function


def names() -> list[str]:
    """Names of all builders, sorted."""
    return sorted(_BUILDERS)


def check(id: str, options: dict[str, Any]) -> None:
    """ParameterError if there is no builder `id`, or for an option that it does not take.

    An option's value is of the kind of its default.
    """
    if id not in _BUILDERS:
        near = difflib.get_close_matches(id, _BUILDERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParameterError(f"unknown model builder '{id}'; {hint}known are {', '.join(names())}")
    parameters = inspect.signature(_BUILDERS[id]).parameters
    known = [name for name in parameters if name not in SHARED]
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        if unknown[0] in SHARED:
            takes = "`classes` of the file and `training.pixels` settle it"
        raise ParameterError(f"{id} has no option '{unknown[0]}'; {takes}")
    for name, value in options.items():
        default = parameters[name].default
        if default not in (None, inspect.Parameter.empty) and not _alike(value, default):
            shown = [*default] if isinstance(default, tuple) else default
            raise ParameterError(
                f"option '{name}' of {id} is {value!r} but must be of the kind of its default, "
                f"{shown!r}"
            )


def _alike(value: Any, default: Any) -> bool:
    """Is a value of the kind of a default? Whole numbers are floats, too, and truths are none."""
    if isinstance(default, tuple):
        several = isinstance(value, list | tuple) and len(value) > 0
        return several and all(_alike(each, default[0]) for each in value)
    if isinstance(value, bool) or isinstance(default, bool):
        return type(value) is type(default)
    return isinstance(value, int | float if isinstance(default, float) else type(default))


def build(id: str, **overrides: Any) -> keras.Model:
    """Build the network `id`; `overrides` are the builder's own keyword arguments.

    All builders take `classes` (number of outputs) and the pixel scaling `scale` and `offset`
    (input * scale + offset). Raises ParameterError for an unknown id or keyword.
    """
    check(id, {name: value for name, value in overrides.items() if name not in SHARED})
    return _BUILDERS[id](**overrides)


def describe(id: str) -> str:
    """What a builder says of itself: paper, architecture, parameters and what was left open."""
    return inspect.getdoc(_BUILDERS[id]) or ""


def _pixels(scale: float, offset: float) -> list[keras.layers.Layer]:
    from keras import Input, layers

    return [Input((48, 48, 1), name="pixels"), layers.Rescaling(scale, offset)]


def _probabilities(classes: int) -> keras.layers.Layer:
    # float32 whatever the precision of the rest: bfloat16 probabilities have two digits
    from keras import layers

    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")


@builder
def basic_cnn(classes: int = 7, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """Basic CNN of engdata301 (section "Model architectures"): 839,047 parameters at 7 classes.

    Conv 32 3x3 ReLU, max-pool 2x2; Conv 64 3x3 ReLU, max-pool 2x2; dense 128 ReLU; softmax.
    The paper does not give the padding; "valid", the Keras default, is used.
    """
    from keras import Sequential, layers

    return Sequential(
        [
            *_pixels(scale, offset),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            _probabilities(classes),
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

    stack = _pixels(scale, offset)
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
        _probabilities(classes),
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
) -> keras.Model:
    """ResNet-50 of engdata301 (section "Model architectures"): 24,114,055 parameters at 7 classes.

    Faces scaled up to `size` pixels and replicated to three channels; ResNet-50 (He et al. 2016,
    Keras' own) without its top; global average pooling; dense 256 ReLU; dropout 0.5; softmax.
    `fine_tune` names what is trained: the "head" (the paper), the "last_stage" (conv5) with it, or
    "all". The network starts with random weights; `transfer.load` gives it others. The pixels are
    scaled to [0, 1] as the paper says, not as ImageNet weights were trained.
    """
    import keras
    from keras import layers

    if fine_tune not in ("head", "last_stage", "all"):
        raise ParameterError(f"fine_tune is '{fine_tune}'; valid are head, last_stage, all")
    pixels, rescaling = _pixels(scale, offset)
    stack = layers.Resizing(size, size, name="upscaled")(rescaling(pixels))
    stack = layers.Concatenate(name="channels")([stack, stack, stack])
    base = keras.applications.ResNet50(
        include_top=False, weights=None, input_tensor=stack, pooling="avg"
    )
    for layer in base.layers:
        layer.trainable = fine_tune == "all" or (
            fine_tune == "last_stage" and layer.name.startswith("conv5")
        )
    hidden = layers.Dense(256, activation="relu")(base.output)
    output = _probabilities(classes)(layers.Dropout(dropout)(hidden))
    return keras.Model(pixels, output, name="resnet50")


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

    stack = _pixels(scale, offset)
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
        _probabilities(classes),
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

    stack = _pixels(scale, offset)
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
        _probabilities(classes),
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

    stack = _pixels(scale, offset)
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
        _probabilities(classes),
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

    stack = _pixels(scale, offset)
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
        _probabilities(classes),
    ]
    return Sequential(stack, name="pipeline_cnn")


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

    pixels, rescaling = _pixels(scale, offset)
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
    return keras.Model(pixels, _probabilities(classes)(stack), name="fer_net")
