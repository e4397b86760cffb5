"""Verdicts on the papers' claims (params/papers) from the finished runs of a study.

1. A claim is about one network under its paper's own protocol, by every seed that was run. Its
   interval reaches from the lowest lower to the highest upper end of the seeds' 95 % intervals.
2. A value is *reproduced* if the claimed value, with half of its last printed digit, reaches into
   the interval, else the measurement is *higher* or *lower*. A statement *holds*, *does not
   hold*, or *holds for some seeds*.
3. Where a paper leaves a setting open, other readings of it are run (params/readings). If they
   lead to other verdicts, the verdict *depends on* that setting, and the row lists each reading.
4. A claim is *not tested* on synthetic faces, with a shortened recipe, or without what could not
   be had (ImageNet weights); the row gives the command.
5. Accuracy and loss in training are what Keras prints for the last epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_utils.config import model
from fer_utils.runs import papers as files
from fer_utils.runs import readings as other_readings
from fer_utils.runs.faults import fault, lacks_weights, not_fer2013, shortened
from fer_utils.runs.measures import MEASURES, STATEMENTS, Found
from fer_utils.runs.pairs import accuracy_difference, difference, right
from fer_utils.runs.papers import Claim, Paper, evidence_of_test_set, needs, papers
from fer_utils.runs.store import Run

__all__ = [  # of other modules, for those who judge claims
    "accuracy_difference", "difference", "evidence_of_test_set", "needs", "not_fer2013", "papers",
    "right", "shortened",
]  # fmt: skip
COLUMNS = [
    "paper", "claim", "measure", "claimed", "measured", "low", "high", "verdict", "reason",
    "place", "printed", "found", "up_to", "readings", "run_id", "folder", "command",
]  # fmt: skip
DEPENDS, NOT_TESTED = "depends on", "not tested"
VERDICTS = (
    "reproduced", "higher", "lower", "holds", "does not hold", "holds for some seeds", DEPENDS,
    NOT_TESTED,
)  # fmt: skip
UNITS = {  # how a value is written, and what it is multiplied by
    "percent": ("{:.1f} %", 100), "number": ("{:.2f}", 1), "points": ("{:+.1f} points", 100),
    "difference": ("{:+.2f}", 1), "share of epochs": ("{:.0f} % of the epochs", 100),
    "epoch": ("{:.3g}", 1), "epochs later": ("{:+.3g} epochs", 1),
}  # fmt: skip
Seeds = dict[int, list[Run]]  # the run of each seed, or the two that are compared


def read() -> dict[str, Paper]:
    """All papers by name; ParameterError names file, claim and fault."""
    return {name: files.read(name) for name in papers()}


def paper(name: str) -> str:
    """Title, authors and source of a paper; the name if it is none of the five."""
    if name not in papers():
        return name
    content = files.read(name)
    return f"{content.title}, {content.authors}, {content.source}"


def accuracies() -> pd.DataFrame:
    """The claimed accuracies on the test split: run, claimed."""
    rows = [
        {"run": claim.run, "claimed": claim.printed[0]}
        for content in read().values()
        for claim in content.claims
        if claim.measure == "accuracy" and claim.split == "test"
    ]
    return pd.DataFrame(rows, columns=["run", "claimed"])


def verdicts(
    runs: list[Run], run_id: str | None = None, readings: tuple[Path, ...] = other_readings.FOLDERS
) -> pd.DataFrame:
    """One row per claim, or per claim about one model alone; `readings` are folders of records."""
    if runs and all(run.metrics["data"]["synthetic"] for run in runs):
        readings = ()  # committed readings say nothing about drawn faces
    known: dict[tuple[str, str], dict[int, Run]] = {}
    for run in runs:
        key = run.metrics["run_id"], run.metrics["protocol"]["name"]
        known.setdefault(key, {})[run.metrics["seed"]] = run
    rows = [
        {"paper": name} | _row(content, claim, known, readings)
        for name, content in read().items()
        for claim in content.claims
        if run_id is None or claim.runs == [run_id]
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each paper (rows) got which verdict (columns)."""
    words = table["verdict"].where(~table["verdict"].str.startswith(DEPENDS), DEPENDS)
    found = pd.crosstab(table["paper"], words)
    return found[[word for word in VERDICTS if word in found]].rename_axis(None, axis="columns")


def _row(content: Paper, claim: Claim, known: Any, readings: tuple[Path, ...]) -> dict[str, Any]:
    row = {key: getattr(claim, key) for key in ("claim", "place", "measure")}
    row |= {"printed": claim.claimed, "verdict": NOT_TESTED}
    if claim.run is None:
        return row | {"reason": claim.untested, "command": claim.command}
    if claim.claimed:
        first, last, _ = claim.printed
        row |= {"claimed": first, "up_to": last if last > first else None}
    row |= {"run_id": claim.run.rpartition("/")[2], "command": _command(claim.runs)}
    seeds, why = _seeds(content, claim, claim.runs, known, readings)
    try:
        found = _measured(claim, seeds)
    except ValueError as error:  # the two models of an order share no test images
        return row | {"reason": str(error)}
    if found:
        row |= _numbers(claim, found) | {"reason": _told(claim, found)}
        row["folder"] = " and ".join(run.place for pair in seeds.values() for run in pair)
    if why:
        return row | {"reason": "; ".join(filter(None, [row.get("reason"), why]))}
    row["verdict"] = _verdict(claim, found)
    others = {} if any("/" in name for name in claim.runs) else _others(content, claim)
    depends, listed = [], [f"as in params/models {row['found']}, {row['verdict']}"]
    for reading, (open_setting, replaced) in others.items():
        seeds, why = _seeds(content, claim, replaced, known, readings)
        if why:
            listed.append(f"{reading} not yet run: {_command(replaced)}")
            continue
        found = _measured(claim, seeds)
        verdict = _verdict(claim, found)
        listed.append(f"{reading} {_numbers(claim, found)['found']}, {verdict}")
        if verdict != row["verdict"] and open_setting not in depends:
            depends.append(open_setting)
    if depends:
        row["verdict"] = f"{DEPENDS} {' and '.join(depends)}"
    return row | ({"readings": "; ".join(listed)} if others else {})


def _others(content: Paper, claim: Claim) -> dict[str, tuple[str, list[str]]]:
    """Readings of a paper that change a run of a claim: the open setting and the runs instead."""
    found = {}
    for reading in content.readings:
        replaced = [f"{reading.name}/{n}" if n in reading.models else n for n in claim.runs]
        if replaced != claim.runs:
            found[reading.name] = reading.open, replaced
    return found


def _command(run_ids: list[str]) -> str:
    """How to make the runs that are missing."""
    commands = [
        f"python -m fer_utils.training params/readings/{name}.yaml --data PATH --protocol paper "
        f"--results results/readings/{name.partition('/')[0]}"
        for name in run_ids
        if "/" in name
    ]
    if plain := [name for name in run_ids if "/" not in name]:
        commands.insert(0, f"./run_all.sh --data PATH --only {' '.join(plain)}")
    return " and ".join(commands)


def _seeds(
    content: Paper, claim: Claim, run_ids: list[str], known: Any, readings: tuple[Path, ...]
) -> tuple[Seeds, str]:
    """The runs of each seed that all of `run_ids` have, and why they decide nothing, or ""."""
    found = []
    for name in run_ids:
        wanted = model(files.recipe(name), protocol="paper")
        key = wanted["id"], wanted["protocol"]
        by_seed = known.get(key, {})
        if "/" in name:
            by_seed = other_readings.records(name, readings, claim.claim)
        if not by_seed:
            return {}, f"there is no run of {name} under the {key[1]} protocol"
        for run in by_seed.values():
            if why := lacks_weights(run, content.imagenet.get(name)):
                return {}, why
        found.append((by_seed, wanted))
    common = sorted(set.intersection(*(set(by_seed) for by_seed, _ in found)))
    if not common:
        return {}, f"no seed is common to the runs of {' and '.join(run_ids)}"
    faults = {n: next(filter(None, (fault(of[n], wanted) for of, wanted in found)), "")
              for n in common}  # fmt: skip
    good = [n for n in common if not faults[n]] or common
    return {n: [of[n] for of, _ in found] for n in good}, faults[good[0]]


def _measured(claim: Claim, seeds: Seeds) -> dict[int, Found]:
    return {seed: MEASURES[claim.measure].of(claim, *pair) for seed, pair in seeds.items()}


def _verdict(claim: Claim, found: dict[int, Found]) -> str:
    """Rule 2, of the measurements of all seeds."""
    if claim.measure in STATEMENTS:
        held = [each.holds for each in found.values()]
        return "holds" if all(held) else "holds for some seeds" if any(held) else "does not hold"
    first, last, half = claim.printed
    low, high = min(each.low for each in found.values()), max(each.high for each in found.values())
    return "lower" if high < first - half else "higher" if low > last + half else "reproduced"


def _numbers(claim: Claim, found: dict[int, Found]) -> dict[str, Any]:
    """Mean of the seeds, with the interval that covers theirs, and the same in words."""
    value = float(np.mean([each.value for each in found.values()]))
    low, high = min(each.low for each in found.values()), max(each.high for each in found.values())
    unit = MEASURES[claim.measure].unit
    if unit == "printed":  # as the paper prints it
        unit = "percent" if {"%", "of"} & {*(claim.claimed or "").split()} else "number"
    form, scale = UNITS[unit]
    words = form.format(scale * value)
    if high > low:
        ends = form.split("}")[0] + "}"
        words += f" ({ends} to {ends})".replace("+", "").format(scale * low, scale * high)
    return {"measured": value, "low": low, "high": high, "found": words}


def _told(claim: Claim, found: dict[int, Found]) -> str:
    """What was counted in the first seed, each seed's value, and whether an order is uncertain."""
    first, *others = found
    told = found[first].what
    if others:
        values = ", ".join(f"{each.value:.3g}" for each in found.values())
        told += f" (seed {first}); seeds {', '.join(map(str, found))}: {values}"
    in_points = MEASURES[claim.measure].unit == "points"
    if in_points and any(each.low < 0 < each.high for each in found.values()):
        told += "; the 95 % interval includes 0"
    return told
