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

_BUILDERS: dict[str, Callable[..., keras.Model]] = {}


def builder(function: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """Register a builder under its function name."""
    _BUILDERS[function.__name__] = function
    return function


def names() -> list[str]:
    """Names of all builders, sorted."""
    return sorted(_BUILDERS)


def check(id: str, options: dict[str, Any]) -> None:
    """ParameterError if there is no builder `id` or if it does not take one of the options."""
    if id not in _BUILDERS:
        near = difflib.get_close_matches(id, _BUILDERS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParameterError(f"unknown model builder '{id}'; {hint}known are {', '.join(names())}")
    known = list(inspect.signature(_BUILDERS[id]).parameters)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ParameterError(f"{id} has no option '{unknown[0]}'; it takes {', '.join(known)}")


def build(id: str, **overrides: Any) -> keras.Model:
    """Build the network `id`; `overrides` are the builder's own keyword arguments.

    All builders take `classes` (number of outputs) and the pixel scaling `scale` and `offset`
    (input * scale + offset). Raises ParameterError for an unknown id or keyword.
    """
    check(id, overrides)
    return _BUILDERS[id](**overrides)


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
