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
    # every fit() is one epoch, and Keras would put the average in place at the end of each
    made.finalize_variable_values = lambda variables: None
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


class Schedule:
    """The rules of a recipe; `state` is plain data, so that a checkpoint can hold it.

    They are those of Keras' ModelCheckpoint, EarlyStopping and ReduceLROnPlateau callbacks, which
    the papers used. Keras' own forget their counters when a training is resumed.
    """

    def __init__(self, recipe: dict[str, Any]) -> None:
        self.recipe = recipe
        self.state: dict[str, Any] = {"best_epoch": 0, "stop_wait": 0, "lr_wait": 0}

    def finished(self, epochs_done: int) -> bool:
        """Are the epochs used up, or has the monitored value stood still for too long?"""
        stopping = self.recipe["early_stopping"]
        stopped = stopping and self.state["stop_wait"] >= stopping["patience"]
        return bool(stopped) or epochs_done >= self.recipe["epochs"]

    def follow(self, entry: dict[str, float]) -> bool:
        """Take in one epoch's history entry: is it the best so far?

        The state's `learning_rate` is then that of the next epoch, as far as a plateau sets it.
        """
        self.state["learning_rate"] = entry["learning_rate"]
        best = self._improved("best", self.recipe["keep_best"], entry)
        if best:
            self.state["best_epoch"] = entry["epoch"]
        stopping, plateau = self.recipe["early_stopping"], self.recipe["reduce_lr"]
        if stopping:
            better = self._improved("stop_best", stopping["monitor"], entry)
            self.state["stop_wait"] = 0 if better else self.state["stop_wait"] + 1
        if plateau:
            # 1e-4 is the callback's min_delta
            better = self._improved("lr_best", plateau["monitor"], entry, margin=1e-4)
            self.state["lr_wait"] = 0 if better else self.state["lr_wait"] + 1
            if self.state["lr_wait"] >= plateau["patience"]:
                self.state["lr_wait"] = 0
                lowered = entry["learning_rate"] * plateau["factor"]
                self.state["learning_rate"] = max(lowered, plateau.get("minimum", 0.0))
        return best

    def _improved(self, slot: str, monitor: str, entry: dict, margin: float = 0.0) -> bool:
        if monitor == "last":
            return True
        value = entry[monitor] if monitor == "val_accuracy" else -entry[monitor]
        if slot not in self.state or value > self.state[slot] + margin:
            self.state[slot] = value
            return True
        return False
