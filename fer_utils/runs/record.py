"""The record of a run, metrics.json: its keys and types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fer_utils.config import NotNegative, Share, Strict

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Natural = Annotated[int, Field(ge=0)]


class Open(BaseModel):
    """A section that may have further keys."""

    model_config = ConfigDict(extra="allow", strict=True)


class Recipe(Open):
    id: str
    paper: str
    protocol: str
    training: dict[str, Any]


class Data(Open):
    kind: str
    source: str
    sha256: Digest
    pixels_sha256: Digest
    content_sha256: str
    synthetic: bool
    counts: dict[str, dict[str, Natural]]


class Protocol(Open):
    name: str
    train: str
    validation: str
    test: str
    classes: list[str]
    selected_on: str


class Environment(Open):
    python: str
    packages: dict[str, str]
    backend: str
    precision: str
    device: str
    cores: int
    git_commit: str


class Timing(Open):
    training_seconds: float
    images_per_second: float | None
    stages: dict[str, NotNegative]
    peak_memory_mb: float
    finished_at: str


class Model(Open):
    parameters: Natural
    epochs_run: int | None
    best_epoch: int | None
    stopped_early: bool


class OfClass(Strict):
    precision: Share
    recall: Share
    f1: Share
    support: Natural


class Score(Strict):
    n: Annotated[int, Field(ge=1)]
    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share
    macro_f1: Share
    top2_accuracy: Share
    ece: Share
    nll: NotNegative
    per_class: dict[str, OfClass]
    confusion: list[list[Natural]]


class Record(Strict):
    """metrics.json of one run."""

    schema_version: Literal[1]
    run_id: str
    seed: Natural
    params: Recipe
    data: Data
    protocol: Protocol
    environment: Environment
    timing: Timing
    model: Model
    scores: Annotated[dict[str, Score], Field(min_length=1)]
