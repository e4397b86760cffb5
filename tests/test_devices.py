"""The same training on other devices: precision by itself, several devices, the JAX backend."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from fer_utils import datasets, devices, parameters, results, training

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


def test_float16_trains_with_loss_scaling(tmp_path):
    dataset = datasets.load("synthetic:n=800,seed=1")
    limits = {"epochs": 2, "train_limit": 200, "early_stopping": None}
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
        cwd=parameters.ROOT, capture_output=True, text=True,
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3",
                          "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    )  # fmt: skip
    if done.returncode:
        return None, done
    return results.read_run(results.run_folder(folder, "basic_cnn", 0)), done


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs_jax)])
def test_two_devices_learn_what_one_learns(tmp_path, backend):
    one, _ = train(tmp_path / "one", backend)
    two, _ = train(tmp_path / "two", backend, "--devices", "2")
    assert (one.metrics["environment"]["devices"], two.metrics["environment"]["devices"]) == (1, 2)
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(two.history[column], one.history[column], rtol=2e-3, atol=4e-3)
    first, second = (run.predictions("PrivateTest")["probabilities"] for run in (one, two))
    np.testing.assert_allclose(second, first, atol=5e-3)


COPIES = """
import sys
from pathlib import Path
import numpy as np
from fer_utils import datasets, devices, parameters, training
from fer_utils.protocol import Task

params = parameters.model("dcnn_three_class", None, train_limit=128)
task = Task(params, datasets.load("synthetic:n=300,seed=1"), 0, training.CODE)
made = training.Training(task, Path(sys.argv[1]), print, 2)
with devices.spread(2):
    made._epoch(*made.assemble())
    averages = [weight for weight in made.net.weights if "moving" in weight.name]
    copies = [[copy.numpy() for copy in average.value.values] for average in averages]
print(len(copies), all(np.array_equal(one, two) for one, two in copies))
"""


def test_devices_that_share_a_batch_keep_one_average_in_normalisation(tmp_path):
    """Else a resumed training, which has only one device's, would go on from others."""
    done = subprocess.run(
        [sys.executable, "-c", COPIES, str(tmp_path)],
        cwd=parameters.ROOT, capture_output=True, text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    count, same = done.stdout.split()[-2:]
    assert int(count) > 4 and same == "True", done.stderr


TAUGHT = """
import sys
from fer_utils import datasets, devices, parameters, training

def run(folder, count, teacher=None):
    told = teacher and {"teacher": str(teacher), "weight": 0.7}
    recipe = {"epochs": 1, "train_limit": 256, "learning_rate": 1e-9, "augmentation": None}
    recipe |= {"views": None, "weight_average": None, "distillation": told}
    options = {"filters": [4, 4], "dropout": 0.0}
    params = parameters.model("fer_net", None, options=options, **recipe)
    return training.run(params, dataset, f"{sys.argv[1]}/{folder}", say=str, count=count)

devices.start()
dataset = datasets.load("synthetic:n=400,seed=1")
teacher = run("teacher", 2).folder
print(*(run(f"of {count}", count, teacher).history["loss"][0] for count in (1, 2)))
"""


def test_two_devices_tell_the_loss_of_a_taught_network_that_one_tells(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TAUGHT, str(tmp_path)],
        cwd=parameters.ROOT, capture_output=True, text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one, two = map(float, done.stdout.split()[-2:])
    assert two == pytest.approx(one, rel=0.03)  # each device normalises by its part of the batch


GROWING = """
import sys
from pathlib import Path
from fer_utils import datasets, devices, parameters, training
from fer_utils.protocol import Task

recipe = {"progressive_resizing": [24, 36], "epochs": 2, "train_limit": 64, "batch_size": 32}
params = parameters.model("fer_net", options={"filters": [4, 4]}, **recipe)
task = Task(params, datasets.load("synthetic:n=300,seed=1"), 0, training.CODE)
made = training.Training(task, Path(sys.argv[1]), lambda line: None, 2)
seen = {}
with devices.spread(2):
    labels, weights = made.assemble()
    scale = made.resizing.call
    def call(images, training=False):
        scaled = scale(images, training)
        seen[scaled.shape[1]] = made.resizing.size
        return scaled
    made.resizing.call = call
    for _ in range(2):
        made._epoch(labels, weights)
print(sorted(seen))
"""


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs_jax)])
def test_every_new_size_of_the_images_is_what_is_then_trained_on(tmp_path, backend):
    """Else the graph of the first size would silently go on."""
    done = subprocess.run(
        [sys.executable, "-c", GROWING, str(tmp_path)],
        cwd=parameters.ROOT, capture_output=True, text=True,
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3",
                          "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["[24, 36, 48]"], done.stderr


SHARED = """
import sys
import keras
from fer_utils import datasets, parameters, training

def say(line):
    if not line.startswith("epoch"):
        return
    shared = keras.distribution.distribution()
    print(line.split()[0], type(shared).__name__, shared and len(shared.device_mesh.devices))

params = parameters.model(sys.argv[1], None, epochs=1)
training.run(params, datasets.load("synthetic:n=800,seed=1"), sys.argv[2], say=say, count=2)
print("after", keras.distribution.distribution())
"""


@needs_jax
def test_a_batch_is_shared_while_jax_trains(tmp_path):
    (tmp_path / "basic_cnn.yaml").write_text(RECIPE)
    done = subprocess.run(
        [sys.executable, "-c", SHARED, str(tmp_path / "basic_cnn.yaml"), str(tmp_path / "study")],
        cwd=parameters.ROOT, capture_output=True, text=True,
        env=os.environ | {"KERAS_BACKEND": "jax",
                          "XLA_FLAGS": "--xla_force_host_platform_device_count=2"},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["epoch DataParallel 2", "after None"], done.stderr


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


@pytest.mark.parametrize(("count", "words"), [("0", "at least 1"), ("3", "batches of 64")])
def test_wrong_number_of_devices_is_one_line(tmp_path, count, words):
    _, done = train(tmp_path / "study", "tensorflow", "--devices", count)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 2 and len(errors) == 1
    assert "--devices" in errors[0] and words in errors[0]


@needs_jax
def test_more_devices_than_there_are(tmp_path):
    _, done = train(tmp_path / "study", "jax", "--devices", "4")
    assert done.returncode == 2 and "there are 2 here" in done.stderr
