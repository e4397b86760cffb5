"""What a recipe asks for: optimizer, loss, averaged weights, and the rules between epochs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fer_utils.models import devices


def optimizer(recipe: dict[str, Any], steps: int) -> Any:
    """The recipe's Keras optimizer for a training of `steps` batches.

    `weight_decay` is Keras' decoupled one, each step takes learning_rate * weight_decay of every
    kernel (Loshchilov and Hutter 2019); biases and normalisation keep their values.
    """
    import keras

    rate = recipe["learning_rate"]
    if recipe["one_cycle"] is not None:
        rate = one_cycle(rate, steps, **recipe["one_cycle"])
    settings = {"learning_rate": rate, "weight_decay": recipe["weight_decay"]}
    if recipe["weight_average"]:
        settings |= {"use_ema": True, "ema_momentum": recipe["weight_average"]}
    if recipe["optimizer"] == "sgd":
        made = keras.optimizers.SGD(momentum=recipe["momentum"], nesterov=True, **settings)
    else:
        made = keras.optimizers.Adam(**settings)
    if recipe["weight_decay"]:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def one_cycle(peak: float, steps: int, rise: float = 0.3) -> Any:
    """Learning rate from peak / 25 to `peak` in a share `rise` of the steps, then down to nothing.

    By cosines; after Smith and Topin 2019.
    """
    import keras
    from keras import ops

    class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            done = ops.cast(step, "float32") / steps
            up, down = (ops.clip(x, 0, 1) for x in (done / rise, (done - rise) / (1 - rise)))
            low = 0.04 * (1 + ops.cos(np.pi * up)) / 2
            return peak * ops.where(
                done < rise, low + (1 - ops.cos(np.pi * up)) / 2, (1 + ops.cos(np.pi * down)) / 2
            )

        def get_config(self) -> dict[str, Any]:
            return {"peak": peak, "steps": steps, "rise": rise}

    return OneCycle()


def rate(made: Any) -> float:
    """The learning rate of the next batch."""
    from keras import ops

    current = made.learning_rate
    return float(
        devices.array(current) if hasattr(current, "value") else ops.convert_to_numpy(current)
    )


def soft_labels(recipe: dict[str, Any]) -> bool:
    """Are labels shares of classes (n, classes), not places of classes (n,)?"""
    return bool(recipe["label_smoothing"] or recipe["mixing"])


def loss(recipe: dict[str, Any]) -> Any:
    """Cross-entropy, with the recipe's label smoothing (Szegedy et al. 2016)."""
    import keras

    if soft_labels(recipe):
        return keras.losses.CategoricalCrossentropy(label_smoothing=recipe["label_smoothing"])
    return "sparse_categorical_crossentropy"


@contextlib.contextmanager
def averaged(made: Any, variables: list[Any]) -> Iterator[None]:
    """In the block, `variables` hold their running average, where the recipe has one."""
    inner = getattr(made, "inner_optimizer", made)  # float16 wraps it for the loss scaling
    averages = inner._model_variables_moving_average if inner.use_ema else []

    def swap() -> None:
        for variable, average in zip(variables, averages, strict=False):
            value = devices.array(variable)
            variable.assign(devices.array(average))
            average.assign(value)

    swap()
    try:
        yield
    finally:
        swap()


def rules(recipe: dict[str, Any]) -> list[Any]:
    """Keras' callbacks that the papers used: to lower the learning rate, and to stop."""
    from keras import callbacks

    made, plateau, stopping = [], recipe["reduce_lr"], recipe["early_stopping"]
    modes = {"val_loss": "min", "val_accuracy": "max"}
    if plateau:
        names = {"minimum": "min_lr"}
        asked = {names.get(key, key): value for key, value in plateau.items()}
        made.append(callbacks.ReduceLROnPlateau(**asked, mode=modes[asked["monitor"]]))
    if stopping:
        made.append(callbacks.EarlyStopping(**stopping, mode=modes[stopping["monitor"]]))
    return made


def best_epoch(recipe: dict[str, Any], history: list[dict[str, float]]) -> int:
    """The epoch whose weights are kept: the first of the best ones, or the last."""
    monitor = recipe["keep_best"]
    if monitor == "last":
        return len(history)
    sign = -1 if monitor == "val_loss" else 1
    return 1 + int(np.argmax([sign * entry[monitor] for entry in history]))
