"""What a study was asked for and the report lacks: notebooks that failed, models without a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_utils import config as parameters
from fer_utils.runs.store import Run

LONGEST = 300


@dataclass(frozen=True)
class Trouble:
    """A model or chapter that failed or is missing."""

    title: str
    told: str
    notebook: str = ""  # the failed one, relative to the report


def find(study: Path, plan: dict[str, Any], runs: list[Run], others: list[Run]) -> list[Trouble]:
    """Failed notebooks first, then models of the plan that no run of the study is of.

    `runs` are those that the report shows, `others` those on other data.
    """
    titles = {run.metrics["run_id"]: run.metrics["params"]["title"] for run in [*runs, *others]}
    titles |= {name: params[0]["title"] for name, params in plan.get("complete", {}).items()}

    def label(model: str, seed: int) -> str:
        return f"{titles.get(model, model)}, seed {seed}"

    shown, elsewhere = ({_key(run) for run in some} for some in (runs, others))
    found, failed, known = [], set(), parameters.names("models")
    for path in sorted(study.glob("failed/*.ipynb")):
        name = path.stem
        title, place = f"Chapter {name}", name
        if of_model := re.fullmatch(r"(.+)_seed_(\d+)", name):
            model, seed = of_model[1], int(of_model[2])
            if model not in known:  # its file is gone, and with it the way to mend it
                continue
            failed.add((model, seed))
            title, place = label(model, seed), _place(model, seed)
        earlier = "; its chapter here is of an earlier run" if _executed(study / place) else ""
        found.append(Trouble(title, error(path) + earlier, f"failed/{path.name}"))
    for key in dict.fromkeys([*planned(plan), *sorted(shown)]):
        if key in failed or (key in shown and _executed(study / _place(*key))):
            continue
        why = "its finished run is of other data" if key in elsewhere else "no finished run"
        found.append(Trouble(label(*key), "no notebook, only a record" if key in shown else why))
    return found


def planned(plan: dict[str, Any]) -> list[tuple[str, int]]:
    """Model and seed of the runs that a study was asked for."""
    places = (Path(run).parts for run in plan.get("runs", []))
    return [(model, int(seed.removeprefix("seed_"))) for _, model, seed in places]


def error(path: Path) -> str:
    """First line of the error that ended a notebook."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError):
        return "failed, and its notebook cannot be read"
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                lines = f"{output.ename}: {output.evalue}".strip().splitlines()
                return "failed with " + re.sub(r"\x1b\[[0-9;]*m", "", lines[0])[:LONGEST]
    # papermill writes the notebook there from its start on
    return "not finished: its notebook was stopped, or is still running"


def _place(model: str, seed: int) -> str:
    return f"runs/{model}/seed_{seed}"


def _executed(folder: Path) -> bool:
    return (folder / "notebook.ipynb").is_file()


def _key(run: Run) -> tuple[str, int]:
    return run.metrics["run_id"], run.metrics["seed"]
