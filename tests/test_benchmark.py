"""The benchmark: its sums are right, its contenders train the same thing."""

import json

import pandas as pd
import pytest
from runs import make_run

from fer_utils import benchmark

FEW = ("synthetic:n=800", "error", False)


def test_summary_compares_within_rounds():
    rounds = pd.DataFrame(
        [("m", "stock Keras", 1, 100), ("m", "stock Keras", 2, 50), ("m", "stock Keras", 3, 100)]
        + [("m", "engine", 1, 300), ("m", "engine", 2, 200), ("m", "engine", 3, 310)],
        columns=["model", "contender", "round", "images_per_second"],
    )
    table = benchmark.summary(rounds).set_index("contender")
    assert table.loc["engine", "images_per_second"] == 300
    assert table.loc["engine", "times_stock"] == 3.1  # of 3, 4 and 3.1
    assert table.loc["stock Keras", "times_stock"] == 1


@pytest.mark.study
def test_contenders_take_turns_and_are_timed():
    said = []
    table = benchmark.training_speed("basic_cnn", FEW, 128, 2, said.append)
    assert set(table["contender"]) >= {"stock Keras", "engine"}
    turns = table["contender"].tolist()
    half = len(turns) // 2
    assert turns[:half] == turns[half:] and len(set(turns[:half])) == half
    assert table["round"].tolist() == [1] * half + [2] * half
    assert (table["images_per_second"] > 0).all() and len(said) == 1


@pytest.mark.study
def test_stock_keras_and_the_engine_reach_the_same_accuracy():
    """On faces that a small network learns at once, so that both must come far."""
    said = []
    table = benchmark.same_accuracy(
        "basic_cnn", ("synthetic:n=2500", "error", False), 1500, 10, 1, said.append
    )
    assert len(table) == 1 and len(said) == 1
    stock, engine = table.loc[0, "stock Keras"], table.loc[0, "engine"]
    assert stock > 0.35 and abs(stock - engine) < 0.15


@pytest.mark.study
def test_parts_of_a_step_add_up():
    parts = benchmark.step_parts("basic_cnn", FEW, 3)
    assert parts["part"].tolist() == [
        "images", "augmentation", "forward", "backward", "optimizer and loop",
    ]  # fmt: skip
    took = parts.set_index("part")["milliseconds"]
    assert took[["forward", "backward"]].min() > 0
    assert took[["images", "forward", "backward"]].sum() < 2 * took.sum()  # the measured step


def test_second_reading_comes_from_the_cache(tmp_path):
    from fer_utils import datasets

    dataset = datasets.load("synthetic:n=800,seed=1")
    rows = ["emotion,pixels,Usage"]
    for image, label, usage in zip(dataset.images, dataset.labels, dataset.usage, strict=True):
        rows.append(f"{label},{' '.join(map(str, image.ravel()))},{usage}")
    (tmp_path / "fer2013.csv").write_text("\n".join(rows) + "\n")
    table = benchmark.loading((str(tmp_path / "fer2013.csv"), "error", False))
    assert table["read"].tolist() == ["parsed", "from the cache"]
    assert table["seconds"][1] < table["seconds"][0] and (table["images"] == 800).all()


def test_overhead_is_what_a_notebook_does_beside_computing(tmp_path):
    common = make_run(tmp_path, "six_layer_cnn")
    own = make_run(tmp_path, "six_layer_cnn", protocol="publictest")
    for run, stages in (
        (common, {"build": 1, "train": 60, "evaluate": 10}),
        (own, {"build": 1, "train": 0, "evaluate": 20}),
    ):
        record = json.loads((run.folder / "metrics.json").read_text())
        record["timing"]["stages"] = stages
        (run.folder / "metrics.json").write_text(json.dumps(record))
    (common.folder / "notebook.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {"papermill": {"duration": 100}},
                    "nbformat": 4, "nbformat_minor": 5})
    )  # fmt: skip
    table = benchmark.notebook_overhead(tmp_path)
    assert table["computing_seconds"].tolist() == [90] and table["other_share"].tolist() == [0.1]


def test_a_recipe_that_stock_keras_does_not_have_is_refused(monkeypatch):
    from fer_utils import parameters

    known = parameters.model
    changed = {"label_smoothing": 0.1}
    monkeypatch.setattr(parameters, "model", lambda *a, **b: known(*a, **{**b, **changed}))
    with pytest.raises(parameters.ParameterError, match="label_smoothing is not in the benchmark"):
        benchmark.training_speed("basic_cnn", FEW, 100)
