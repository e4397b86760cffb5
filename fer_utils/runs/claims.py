"""The papers' claims (params/claims.yaml) against the finished runs of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fer_utils.base import PARAMS, ParameterError, ResultError
from fer_utils.config import merge, model, names, read_yaml
from fer_utils.runs.schema import check
from fer_utils.runs.store import Run, used
from fer_utils.scores import accuracy_interval, f1_scores, redrawn

COLUMNS = [
    "paper", "claim", "claimed", "measured", "low", "high", "verdict", "reason", "run_id",
    "folder", "command", "measure", "up_to", "other_reading",
]  # fmt: skip
UNDECIDED = "cannot be decided"
VERDICTS = ("reproduced", "better", "worse", UNDECIDED)
LOWER_IS_BETTER = ("loss", "training_loss", "confused")
OF_TRAINING = (
    "training_accuracy", "training_loss", "epochs", "best_epoch", "validation_above_training",
)  # fmt: skip
HAS_ONE_RIGHT_VALUE = (
    "epochs", "best_epoch", "validation_above_training", "easiest", "hardest",
)  # fmt: skip
OF_PREDICTIONS = ("loss", "above")
RESAMPLES = 1000
SECTIONS = {"papers": dict, "needs": dict, "images": dict, "claims": list, "test_set": list}


class Measured(NamedTuple):
    """A value with its 95 % interval (none where there is no sample) and what it was taken from.

    `other_reading` is the value by another reading of the claim.
    """

    value: float
    low: float | None
    high: float | None
    of: str
    other_reading: float | None = None


def read(path: Path = PARAMS / "claims.yaml") -> list[dict[str, Any]]:
    """All claims, in the order of the file; ParameterError names a wrong one and its fault."""
    claims, known = _content(path)["claims"], names("models")
    for number, claim in enumerate(claims, 1):
        where = f"{path}, claim {number}"
        if isinstance(claim, dict) and "claim" in claim:
            where += f" ({claim['claim']})"
        check(claim, "claim", where)
        for key in {"run", "other"} & claim.keys():
            if claim[key] not in known:
                raise ParameterError(
                    f"{where}: `{key}` is no model: {claim[key]}; known are {', '.join(known)}"
                )
        if claim.get("measure") in OF_TRAINING:
            if "builder" not in read_yaml(PARAMS / "models" / f"{claim['run']}.yaml"):
                raise ParameterError(
                    f"{where}: `measure` is {claim['measure']}, but {claim['run']} is no network "
                    "that is trained by epochs"
                )
    return claims


def _content(path: Path = PARAMS / "claims.yaml") -> dict[str, Any]:
    content = read_yaml(path)
    for key, kind in SECTIONS.items():
        if not isinstance(content.get(key), kind):
            what = "list" if kind is list else "mapping"
            raise ParameterError(f"{path}: `{key}` is missing or no {what}")
    return content


def paper(name: str) -> str:
    """Title and origin of a paper by its short name; the short name if it is not listed."""
    return _content()["papers"].get(name, name)


def accuracies() -> pd.DataFrame:
    """The claimed accuracies on the test split, ranges left out: run, claimed."""
    rows = [c for c in read() if c.get("measure") == "accuracy" and not {"split", "up_to"} & {*c}]
    return pd.DataFrame(rows, columns=["run", "claimed"])


def evidence_of_test_set(counts: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Does six-layer-2020's test set have the sizes of PublicTest or PrivateTest?

    `counts` are images per split and class. A printed percentage fits a split if a whole number of
    its images gives it. Columns: statement and, for either split, its images and whether it fits.
    """
    rows = []
    for said in _content()["test_set"]:
        row = {"statement": said["statement"]}
        for split in ("PublicTest", "PrivateTest"):
            n = counts.get(split, {}).get(said["class"], 0)
            if "images" in said:
                row[split], row[f"{split} fits"] = f"{n:,} images", n == said["images"]
                continue
            right = round(said["percent"] / 100 * n)
            share = 100 * right / n if n else 0.0
            row[split] = f"{right:,} of {n:,} is {share:.2f} %"
            row[f"{split} fits"] = round(share, 2) == said["percent"]
        rows.append(row)
    return pd.DataFrame(rows)


def verdicts(runs: list[Run], run_id: str | None = None) -> pd.DataFrame:
    """One row per claim, or per claim about one model, with value, interval, verdict and reason."""
    by_seed: dict[tuple[str, str], dict[int, Run]] = {}
    for run in runs:
        key = run.metrics["run_id"], run.metrics["protocol"]["name"]
        by_seed.setdefault(key, {})[run.metrics["seed"]] = run
    chosen = read()
    if run_id:  # alone, so without the claims that compare it with another model
        chosen = [c for c in chosen if c.get("run") == run_id and "other" not in c]
    return pd.DataFrame([_judge(claim, by_seed) for claim in chosen], columns=COLUMNS)


def _judge(claim: dict[str, Any], runs: dict[tuple[str, str], dict[int, Run]]) -> dict[str, Any]:
    row = {key: claim.get(key) for key in ("paper", "claim", "claimed", "measure", "up_to")}
    row |= dict.fromkeys(("measured", "low", "high", "other_reading")) | {"verdict": UNDECIDED}
    if "run" not in claim:
        return row | {"reason": claim["reason"], "command": claim["command"]}
    needed = [claim["run"], *([claim["other"]] if "other" in claim else [])]
    row |= {
        "run_id": claim["run"],
        "command": f"./run_all.sh --data PATH --only {' '.join(needed)}",
    }
    complete = {name: model(name, protocol="paper") for name in needed}
    keys = [(name, complete[name]["protocol"]) for name in needed]
    missing = [key for key in keys if key not in runs]
    if missing:
        name, protocol = missing[0]
        why = f"the study has no run of {name} under the {protocol} protocol"
        if name in _content()["needs"]:
            why += (
                ", which needs ImageNet weights: run it where Keras can download them, or name "
                "your copy in its file (weights: PATH)"
            )
        return row | {"reason": why}
    shared = set.intersection(*(set(runs[key]) for key in keys))
    if not shared:  # the seed draws what a protocol holds out
        return row | {"reason": f"no seed is common to the runs of {' and '.join(needed)}"}
    by_seed = {
        seed: _judge_seed(claim, complete, [runs[key][seed] for key in keys])
        for seed in sorted(shared)
    }
    first, *others = by_seed  # of several seeds the first is judged
    row |= by_seed[first]
    if any(by_seed[seed]["verdict"] != row["verdict"] for seed in others):
        told = ", ".join(f"{by_seed[seed]['verdict']} by seed {seed}" for seed in others)
    elif others:
        told = f"the same verdict by seed{'s' * (len(others) > 1)} {' and '.join(map(str, others))}"
    if others:
        row["reason"] += f"; {told}"
    return row


def _judge_seed(
    claim: dict[str, Any], complete: dict[str, dict[str, Any]], used: list[Run]
) -> dict[str, Any]:
    """What the runs of one seed tell of a claim; `complete` are the parameters that decide it."""
    row = {"folder": " and ".join(run.place for run in used), "verdict": UNDECIDED}
    classes = {claim.get("class"), claim.get("predicted"), *claim.get("classes", ())} - {None}
    if unknown := sorted(classes - set(used[0].metrics["protocol"]["classes"])):
        return row | {"reason": f"{claim['run']} has no class {unknown[0]}"}
    try:
        measured = MEASURES[claim["measure"]](claim, *used)
    except ValueError as error:  # the two models of an order share no test images
        return row | {"reason": str(error)}
    except ResultError as error:  # no predictions, so no interval
        why = next(filter(None, map(_not_the_papers, used, complete.values())), str(error))
        return row | {"measured": _recorded(claim, *used), "reason": why}
    row |= {key: getattr(measured, key) for key in ("low", "high", "other_reading")}
    row["measured"] = measured.value
    for run, paper in zip(used, complete.values(), strict=True):
        if why := _not_the_papers(run, paper):
            return row | {"reason": f"{measured.of}; {why}"}
    widened = _as_two_samples(claim, used[0], measured)
    verdict, why = _verdict(claim, widened), measured.of
    if widened != measured:
        why += (
            "; the paper drew its own test images, so the interval counts times the root of two "
            f"({widened.low:.3f} to {widened.high:.3f})"
        )
    if measured.other_reading is not None and verdict == UNDECIDED:
        why += "; these do not agree about the claim, and the paper does not say which it gives"
    if "hangs_on" in claim and verdict == "worse":
        verdict, why = UNDECIDED, f"{why}; worse here, but that hangs on {claim['hangs_on']}"
        row |= {"command": claim["command"]} if "command" in claim else {}
    return row | {"verdict": verdict, "reason": why}


def _not_the_papers(run: Run, paper: dict[str, Any]) -> str:
    """Why a run cannot decide a claim, or nothing."""
    params, name = run.metrics["params"], run.metrics["run_id"]
    if run.metrics["data"]["synthetic"]:
        return "measured on synthetic faces, which decide nothing"
    content = _content()
    if why := not_fer2013(run.metrics["data"]["totals"]):
        return why
    needs = content["needs"].get(name)
    weights = params["training"].get("weights")
    if needs and not weights:
        return (
            f"{name} was trained from scratch, not from ImageNet weights, which could not be had; "
            "run it where Keras can download them, or name your copy in its file (weights: PATH)"
        )
    if needs and weights["kind"] != needs["weights"]:
        return (
            f"{name} started from {weights['name']}, which is not Keras' file of ImageNet weights"
        )
    if needs and params["options"] != needs["options"]:
        return f"{name} was not run as in the paper, {needs['options']}"
    if _recipe(params) != _recipe(paper):
        return f"the recipe of {name} was cut: run the full profile"
    return ""


def not_fer2013(totals: dict[str, int]) -> str:
    """What data of so many images for each usage are if not the whole of FER2013, or nothing."""
    whole, training = _content()["images"], totals.get("Training")
    if training != whole["training"] or sum(totals.values()) != training + whole["test"]:
        return f"not the whole of FER2013 ({whole['training']:,} and {whole['test']:,} images)"
    return ""


def _recipe(of: dict[str, Any]) -> dict[str, Any]:
    return {**used(of["training"]), "weights": None, "options": of.get("options") or {}}


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


def _as_two_samples(claim: dict[str, Any], run: Run, measured: Measured) -> Measured:
    """The interval times the root of two, where the paper's number is of images drawn by itself.

    It then has a sampling error of its own, of about the same size.
    """
    protocol = run.metrics["protocol"]["name"]
    drawn = protocol == "pooled" or (protocol == "holdout" and claim.get("split") == "validation")
    if not drawn or measured.low is None or claim["measure"] == "above":
        return measured
    low, high = (
        measured.value + 2**0.5 * (end - measured.value) for end in (measured.low, measured.high)
    )
    return measured._replace(low=low, high=high)


def _verdict(claim: dict[str, Any], measured: Measured) -> str:
    if measured.other_reading is not None:
        second = measured._replace(value=measured.other_reading, other_reading=None)
        found = {_verdict(claim, each) for each in (measured._replace(other_reading=None), second)}
        return found.pop() if len(found) == 1 else UNDECIDED
    low = measured.value if measured.low is None else measured.low
    high = measured.value if measured.high is None else measured.high
    if claim["measure"] == "above":
        return "reproduced" if low > 0 else "worse" if high < 0 else UNDECIDED
    first, last = claim["claimed"], claim.get("up_to", claim["claimed"])
    margin = claim.get("within", 0)
    if claim["measure"] in HAS_ONE_RIGHT_VALUE:
        if low >= first - margin and high <= last + margin:
            return "reproduced"
        return UNDECIDED if low <= last + margin and high >= first - margin else "worse"
    if low <= last + margin and high >= first - margin:
        return "reproduced"
    lower = claim["measure"] in LOWER_IS_BETTER
    return "better" if (high < first) == lower else "worse"


# measures: (claim, run, other run) -> Measured


def _split(claim: dict[str, Any], run: Run) -> str:
    return run.metrics["protocol"][claim.get("split", "test")]


def _where(claim: dict[str, Any], run: Run) -> str:
    return f"{_split(claim, run)}, {run.metrics['protocol']['name']} protocol"


def _share(right: int, n: int, of: str) -> Measured:
    return Measured(right / n, *accuracy_interval(right, n), of) if n else Measured(0, 0, 1, of)


def _accuracy(claim: dict[str, Any], run: Run) -> Measured:
    score = run.metrics["scores"][_split(claim, run)]
    right = round(score["accuracy"] * score["n"])
    return _share(right, score["n"], f"{right:,} of {score['n']:,} images of {_where(claim, run)}")


def _confused(claim: dict[str, Any], run: Run) -> Measured:
    score = run.metrics["scores"][_split(claim, run)]
    names = list(score["per_class"])
    predicted = claim.get("predicted", claim["class"])
    row = score["confusion"][names.index(claim["class"])]
    count, n = row[names.index(predicted)], sum(row)
    called = "right" if predicted == claim["class"] else f"called {predicted}"
    of = f"{count:,} of {n:,} images of {claim['class']} {called}, {_where(claim, run)}"
    return _share(count, n, of)


def _resampled(
    claim: dict[str, Any], run: Run, statistic: Callable[[np.ndarray], float]
) -> Measured:
    """A statistic of the confusion matrix with its percentile bootstrap interval."""
    table = np.array(run.metrics["scores"][_split(claim, run)]["confusion"])
    values = [statistic(each) for each in redrawn(table, RESAMPLES)]
    low, high = np.percentile(values, [2.5, 97.5])
    of = f"{table.sum():,} images of {_where(claim, run)}; interval by bootstrap"
    return Measured(float(statistic(table)), float(low), float(high), of)


def _f1(claim: dict[str, Any], run: Run) -> Measured:
    names = run.metrics["protocol"]["classes"]
    chosen = [names.index(claim["class"])] if "class" in claim else list(range(len(names)))
    return _resampled(claim, run, lambda table: float(f1_scores(table)[chosen].mean()))


def _loss(claim: dict[str, Any], run: Run) -> Measured:
    part = run.predictions(_split(claim, run))
    labels = part["labels"].astype(int)
    of_label = part["probabilities"][np.arange(len(labels)), labels].astype(np.float64)
    losses = -np.log(np.clip(of_label, 1e-12, None))
    mean, error = float(losses.mean()), 1.96 * float(losses.std(ddof=1)) / np.sqrt(len(losses))
    of = f"{len(losses):,} images of {_where(claim, run)}; normal approximation"
    return Measured(mean, mean - error, mean + error, of)


def _recorded(claim: dict[str, Any], run: Run, other: Run | None = None) -> float:
    """What a record tells of a loss or of an order."""
    score = run.metrics["scores"][_split(claim, run)]
    if other is None:
        return score["nll"]
    return score["accuracy"] - other.metrics["scores"][_split(claim, other)]["accuracy"]


def _extremes(claim: dict[str, Any], run: Run) -> Measured:
    names, sign = run.metrics["protocol"]["classes"], -1 if claim["measure"] == "easiest" else 1
    of_claim = {names.index(name) for name in claim["classes"]}

    def recalls(table: np.ndarray) -> np.ndarray:
        return np.diag(table) / np.maximum(table.sum(axis=1), 1)

    def statistic(table: np.ndarray) -> float:
        order = np.argsort(sign * recalls(table), kind="stable")
        return float(len(of_claim & set(order[: len(of_claim)].tolist())))

    found = recalls(np.array(run.metrics["scores"][_split(claim, run)]["confusion"]))
    order = np.argsort(-found, kind="stable")
    told = ", ".join(f"{names[i]} {found[i]:.0%}" for i in order)
    measured = _resampled(claim, run, statistic)
    n, kind = len(of_claim), claim["measure"]
    among = f"{measured.value:.0f} of the {n} named classes are among the {n} {kind}"
    return measured._replace(of=f"{among}: recalls are {told} on {measured.of}")


def _training(claim: dict[str, Any], run: Run) -> Measured:
    last, column = run.history.iloc[-1], claim["measure"].removeprefix("training_")
    protocol = run.metrics["protocol"]
    score, where = run.metrics["scores"][protocol["train"]], protocol["train"]
    saved = score["nll" if column == "loss" else column]
    if column == "accuracy" and run.metrics["params"]["training"]["balance"] == "augment":
        saved = float(np.mean([each["recall"] for each in score["per_class"].values()]))
        where += " (mean recall, as it was trained on as many of each class)"
    of = (
        f"{last[column]:.3f} running in epoch {int(last['epoch'])}, as Keras prints it, and "
        f"{saved:.3f} of the saved network on {where}, {protocol['name']} protocol; "
        f"no interval, a margin of {claim['within']}"
    )
    return Measured(float(last[column]), None, None, of, float(saved))


def _best_epoch(claim: dict[str, Any], run: Run) -> Measured:
    best = run.history.loc[run.history["val_accuracy"].idxmax()]
    of = f"validation accuracy is highest in epoch {int(best['epoch'])} of {len(run.history)}"
    return Measured(int(best["epoch"]), None, None, of)


def _epochs(claim: dict[str, Any], run: Run) -> Measured:
    ran, best = run.metrics["model"]["epochs_run"], run.metrics["model"]["best_epoch"]
    return Measured(ran, None, None, f"training ended after epoch {ran}, best epoch {best}")


def _validation_above(claim: dict[str, Any], run: Run) -> Measured:
    above = run.history["val_accuracy"] > run.history["accuracy"]
    of = f"in {int(above.sum())} of {len(above)} epochs, with augmentation and dropout in training"
    if below := run.history.loc[~above, "epoch"].astype(int).astype(str).tolist():
        of += f"; not in epoch{'s' * (len(below) > 1)} {', '.join(below)}"
    return Measured(float(above.mean()), None, None, of)


def _above(claim: dict[str, Any], run: Run, other: Run) -> Measured:
    split = claim.get("split", "test")
    n = run.metrics["scores"][_split(claim, run)]["n"]
    of = f"difference of accuracy on the same {n:,} images of {_where(claim, run)}"
    return Measured(*accuracy_difference(run, other, split), of)


MEASURES: dict[str, Callable[..., Measured]] = {
    "accuracy": _accuracy,
    "recall": _confused,
    "confused": _confused,
    "f1": _f1,
    "macro_f1": _f1,
    "loss": _loss,
    "training_accuracy": _training,
    "training_loss": _training,
    "epochs": _epochs,
    "best_epoch": _best_epoch,
    "validation_above_training": _validation_above,
    "easiest": _extremes,
    "hardest": _extremes,
    "above": _above,
}


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
