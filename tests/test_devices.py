"""The same training on other devices: precision by itself, several devices, the JAX backend."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import training
from fer_utils.base import ROOT
from fer_utils.models import devices
from fer_utils.runs import store

needs_jax = pytest.mark.skipif(
    not importlib.util.find_spec("jax"), reason="jax is not installed (pip install jax)"
)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((9, 0), "mixed_bfloat16"),
        ((8, 0), "mixed_bfloat16"),
        ((7, 5), "mixed_float16"),
        ((6, 1), "float32"),
    ],
)
def test_precision_is_what_the_gpu_is_fast_in(monkeypatch, capability, precision):
    monkeypatch.setattr(devices, "_gpu_capability", lambda: capability)
    assert devices.precision_for("auto") == precision
    assert devices.precision_for("float32") == "float32"


@pytest.mark.parametrize("present", [False, True])
def test_sentence_names_the_device_and_a_gpu_that_is_unused(monkeypatch, present):
    monkeypatch.setattr(devices, "nvidia", lambda: present)
    monkeypatch.setattr(devices, "_gpu", lambda: None)
    line = devices.sentence()
    assert "core" in line and ("float32" in line or "bfloat16" in line) and "\n" not in line
    assert ("tensorflow[and-cuda]" in line) == present
    monkeypatch.setattr(devices, "_gpu", lambda: "a GPU")
    monkeypatch.setattr(devices, "name", lambda: "NVIDIA H100")
    assert "NVIDIA H100, float32" in devices.sentence("float32")


def test_sentence_of_a_machine_without_a_gpu_loads_no_backend():
    code = (
        "import sys; from fer_utils.models import devices; devices.nvidia = lambda: False; "
        "print(devices.sentence(), 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("device: ") and done.stdout.endswith("False\n"), done.stderr


def test_float16_trains_with_loss_scaling(tmp_path):
    dataset = datasets.load("synthetic:n=200,seed=1")
    limits = {"epochs": 2, "train_limit": 64, "batch_size": 32, "early_stopping": None}
    scores = {}
    for precision in ("mixed_float16", "float32"):
        params = parameters.model("basic_cnn", None, **limits, precision=precision)
        run = training.run(params, dataset, tmp_path / precision)
        assert run.metrics["environment"]["precision"] == precision
        scores[precision] = run.history["loss"].to_numpy()
    np.testing.assert_allclose(scores["mixed_float16"], scores["float32"], rtol=0.02)


RECIPE = """
id: basic_cnn
title: Basic CNN
paper: mine
builder: basic_cnn
protocol: official
training:
  {epochs: 2, batch_size: 64, learning_rate: 1.0e-3, precision: float32, train_limit: 302}
"""


def train(folder, backend, *more):
    """A run of basic_cnn with nothing random in a batch, and what the command printed."""
    recipe = folder.parent / "basic_cnn.yaml"
    recipe.write_text(RECIPE)
    done = subprocess.run(
        [sys.executable, "-m", "fer_utils.training", str(recipe), "--data",
         "synthetic:n=800,seed=1", "--results", str(folder), *more],
        cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3",
                          "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    )  # fmt: skip
    if done.returncode:
        return None, done
    return store.read_run(store.run_folder(folder, "basic_cnn", 0)), done


@needs_jax
def test_run_made_with_jax_joins_the_study(tmp_path):
    """The record is the same kind, and TensorFlow presents it and computes what it says."""
    import keras

    made, _ = train(tmp_path / "study", "jax")
    assert made.metrics["environment"]["backend"] == "jax"
    assert "jax" in made.metrics["environment"]["packages"]
    dataset, lines = datasets.load("synthetic:n=800,seed=1"), []
    complete = parameters.protocols(str(tmp_path / "basic_cnn.yaml"), None)
    shown = training.run(complete[0], dataset, tmp_path / "study", say=lines.append)
    assert "finished run" in lines[0] and shown.metrics == made.metrics
    network = keras.models.load_model(shown.folder / "model.keras")
    test = shown.predictions("PrivateTest")
    again = network.predict(dataset.images[test["index"]][..., None], verbose=0)
    np.testing.assert_allclose(again, test["probabilities"], atol=1e-5)
