"""What happens between epochs: keep the best, stop early, lower the learning rate."""

from __future__ import annotations

from typing import Any


class Schedule:
    """The rules of a recipe; `state` is plain data, so that a checkpoint can hold it.

    They are those of Keras' ModelCheckpoint, EarlyStopping and ReduceLROnPlateau callbacks, which
    the papers used and which cannot be resumed.
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
