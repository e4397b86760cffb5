"""The registry of builders: names, options, build."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fer_utils.base import ParameterError
from fer_utils.models import devices

if TYPE_CHECKING:
    import keras


_BUILDERS: dict[str, Callable[..., keras.Model]] = {}
SHARED = ("classes", "scale", "offset")  # what every builder takes, and the data settle


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
    devices.keras_defaults()
    return _BUILDERS[id](**overrides)


def describe(id: str) -> str:
    """What a builder says of itself: paper, architecture, parameters and what was left open."""
    return inspect.getdoc(_BUILDERS[id]) or ""


def source(id: str) -> str:
    """The code of a builder."""
    return inspect.getsource(_BUILDERS[id])


def scaled_pixels(scale: float, offset: float) -> list[keras.layers.Layer]:
    from keras import Input, layers

    return [Input((48, 48, 1), name="pixels"), layers.Rescaling(scale, offset)]


def class_probabilities(classes: int) -> keras.layers.Layer:
    # float32 whatever the precision of the rest: bfloat16 probabilities have two digits
    from keras import layers

    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")
