"""benchmarks/peers.py writes the table that docs/field.md shows."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from fer_utils import data
from fer_utils.base import ROOT


@pytest.fixture(scope="module")
def peers():
    spec = importlib.util.spec_from_file_location("peers", ROOT / "benchmarks" / "peers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_the_committed_columns_and_the_lead_of_the_first(peers, monkeypatch):
    faces = data.load("synthetic:n=700,seed=0")
    right = {"first": 1.0, "second": 0.5}  # share of right answers, the same images first

    def predict(system, images):
        labels = faces.labels[faces.usage == next(splits)]
        wrong = np.arange(len(labels)) >= right[system.name] * len(labels)
        return np.eye(7)[(labels + wrong) % 7], 100.0

    splits = iter(["PublicTest", "PublicTest", "PrivateTest", "PrivateTest"])
    monkeypatch.setattr(peers, "predict", predict)
    systems = [peers.System(name, "1", b"....", 10, np.float32) for name in right]
    table = peers.measure(systems, faces)
    committed = pd.read_csv(ROOT / "results" / "reference" / "peers.csv")
    assert list(table) == list(committed)
    assert list(table["accuracy"]) == pytest.approx([1, 0.5, 1, 0.5], abs=0.02)
    assert table["lead"][1] == pytest.approx(table["accuracy"][0] - table["accuracy"][1])
    assert table["low"][1] < table["lead"][1] < table["high"][1]
