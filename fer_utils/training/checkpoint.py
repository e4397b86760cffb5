"""The state of a training after its last whole epoch, in a file that survives a kill.

Keras' BackupAndRestore, tried with Keras 3.15.1 on the Basic CNN with augmentation, does not give
the numbers of an uninterrupted training:

- EarlyStopping and ReduceLROnPlateau start again with `wait` 0 and `best` None;
- the generator of the augmentation layer, made in its `__init__`, starts again with its seed;
- history and best weights are not in the backup, and it does not know parameters or data;
- a training_metadata.json that a kill left empty raises JSONDecodeError, a cut weights file OSError
  (not with double_checkpoint);
- it writes the images that the model has on the device, too, as ModelCheckpoint does.

Nor does SwapEMAWeights: it swaps by adding and subtracting, after which half of the weights of a
dense layer differed by up to 1.5e-8; `recipe.averaged` copies them. CSVLogger writes the row of an
epoch that is trained again a second time.
"""

from __future__ import annotations

import json
import zipfile
from typing import Any

import numpy as np

from fer_utils.base import replacing
from fer_utils.models import devices

FILE = "checkpoint.npz"


def save(made: Any) -> None:
    """Write weights, optimizer, schedule and history of a training; the images stay out of it."""
    arrays = {f"variable_{i}": devices.array(each) for i, each in enumerate(_variables(made))}
    arrays |= {f"best_{i}": weight for i, weight in enumerate(made.best_weights)}
    state = {
        "history": made.history,
        "counters": [(rule.wait, rule.best) for rule in made.rules],
        "stopped": made.trainer.stop_training,
        "identity": made.task.identity,
        "engine": made.engine,
    }
    with replacing(made.folder / FILE) as temporary, open(temporary, "wb") as file:
        np.savez(file, state=np.array(json.dumps(state)), **arrays)


def resume(made: Any) -> bool:
    """Continue from the checkpoint of the same recipe, data and engine, if there is one."""
    for half_written in made.folder.glob(".checkpoint.*.partial.npz"):
        half_written.unlink()  # by a killed process
    variables = _variables(made)
    try:
        with np.load(made.folder / FILE, allow_pickle=False) as saved:
            state = json.loads(str(saved["state"]))
            if state["identity"] != made.task.identity:
                made.say(
                    "the checkpoint is of other parameters, data or training version: training anew"
                )
                return False
            if state["engine"] != made.engine:
                engine = " ".join(str(value) for value in state["engine"].values())
                made.say(f"the checkpoint was trained with {engine}: training starts anew")
                return False
            values = [saved[f"variable_{i}"] for i in range(len(variables))]
            best = [saved[f"best_{i}"] for i in range(len(made.learner.weights))]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return False  # none, or damaged: training starts anew
    made.history, made.counters, made.best_weights = state["history"], state["counters"], best
    made.trainer.stop_training = state["stopped"]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return True


def remove(made: Any) -> None:
    """Remove the checkpoint of a finished training."""
    (made.folder / FILE).unlink(missing_ok=True)


def _variables(made: Any) -> list[Any]:
    """All that training changes."""
    state = [v for v in made.trainer.variables if v is not made.held.images]
    return [*state, *made.trainer.optimizer.variables]
