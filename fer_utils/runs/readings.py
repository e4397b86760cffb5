"""Other readings of what a paper leaves open: recipes in params/readings, and their records."""

from __future__ import annotations

import json
from pathlib import Path

from fer_utils.base import PARAMS, ROOT, ResultError
from fer_utils.config import model
from fer_utils.runs.faults import other_data
from fer_utils.runs.papers import read, recipe
from fer_utils.runs.store import Run

FOLDERS = ROOT / "results" / "reference" / "readings", ROOT / "results" / "readings"


def names(paper: str) -> list[str]:
    """The readings of a paper's systems, <reading>/<model>."""
    systems = read(paper).systems
    recipes = sorted((PARAMS / "readings").glob("*/*.yaml"))
    return [f"{path.parent.name}/{path.stem}" for path in recipes if path.stem in systems]


def records(name: str, folders: tuple[Path, ...] = FOLDERS, claim: str = "") -> dict[int, Run]:
    """The runs of a reading by seed, none if it was not run; ResultError for one of other data."""
    wanted = model(recipe(name), protocol="paper")
    found: dict[int, Run] = {}
    tops = [folder / name.split("/")[0] for folder in folders]
    for path in (path for top in tops for path in sorted(top.rglob("metrics.json"))):
        run = Run(path.parent, json.loads(path.read_text(encoding="utf-8")))
        key = run.metrics["run_id"], run.metrics["protocol"]["name"]
        if key != (wanted["id"], wanted["protocol"]):
            continue
        if why := other_data(run):
            told = f", nor the claim {claim!r}" if claim else ""
            raise ResultError(f"{path}: {why}, so it judges no paper{told}; move it away")
        found.setdefault(run.metrics["seed"], run)
    return found
