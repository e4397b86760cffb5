"""Training: complete records, the same numbers again, and nothing lost by an interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from test_data import write_csv

from fer_utils import config, data, training
from fer_utils.base import ROOT
from fer_utils.data import balance, preprocess, quality
from fer_utils.models import devices
from fer_utils.runs import store
from fer_utils.training import checkpoint, recipe, task, train
from fer_utils.training.__main__ import main
from fer_utils.training.task import Task

LIMITS = {"epochs": 3, "train_limit": 200, "early_stopping": None}
SOURCE = "synthetic:n=800,seed=1"


@pytest.fixture(scope="module")
def dataset():
    return data.load(SOURCE)


def params(model="basic_cnn", **changes):
    return config.model(model, None, **{**LIMITS, **changes})


def without_timing(metrics):
    return {key: value for key, value in metrics.items() if key != "timing"}


def predicting(images, network):
    return network.predict(images[..., None], batch_size=256, verbose=0)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return training.run(params(views={"shift": 2}), dataset, folder, seed=4)


def test_a_run_folder_has_everything_that_the_study_reads(finished, dataset):
    run = store.read_run(finished.folder)
    files = {path.name for path in run.folder.iterdir() if path.name != ".lock"}
    assert files == {"metrics.json", "params.json", "history.csv", "predictions.npz", "model.keras"}
    assert run.metrics["protocol"]["test"] == "PrivateTest"
    assert run.metrics["seed"] == 4 and run.metrics["params"] == params(views={"shift": 2})
    assert str(finished.folder.parent) not in json.dumps(run.metrics)  # no path of the machine
    history, best = run.history, run.history["val_loss"].idxmin()
    assert history["epoch"].tolist() == [1, 2, 3]
    assert run.metrics["model"]["best_epoch"] == history.loc[best, "epoch"]


def test_scores_and_saved_network_follow_the_saved_predictions(finished, dataset):
    import keras

    network = keras.models.load_model(finished.folder / "model.keras")
    test, views = (finished.predictions(f"PrivateTest{suffix}") for suffix in ("", "_views"))
    images = dataset.images[test["index"]]
    np.testing.assert_array_equal(dataset.labels[test["index"]], test["labels"])
    assert set(dataset.usage[test["index"]]) == {"PrivateTest"}
    np.testing.assert_allclose(predicting(images, network), test["probabilities"], atol=1e-5)
    seen = [predicting(view, network) for view in preprocess.views(images, 2)]
    np.testing.assert_allclose(np.mean(seen, axis=0), views["probabilities"], atol=1e-5)
    scores = finished.metrics["scores"]
    right = (test["probabilities"].argmax(axis=1) == test["labels"]).mean()
    assert scores["PrivateTest"]["accuracy"] == pytest.approx(right)
    # duplicates are those of the whole of Training, also where 200 images of it were trained on
    known = quality.in_training(dataset)[dataset.usage == "PrivateTest"].sum()
    assert known > 0 and scores["train"]["n"] == 200
    for suffix in ("", "_views"):
        rest = scores[f"PrivateTest{suffix}_not_in_training"]["n"]
        assert rest == scores["PrivateTest"]["n"] - known


def uniform(task):
    """The record of a task whose model gives every class the same probability."""
    classes = len(task.dataset.classes)
    predictions = task.predictions(lambda part: np.full((len(part), classes), 1 / classes))
    return predictions, task.record(predictions, model={}, timing={}, engine={})


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"keep_best": "last", "early_stopping": None}, "nothing, the last epoch is kept"),
        ({"keep_best": "last"}, "val_loss of PublicTest"),  # it decides when training stops
        ({"keep_best": "val_accuracy"}, "val_accuracy and val_loss of PublicTest"),
    ],
)
def test_what_the_validation_images_decide_is_recorded(dataset, recipe, told):
    stopping = {"early_stopping": {"monitor": "val_loss", "patience": 3}, "reduce_lr": None}
    _, record = uniform(Task(params(**stopping | recipe), dataset, 0))
    assert record["protocol"]["selected_on"] == told


def test_a_class_without_test_images_is_named_and_left_out_of_macro_scores(dataset):
    lacking = (dataset.usage == "PrivateTest") & (dataset.labels == 1)
    _, record = uniform(Task(params(), dataset.take(~lacking), 0))
    assert record["protocol"]["classes_without_test_images"] == [data.EMOTIONS[1]]
    score = record["scores"]["PrivateTest"]
    f1 = [of["f1"] for of in score["per_class"].values() if of["support"]]
    assert len(f1) == 6 and score["macro_f1"] == pytest.approx(sum(f1) / 6)
    _, record = uniform(Task(params(), dataset, 0))
    assert "classes_without_test_images" not in record["protocol"]


def test_illumination_correction_changes_the_images_and_not_what_the_record_says_of_the_data(
    dataset,
):
    plain, equal = (Task(params(preprocess=step), dataset, 0) for step in (None, "equalize"))
    index = plain.parts["test"]
    expected = preprocess.equalize(dataset.images[index])
    np.testing.assert_array_equal(equal.part("test")[0], expected)
    records = [uniform(task)[1]["data"] for task in (plain, equal)]
    assert records[0] == records[1]


def test_class_subset_keeps_indices_into_the_whole_data(dataset):
    three = {"classes": ["happiness", "sadness", "neutral"], "protocol": "pooled"}
    predictions, record = uniform(Task(params() | three, dataset, 0))
    protocol = record["protocol"]
    assert protocol["test"] == protocol["validation"]
    test = predictions[protocol["test"]]
    assert test["probabilities"].shape[1] == 3
    names = np.array(protocol["classes"])[test["labels"]]
    np.testing.assert_array_equal(np.array(data.EMOTIONS)[dataset.labels[test["index"]]], names)


def test_a_run_is_trained_again_only_if_parameters_data_seed_or_version_change(
    finished, dataset, monkeypatch, tmp_path
):
    lines, views = [], {"views": {"shift": 2}}
    study = finished.folder.parents[2]
    again = training.run(params(**views), dataset, study, seed=4, say=lines.append)
    assert "finished run" in lines[0] and again.metrics == finished.metrics

    def found(folder=finished.folder, changes=views, dataset=dataset, seed=4):
        return Task(params(**changes), dataset, seed).finished(folder, "model.keras")

    assert found() and not found(seed=5) and not found(changes={})
    assert not found(dataset=replace(dataset, labels=dataset.labels[::-1]))
    (tmp_path / "model.keras").touch()
    for name in ("history.csv", "predictions.npz"):
        (tmp_path / name).write_bytes((finished.folder / name).read_bytes())
    # a key of an earlier record that is no longer known counts if it has a value
    for value, same in ((None, True), ([24, 48], False)):
        record = json.loads(json.dumps(finished.metrics))
        record["params"]["training"]["progressive_resizing"] = value
        (tmp_path / "metrics.json").write_text(json.dumps(record))
        assert bool(found(tmp_path)) == same
    monkeypatch.setattr(task, "TRAINING_VERSION", 2)
    assert not found()


def test_each_protocol_is_trained_by_itself_and_one_that_the_data_lack_is_left_out(
    dataset, tmp_path
):
    folder = store.run_folder(tmp_path, "basic_cnn", 0)
    folder.mkdir(parents=True)
    (folder / "checkpoint.npz").write_bytes(b"PK\x03\x04 cut")  # damaged: training starts anew
    complete = config.protocols("basic_cnn", None, epochs=1, train_limit=100)
    lines = []
    common, own = training.run_protocols(complete, dataset, tmp_path, say=lines.append)
    assert sum(line.startswith("epoch") for line in lines) == 2
    tested = set(dataset.usage[own.predictions("PublicTest")["index"]])
    trained, validated = (own.predictions(name)["index"] for name in ("train", "validation"))
    assert tested == {"PublicTest"} and set(dataset.usage[trained]) == {"Training"}
    assert not set(trained) & set(validated) and "PrivateTest" not in own.metrics["scores"]

    without, lines = dataset.take(dataset.usage != "PublicTest"), []
    runs = training.run_protocols(complete, without, tmp_path, say=lines.append)
    assert [run.metrics["protocol"]["name"] for run in runs] == ["official"]
    assert any("trained anew" in line for line in lines) and "PublicTest" in lines[-1]
    with pytest.raises(data.DataError, match="PublicTest"):  # asked for by itself
        training.run_protocols(complete[1:], without, tmp_path, say=lines.append)


def test_class_weights_reach_training_and_its_pipeline_has_no_polling_thread(dataset, tmp_path):
    made = train.build(Task(params(balance="class_weights"), dataset, 0), tmp_path)
    train.compile(made)
    pipeline = train.batches(made)["x"]
    places, labels, weights = next(iter(pipeline))
    expected = balance.class_weights(made.labels, 7)
    assert weights.numpy().tolist() == pytest.approx([expected[k] for k in labels.numpy().tolist()])
    assert pipeline.options().autotune.enabled is False


def test_the_kept_epoch_is_the_first_of_the_best():
    history = [{"val_loss": loss, "val_accuracy": 1 - loss} for loss in (0.5, 0.4, 0.4, 0.6)]
    kept = [recipe.best_epoch({"keep_best": by}, history) for by in ("val_loss", "val_accuracy")]
    assert kept == [2, 2] and recipe.best_epoch({"keep_best": "last"}, history) == 4


RULES = """
id: basic_cnn
title: Basic CNN
paper: mine
builder: basic_cnn
protocol: official
training:
  epochs: 30
  batch_size: 64
  learning_rate: 3.0e-3
  train_limit: 200
  keep_best: val_accuracy
  augmentation: {rotation: 15, horizontal_flip: true}
  reduce_lr: {monitor: val_loss, factor: 0.5, patience: 1, minimum: 1.0e-4}
  early_stopping: {monitor: val_accuracy, patience: 2}
"""


def headless(folder, *more):
    """The words of the command, and a parameter file whose rules count epochs."""
    path = folder / "basic_cnn.yaml"
    path.write_text(RULES)
    return [str(path), "--data", SOURCE, "--results", str(folder), "--protocol", "official", *more]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    study = tmp_path_factory.mktemp("whole")
    assert main(headless(study)) == 0
    return store.read_run(store.run_folder(study, "basic_cnn", 0))


def being_written(folder):
    exists = (folder / "checkpoint.npz").exists()
    return exists and any(folder.glob(".checkpoint*.partial*"))


def in_an_epoch(folder):
    return (folder / "said").read_text().count("epoch ") >= 3


@pytest.mark.parametrize("moment", [being_written, in_an_epoch])
def test_killed_training_goes_on_and_ends_like_an_uninterrupted_one(
    uninterrupted, tmp_path, capsys, moment
):
    """A real SIGKILL. The rules of the recipe stop this training after as many epochs."""
    rates = uninterrupted.history["learning_rate"]
    assert rates.nunique() > 1 and uninterrupted.metrics["model"]["stopped_early"]
    folder = store.run_folder(tmp_path, "basic_cnn", 0)
    folder.mkdir(parents=True)
    with open(folder / "said", "w") as said:
        command = [sys.executable, "-u", "-m", "fer_utils.training", *headless(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=said)
        deadline = time.time() + 120
        while not moment(folder) and process.poll() is None and time.time() < deadline:
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (folder / "checkpoint.npz").exists() and not (folder / "metrics.json").exists()
    assert main(headless(tmp_path)) == 0
    assert "resumed after epoch" in capsys.readouterr().out
    second = store.read_run(folder)
    assert without_timing(uninterrupted.metrics) == without_timing(second.metrics)
    timed = ["seconds", "images_per_second"]
    first_history, history = (run.history.drop(columns=timed) for run in (uninterrupted, second))
    assert first_history.equals(history)
    first, again = (run.predictions("PrivateTest") for run in (uninterrupted, second))
    np.testing.assert_array_equal(first["probabilities"], again["probabilities"])
    left = {path.name for path in folder.iterdir()} - {"said", ".lock"}
    assert left == {
        "metrics.json", "params.json", "history.csv", "predictions.npz", "model.keras"
    }  # fmt: skip


MODERN = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "one_cycle": {"rise": 0.4},
    "weight_decay": 1.0e-3,
    "weight_average": 0.9,
    "label_smoothing": 0.1,
    "mixing": {"kind": "cutmix", "alpha": 1.0, "share": 0.5},
    "leave_out": ["constant", "copies"],
    "keep_best": "last",
}


def test_averaged_weights_and_mixing_are_resumed_and_another_training_is_not_gone_on_with(
    dataset, tmp_path, monkeypatch
):
    import keras

    def interrupt(line):
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    whole = training.run(params(**MODERN), dataset, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        training.run(params(**MODERN), dataset, tmp_path, say=interrupt)
    assert keras.config.dtype_policy().name == "float32"  # what is built next has no other policy
    with np.load(store.run_folder(tmp_path, "basic_cnn", 0) / "checkpoint.npz") as saved:
        assert not any(saved[name].dtype == np.uint8 for name in saved.files)  # no images
    lines = []

    def resumed(**changes):
        made = train.build(Task(params(**MODERN | changes), dataset, 0), tmp_path, lines.append)
        train.compile(made)
        return checkpoint.resume(made)

    assert not resumed(epochs=2) and "of other parameters" in lines[0]
    with monkeypatch.context() as patch:
        other = {"float32": "mixed_bfloat16"}.get(devices.precision_for("auto"), "float32")
        patch.setattr(devices, "precision_for", lambda choice: other)
        assert not resumed() and "training starts anew" in lines[1]
    run = training.run(params(**MODERN), dataset, tmp_path, say=lines.append)
    assert lines[2] == "resumed after epoch 1"
    assert without_timing(run.metrics) == without_timing(whole.metrics)
    assert whole.metrics["model"]["best_epoch"] == 3
    rates = whole.history["learning_rate"]
    assert rates[0] < rates[1] > rates[2]


def test_faces_of_a_file_are_trained_on_without_a_notebook(tmp_path, capsys):
    path = write_csv(tmp_path / "fer2013.csv", data.load("synthetic:n=100,seed=1"))
    assert main(headless(tmp_path, "--data", str(path), "--epochs", "1")) == 0
    said = capsys.readouterr().out
    assert "(100 images), run folder" in said and "PrivateTest images right" in said
    assert store.finished_runs(tmp_path)[0].metrics["data"]["kind"] == "csv"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--epochs", "-1"], ["epochs", "-1", "at least 1"]),
        (["--data", "/no/such.csv"], ["/no/such.csv"]),
        (["--seed", "-2"], ["--seed", "-2"]),
    ],
)
def test_headless_bad_input_is_one_line_and_status_2(tmp_path, capsys, more, words):
    assert main(headless(tmp_path, *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:") and all(word in line for word in words)


@pytest.mark.parametrize(("backend", "told"), [("foo", "valid are"), ("jax", "pip install jax")])
def test_a_backend_that_is_not_there_is_one_line(monkeypatch, capsys, backend, told):
    import importlib.util

    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["params/models/basic_cnn.yaml", "--data", "synthetic"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: KERAS_BACKEND is {backend}") and told in error


def test_fit_ends_with_its_last_batch():
    """Keras' own pipeline for arrays lets fits of a little over 1.3 s wait for up to 1.2 s."""
    import keras

    images = np.random.default_rng(0).random((512, 24, 24, 16), "float32")
    network = keras.Sequential(
        [keras.layers.Conv2D(16, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
    )
    network.compile("sgd", "mse")
    last = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: last.append(time.perf_counter())
    )

    def seconds(repeats):
        """How long a fit of so many times these images takes, and what of it after its batches."""
        start = time.perf_counter()
        inputs = np.tile(images, (repeats, 1, 1, 1))
        made = devices.batches(inputs, np.zeros((len(inputs), 1), "float32"), size=32)
        network.fit(**made, shuffle=False, verbose=0, callbacks=[clock])
        return time.perf_counter() - start, time.perf_counter() - last[-1]

    seconds(1)
    repeats = int(1.4 / seconds(4)[0] * 4) + 1
    tries = []
    for _ in range(5):  # a busy machine delays some of five; polling delays some of any five
        tries.append(max(seconds(repeats)[1] for _ in range(5)))
        if tries[-1] < 0.2:
            return
    raise AssertionError(f"longest waits of five fits each: {tries}")
