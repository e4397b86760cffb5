"""The papers (params/papers): what each did and claims, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from fer_utils.base import EMOTIONS, PARAMS, ParameterError, read_yaml
from fer_utils.config import Names, Strict, Text, model, names, validate
from fer_utils.runs.measures import MEASURES, STATEMENTS

FOLDER = PARAMS / "papers"
Emotion = Literal[EMOTIONS]


class Claim(Strict):
    """What a paper says about a run: a value as it is printed, or a statement."""

    claim: Text
    place: Text  # in the paper
    run: Text | None = None  # a model, or <reading>/<model>; none if no run can decide it
    other: Text | None = None  # the run that it is compared with
    measure: Text | None = None  # of fer_utils.runs.measures
    claimed: Text | None = None  # as printed: 44 %, 0.92, 276 of 467, 90 to 93 %
    split: Literal["validation", "test"] = "test"
    emotion: Emotion | None = None
    predicted: Emotion | None = None
    emotions: Annotated[list[Emotion], Field(min_length=1)] | None = None
    pairs: list[Annotated[list[Emotion], Field(min_length=2, max_length=2)]] | None = None
    untested: Text | None = None  # why no run decides it
    command: Text | None = None  # that would

    @property
    def runs(self) -> list[str]:
        return [name for name in (self.run, self.other) if name]

    @property
    def printed(self) -> tuple[float, float, float]:
        """First and last claimed value (the same but of a range), and half of the last digit.

        >>> Claim(claim="c", place="p", claimed="90 to 93 %").printed
        (0.9, 0.93, 0.005)
        """
        first, word, last = (self.claimed.removesuffix(" %").split() + ["to", ""])[:3]
        half = 0.5 * 10.0 ** -len(first.partition(".")[2])
        if word == "of":
            return float(first) / float(last), float(first) / float(last), half / float(last)
        scale = 0.01 if self.claimed.endswith("%") else 1.0
        return scale * float(first), scale * float(last or first), scale * half


class Reading(Strict):
    """A setting that a paper leaves open: other recipes are in params/readings/<name>."""

    name: Text
    models: Names
    open: Text  # what the paper does not give


class Paper(Strict):
    title: Text
    name: Text  # its authors, short
    authors: Text
    source: Text
    systems: Names
    did: Text
    scope: Text
    easy: list[Text]
    difficult: list[Text]
    omits: dict[str, str]  # what the paper does not give: the reading that this study takes
    contradictions: list[Text]
    readings: list[Reading] = []
    cited: dict[str, str] = {}  # numbers of others: how they were tested
    imagenet: dict[str, dict[str, Any]] = {}  # models that need its weights, with their options
    test_set: list[dict[str, Any]] = []  # counts that show which split was tested
    claims: list[Any]  # of Claim


def papers() -> list[str]:
    """The names of the papers, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def needs(paper: str) -> list[str]:
    """The models whose runs the chapter of a paper shows: its systems and those of its claims."""
    content = read(paper)
    of_claims = [name for claim in content.claims for name in claim.runs if "/" not in name]
    return list(dict.fromkeys([*content.systems, *of_claims]))


def read(paper: str) -> Paper:
    """One paper; ParameterError names the file, the claim and its fault in one line."""
    if paper not in papers():
        raise ParameterError(f"unknown paper '{paper}'; known are {', '.join(papers())}")
    path = FOLDER / f"{paper}.yaml"
    content = read_yaml(path)
    validate(content, Paper, str(path))
    result = Paper.model_validate(content)
    for number, claim in enumerate(result.claims, 1):
        text = claim.get("claim") if isinstance(claim, dict) else None
        where = f"{path}, claim {number}" + (f" ({text})" if text else "")
        validate(claim, Claim, where)
        result.claims[number - 1] = Claim.model_validate(claim)
        if fault := _fault(result.claims[number - 1]):
            raise ParameterError(f"{where}: {fault}")
    for reading in result.readings:
        for name in reading.models:
            if not recipe(f"{reading.name}/{name}").is_file():
                raise ParameterError(f"{path}: reading {reading.name}: no params/readings/"
                                     f"{reading.name}/{name}.yaml")  # fmt: skip
    if unknown := {*result.systems, *result.imagenet} - {*names("models")}:
        raise ParameterError(f"{path}: {sorted(unknown)[0]} is not a model")
    return result


def recipe(run: str) -> Path:
    """The parameter file of a run: of a model, or <reading>/<model>."""
    return PARAMS / ("readings" if "/" in run else "models") / f"{run}.yaml"


def _fault(claim: Claim) -> str:
    """What the types of a claim's keys do not say, or nothing."""
    if claim.run is None:
        lacking = [key for key in ("untested", "command") if getattr(claim, key) is None]
        return f"`run` is missing, or `{lacking[0]}`" if lacking else ""
    if claim.measure not in MEASURES:
        return f"`measure` is {claim.measure!r}; valid are {', '.join(MEASURES)}"
    measure = MEASURES[claim.measure]
    for key in measure.needs:
        if getattr(claim, key) is None:
            return f"`{key}` is missing"
    for name in claim.runs:
        if not recipe(name).is_file():
            return f"no run {name}; known are {', '.join(names('models'))} and those of readings"
        params = model(recipe(name))
        if measure.curves and "builder" not in params:
            return f"`measure` is {claim.measure}, but {name} is not trained by epochs"
        pairs = [emotion for pair in claim.pairs or [] for emotion in pair]
        named = {claim.emotion, claim.predicted, *(claim.emotions or []), *pairs} - {None}
        if unknown := named - {*(params.get("classes") or EMOTIONS)}:
            return f"{name} has no class {sorted(unknown)[0]}"
    if claim.measure in STATEMENTS and claim.claimed is None:
        return ""
    try:
        claim.printed  # noqa: B018
    except (AttributeError, ValueError):
        return (f"`claimed` is {claim.claimed!r}; write what the paper prints, in quotes: "
                "44 %, 0.92, 276 of 467 or 90 to 93 %")  # fmt: skip
    return ""


def evidence_of_test_set(counts: dict[str, dict[str, int]]) -> pd.DataFrame:
    """Does six-layer-2020's test set have the sizes of PublicTest or PrivateTest?

    `counts` are images per split and class. A printed percentage fits a split if a whole number of
    its images gives it. Columns: statement and, for either split, its images and whether it fits.
    """
    rows = []
    for said in read("six-layer-2020").test_set:
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
