"""What a study was asked for and the report lacks: notebooks that failed, models without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbconvert.filters import strip_ansi

from fer_utils import config as parameters
from fer_utils.runs.store import Run

Trouble = tuple[str, str, str]  # title, reason, the failed notebook relative to the report


def find(study: Path, plan: dict[str, Any], runs: list[Run], others: list[Run]) -> list[Trouble]:
    """Failed notebooks first, then models that have no finished run or no notebook.

    `runs` are those that the report shows, `others` those on other data.
    """
    titles = {run.metrics["run_id"]: run.metrics["params"]["title"] for run in [*runs, *others]}
    titles |= {name: params[0]["title"] for name, params in plan.get("recipes", {}).items()}
    known, found, failed = parameters.names("models"), [], set()
    for path in sorted(study.glob("failed/*.ipynb")):
        model, of_model, seed = path.stem.rpartition("_seed_")
        if of_model and model not in known:  # its parameter file was deleted since
            continue
        place = f"runs/{model}/seed_{seed}" if of_model else path.stem
        title = f"{titles.get(model, model)}, seed {seed}" if of_model else f"Chapter {path.stem}"
        earlier = (study / place / "notebook.ipynb").is_file()
        reason = error(path) + "; its chapter here is of an earlier run" * earlier
        found.append((title, reason, f"failed/{path.name}"))
        failed.add(place)
    shown = {run.place for run in runs if run.metrics["protocol"]["name"] == "official"}
    elsewhere = {run.place for run in others}
    for place in dict.fromkeys([*plan.get("runs", []), *sorted(shown)]):
        if place in failed or place in shown and (study / place / "notebook.ipynb").is_file():
            continue
        _, model, seed = Path(place).parts
        reason = "its finished run is of other data" if place in elsewhere else "no finished run"
        reason = "no notebook, only a record" if place in shown else reason
        found.append((f"{titles.get(model, model)}, {seed.replace('_', ' ')}", reason, ""))
    return found


def error(path: Path) -> str:
    """First line of the error that ended a notebook."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError):
        return "failed, and its notebook cannot be read"
    for output in (each for cell in notebook.cells for each in cell.get("outputs", [])):
        if output.output_type == "error":
            line = f"{output.ename}: {output.evalue}".strip().splitlines()[0]
            return f"failed with {strip_ansi(line)[:300]}"
    # papermill writes the notebook there from its start on
    return "not finished: its notebook was stopped, or is still running"
