"""What a recipe says of the runs that it builds on, by name; `predecessors` finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

# of the protocols that train on the same images: what each selects on, and what it tests on
PARTS = {
    "official": ({"PublicTest"}, {"PrivateTest"}),
    "publictest": ({"PublicTest"}, {"PublicTest"}),
    "kaggle": ({"PublicTest", "PrivateTest"}, {"PublicTest", "PrivateTest"}),
}


def named(training: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, what it says) for each key of a recipe that names a predecessor, settled or not."""
    if told := training.get("distillation"):
        yield "distillation.teacher", told["teacher"]
    if told := training.get("start_from"):
        yield "start_from", told


def replaced(training: dict[str, Any], by: Callable[[str, Any], Any]) -> dict[str, Any]:
    """A recipe with `by(key, what it says)` in place of what each key of `named` says."""
    made = dict(training)
    for key, told in named(training):
        if key == "start_from":
            made[key] = by(key, told)
        else:
            made["distillation"] = training["distillation"] | {"teacher": by(key, told)}
    return made


def is_model(name: str) -> bool:
    """Is a predecessor named as a model, and not as a folder?"""
    return "/" not in name


def model_of(told: str | dict[str, str]) -> str:
    """The model whose run a predecessor is, settled or not."""
    if isinstance(told, dict):
        return told["run"].split("/")[0]
    parts = Path(told).parts  # .../runs/<model>/seed_<n>, and a protocol
    return next((one for one, then in pairwise(parts) if then.startswith("seed_")), parts[-1])
