"""Why a run decides nothing about its paper: other data, another recipe, other weights."""

from __future__ import annotations

from typing import Any

from fer_utils.config import merge, model, names
from fer_utils.runs.store import Run, used

WHOLE = {"training": 28709, "test": 7178}  # images of FER2013


def lacks_weights(run: Run, options: dict[str, Any] | None) -> str:
    """Why a network that needs ImageNet weights is not the paper's, or nothing."""
    params = run.metrics["params"]
    if options is None or run.metrics["data"]["synthetic"]:
        return ""
    if not params["training"].get("weights"):
        return (f"{run.metrics['run_id']} was trained without ImageNet weights: run it where Keras "
                "can download them, or name your copy in its file (weights: PATH)")  # fmt: skip
    if params["options"] != options:
        return f"{run.metrics['run_id']} was not run as in the paper, {options}"
    return ""


def fault(run: Run, wanted: dict[str, Any]) -> str:
    """Why a run decides nothing about a paper, or nothing."""
    if why := other_data(run):
        return why
    if _recipe(run.metrics["params"]) != _recipe(wanted):
        return f"the recipe of {run.metrics['run_id']} was shortened: run the full profile"
    return ""


def other_data(run: Run) -> str:
    if run.metrics["data"]["synthetic"]:
        return "measured on synthetic faces"
    return not_fer2013(run.metrics["data"]["totals"])


def not_fer2013(totals: dict[str, int]) -> str:
    """What data of so many images for each usage are if not the whole of FER2013, or nothing."""
    training = totals.get("Training")
    if training != WHOLE["training"] or sum(totals.values()) != sum(WHOLE.values()):
        return f"not the whole of FER2013 ({WHOLE['training']:,} and {WHOLE['test']:,} images)"
    return ""


def _recipe(of: dict[str, Any]) -> dict[str, Any]:
    options = {} if of["training"].get("weights") else of.get("options") or {}
    return {**used(of["training"]), "weights": None, "options": options}


def shortened(runs: list[Run]) -> list[str]:
    """Titles of the models with a run that a profile or an option changed from its file."""
    cut = {}
    for run in runs:
        params = run.metrics["params"]
        if run.metrics["run_id"] in names("models"):
            own = "official" if params["protocol"] == "official" else "paper"
            whole = model(run.metrics["run_id"], protocol=own)
            if not params["training"].get("weights"):
                whole = merge(whole, whole.get("from_scratch", {}))
            if _recipe(params) != _recipe(whole):
                cut[params["title"]] = True
    return list(cut)
