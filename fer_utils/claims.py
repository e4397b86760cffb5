"""The papers' claims (params/claims.yaml) against the finished runs of a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fer_utils.parameters import PARAMS, model, read_yaml
from fer_utils.results import Run

COLUMNS = [
    "paper", "claim", "claimed", "measured", "low", "high", "verdict", "reason", "run_id", "folder"
]  # fmt: skip


def read() -> list[dict[str, Any]]:
    """All claims, in the order of the file."""
    return read_yaml(PARAMS / "claims.yaml")["claims"]


def paper(name: str) -> str:
    """Title and origin of a paper by its short name; the short name if it is not listed."""
    return read_yaml(PARAMS / "claims.yaml")["papers"].get(name, name)


def of_model(run_id: str) -> pd.DataFrame:
    """The claims about one model: paper, claim, claimed value."""
    rows = [claim for claim in read() if claim["run"] == run_id]
    return pd.DataFrame(rows, columns=["paper", "claim", "claimed"])


def accuracies() -> pd.DataFrame:
    """The claimed test accuracies: run, claimed."""
    rows = [claim for claim in read() if claim.get("split") == "test"]
    return pd.DataFrame(rows, columns=["run", "claimed"])


def verdicts(runs: list[Run]) -> pd.DataFrame:
    """One row per claim with the measured value, its 95 % interval, the verdict and its reason."""
    first = {run.metrics["run_id"]: run for run in reversed(runs)}
    return pd.DataFrame([_judge(claim, first) for claim in read()], columns=COLUMNS)


def _judge(claim: dict[str, Any], runs: dict[str, Run]) -> dict[str, Any]:
    row = {key: claim[key] for key in ("paper", "claim", "claimed")}
    row |= {"measured": None, "low": None, "high": None, "verdict": "cannot be decided"}
    needed = [claim["run"], *([claim["above"]] if "above" in claim else [])]
    row["run_id"] = claim["run"]
    missing = [name for name in needed if name not in runs]
    if missing:
        return row | {"reason": f"the study has no run of {missing[0]}"}
    run = runs[claim["run"]]
    row["folder"] = f"runs/{run.metrics['run_id']}/seed_{run.metrics['seed']}"
    if "above" in claim:
        split, n = run.metrics["protocol"]["test"], run.test["n"]
        measured, low, high = accuracy_difference(run, runs[claim["above"]])
        row |= {"measured": measured, "low": low, "high": high}
        verdict = "reproduced" if low > 0 else "worse" if high < 0 else "cannot be decided"
        reason = f"difference of accuracy on the same {n:,} images of {split}"
    else:
        split = run.metrics["protocol"][claim["split"]]
        score, claimed = run.metrics["scores"][split], claim["claimed"]
        low, high = score["accuracy_low"], score["accuracy_high"]
        row |= {"measured": score["accuracy"], "low": low, "high": high}
        verdict = "better" if low > claimed else "worse" if high < claimed else "reproduced"
        reason = f"accuracy on {score['n']:,} images of {split}"
    reason += f", {run.metrics['protocol']['name']} protocol"
    if run.metrics["data"]["synthetic"]:
        return row | {"reason": "measured on synthetic faces; run it with --data PATH"}
    for name in needed:
        if runs[name].metrics["params"]["training"] != model(name)["training"]:
            reason += f", with a recipe for {name} that is not the paper's: run the full profile"
            return row | {"reason": reason}
    return row | {"verdict": verdict, "reason": reason}


def accuracy_difference(run: Run, other: Run) -> tuple[float, float, float]:
    """Accuracy of `run` minus that of `other` on the same images, with its 95 % interval.

    Paired normal approximation: the standard error of the mean of the per-image differences.
    """
    correct = []
    for each in (run, other):
        test = each.predictions(each.metrics["protocol"]["test"])
        order = np.argsort(test["index"])
        right = test["probabilities"].argmax(axis=1) == test["labels"]
        correct.append((test["index"][order], right[order].astype(float)))
    (index, first), (other_index, second) = correct
    if not np.array_equal(index, other_index):
        raise ValueError(f"{run.label} and {other.label} were not tested on the same images")
    difference = first - second
    mean = float(difference.mean())
    error = 1.96 * float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return mean, mean - error, mean + error
