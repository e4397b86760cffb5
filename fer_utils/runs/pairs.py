"""Two runs on the same images: the difference of their accuracies with a paired interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fer_utils.runs.store import Run


def accuracy_difference(run: Run, other: Run, role: str = "test") -> tuple[float, float, float]:
    """Accuracy of `run` minus that of `other` on the same images, with its 95 % interval.

    `role` is the part, "test" or "validation"; ValueError if its images differ.
    """
    first, second = right(run, role), right(other, role)
    if not first.index.equals(second.index):
        raise ValueError(f"{run.label} and {other.label} were not tested on the same images")
    return difference(first, second)


def right(run: Run, role: str = "test") -> pd.Series:
    """Is a run right about each image of a part, by the image's place in the data, in order?"""
    of = run.predictions(run.metrics["protocol"][role])
    correct = of["probabilities"].argmax(axis=1) == of["labels"]
    return pd.Series(correct, of["index"]).sort_index()


def difference(first: pd.Series, second: pd.Series) -> tuple[float, float, float]:
    """Share of `first` minus that of `second`, bools about the same images, with its 95 % interval.

    Paired normal approximation: the standard error of the mean of the per-image differences.
    """
    each = first.to_numpy(float) - second.to_numpy(float)
    mean, error = float(each.mean()), 1.96 * float(each.std(ddof=1)) / np.sqrt(len(each))
    return mean, mean - error, mean + error
