"""Training: complete records, the same numbers again, and nothing lost by an interruption."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_data import write_csv

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import training
from fer_utils.base import ROOT
from fer_utils.data import preprocess
from fer_utils.models import devices
from fer_utils.runs import store
from fer_utils.training import task as protocol
from fer_utils.training import train
from fer_utils.training.__main__ import main
from fer_utils.training.recipe import Schedule
from fer_utils.training.task import Task

LIMITS = {"epochs": 3, "train_limit": 200, "early_stopping": None}


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=800,seed=1")


def params(model="basic_cnn", **changes):
    return parameters.model(model, None, **{**LIMITS, **changes})


def without_timing(metrics):
    return {key: value for key, value in metrics.items() if key != "timing"}


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    return training.run(params(), dataset, tmp_path_factory.mktemp("study"), seed=4)


def test_run_folder_is_complete_and_fits_the_schema(finished):
    run = store.read_run(finished.folder)
    files = {path.name for path in run.folder.iterdir() if path.name != ".lock"}
    assert files == {"metrics.json", "history.csv", "predictions.npz", "model.keras"}
    assert run.metrics["protocol"]["test"] == "PrivateTest"
    assert run.metrics["protocol"]["selected_on"] == "val_loss of PublicTest"
    assert set(run.metrics["scores"]) >= {"train", "PublicTest", "PrivateTest"}
    assert run.metrics["seed"] == 4 and run.metrics["params"] == params()


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
    task = Task(params(**stopping | recipe), dataset, 0)
    predictions = task.predictions(lambda part: np.full((len(part), 7), 1 / 7))
    record = task.record(predictions, model={}, timing={}, engine={})
    assert record["protocol"]["selected_on"] == told


def test_scores_follow_from_the_saved_predictions(finished, dataset):
    test = finished.predictions("PrivateTest")
    assert test["probabilities"].dtype == np.float32
    np.testing.assert_array_equal(dataset.labels[test["index"]], test["labels"])
    assert set(dataset.usage[test["index"]]) == {"PrivateTest"}
    right = (test["probabilities"].argmax(axis=1) == test["labels"]).mean()
    assert finished.metrics["scores"]["PrivateTest"]["accuracy"] == pytest.approx(right)


def test_saved_model_gives_the_recorded_probabilities(finished, dataset):
    import keras

    network = keras.models.load_model(finished.folder / "model.keras")
    test = finished.predictions("PrivateTest")
    again = network.predict(dataset.images[test["index"]][..., None], batch_size=256, verbose=0)
    np.testing.assert_allclose(again, test["probabilities"], atol=1e-5)


def test_score_without_known_images_leaves_out_the_copies(finished, dataset):
    from fer_utils.data import quality

    scores = finished.metrics["scores"]
    known = quality.in_training(dataset)[dataset.usage == "PrivateTest"].sum()
    assert known > 0
    assert scores["PrivateTest_not_in_training"]["n"] == scores["PrivateTest"]["n"] - known


def test_history_has_one_row_per_epoch_and_the_kept_epoch_is_the_best(finished):
    history = finished.history
    assert history["epoch"].tolist() == [1, 2, 3]
    best = history.loc[history["val_loss"].idxmin(), "epoch"]
    assert finished.metrics["model"]["best_epoch"] == best


def test_same_seed_same_record_other_seed_other_record(finished, dataset, tmp_path):
    again = training.run(params(), dataset, tmp_path / "a", seed=4)
    assert without_timing(again.metrics) == without_timing(finished.metrics)
    other = training.run(params(), dataset, tmp_path / "b", seed=5)
    assert other.metrics["scores"] != finished.metrics["scores"]


def test_finished_run_is_presented_and_a_changed_one_is_trained(finished, dataset):
    lines = []
    study = finished.folder.parent.parent.parent
    again = training.run(params(), dataset, study, seed=4, say=lines.append)
    assert "finished run" in lines[0] and again.metrics == finished.metrics
    lines = []
    changed = training.run(params(epochs=1), dataset, study, seed=4, say=lines.append)
    assert "trained anew" in lines[0] and lines[1].startswith("epoch   1/1")
    assert changed.metrics["model"]["epochs_run"] == 1


def test_what_a_new_recipe_does_away_with_is_told(dataset, tmp_path):
    def interrupt(line):
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    lines = []
    with pytest.raises(KeyboardInterrupt):
        training.run(params(), dataset, tmp_path, say=interrupt)
    for epochs in (2, 1):
        training.run(params(epochs=epochs), dataset, tmp_path, say=lines.append)
    assert "the checkpoint is of other parameters" in lines[0]
    assert "the finished run there is of other parameters" in lines[3]


def test_damaged_checkpoint_starts_training_anew(dataset, tmp_path):
    for damage in (b"", b"PK\x03\x04 cut"):
        folder = store.run_folder(tmp_path, "basic_cnn", 0)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkpoint.npz").write_bytes(damage)
        assert training.run(params(epochs=1), dataset, tmp_path).metrics["model"]["epochs_run"] == 1
        (folder / "metrics.json").unlink()


def test_class_subset_keeps_indices_into_the_whole_data(dataset, tmp_path):
    three = params(epochs=1) | {
        "classes": ["happiness", "sadness", "neutral"],
        "protocol": "pooled",
    }
    run = training.run(three, dataset, tmp_path)
    assert run.metrics["protocol"]["test"] == run.metrics["protocol"]["validation"]
    test = run.predictions(run.metrics["protocol"]["test"])
    assert test["probabilities"].shape[1] == 3
    names = np.array(run.metrics["protocol"]["classes"])[test["labels"]]
    np.testing.assert_array_equal(np.array(datasets.EMOTIONS)[dataset.labels[test["index"]]], names)


def test_paper_protocol_with_other_images_is_trained_by_itself(dataset, tmp_path):
    complete = parameters.protocols("basic_cnn", None, epochs=1)
    lines = []
    common, own = training.run_protocols(complete, dataset, tmp_path, say=lines.append)
    assert sum(line.startswith("epoch") for line in lines) == 2
    assert own.metrics["protocol"]["test"] == "PublicTest"
    tested = set(dataset.usage[own.predictions("PublicTest")["index"]])
    trained = own.predictions("train")["index"]
    validated = own.predictions("validation")["index"]
    assert tested == {"PublicTest"} and set(dataset.usage[trained]) == {"Training"}
    assert not set(trained) & set(validated)


def test_paper_protocol_that_the_data_cannot_give_is_told_and_left_out(dataset, tmp_path):
    without = dataset.take(dataset.usage != "PublicTest")
    lines = []
    complete = parameters.protocols("basic_cnn", None, epochs=1)
    runs = training.run_protocols(complete, without, tmp_path, say=lines.append)
    assert [run.metrics["protocol"]["name"] for run in runs] == ["official"]
    assert "left out" in lines[-1] and "PublicTest" in lines[-1]
    with pytest.raises(datasets.DataError, match="PublicTest"):  # asked for by itself
        training.run_protocols(complete[1:], without, tmp_path, say=lines.append)


def test_score_without_known_images_counts_the_whole_training_split(dataset, tmp_path):
    from fer_utils.data import quality

    run = training.run(params(epochs=1, train_limit=50), dataset, tmp_path)
    known = quality.in_training(dataset)[dataset.usage == "PrivateTest"].sum()
    scores = run.metrics["scores"]
    assert scores["train"]["n"] == 50
    assert scores["PrivateTest_not_in_training"]["n"] == scores["PrivateTest"]["n"] - known


def test_class_weights_reach_training(dataset, tmp_path):
    plain = training.run(params(epochs=1), dataset, tmp_path / "none")
    run = training.run(params(epochs=1, balance="class_weights"), dataset, tmp_path / "weighted")
    assert run.history["loss"][0] != plain.history["loss"][0]


def test_a_run_is_trained_again_only_if_parameters_data_seed_or_version_change(
    dataset, tmp_path, monkeypatch
):
    run = training.run(params(epochs=1), dataset, tmp_path)
    path = run.folder / "metrics.json"
    record = json.loads(path.read_text())
    assert record["environment"]["training_version"] == training.TRAINING_VERSION
    # a key of an earlier record that is no longer known counts if it has a value
    for value, again in ((None, True), ([24, 48], False)):
        record["params"]["training"]["progressive_resizing"] = value
        path.write_text(json.dumps(record))
        task = Task(params(epochs=1), dataset, 0)
        assert bool(task.finished(run.folder, "model.keras")) == again
    path.write_text(json.dumps(run.metrics))
    assert Task(params(epochs=1), dataset, 0).finished(run.folder, "model.keras")
    assert not Task(params(epochs=1), dataset, 1).finished(run.folder, "model.keras")
    monkeypatch.setattr(protocol, "TRAINING_VERSION", 2)
    assert not Task(params(epochs=1), dataset, 0).finished(run.folder, "model.keras")


def test_every_protocol_is_trained_by_itself(dataset, tmp_path):
    limits = {"epochs": 2, "batch_size": 64, "train_limit": 100}
    complete = parameters.protocols("six_layer_cnn", None, **limits)
    lines = []
    common, own = training.run_protocols(complete, dataset, tmp_path, say=lines.append)
    assert sum(line.startswith("epoch") for line in lines) == 4
    assert own.folder == common.folder / "publictest"
    assert own.metrics["protocol"]["test"] == "PublicTest"
    assert "PrivateTest" not in own.metrics["scores"]
    assert own.test == common.metrics["scores"]["PublicTest"]  # the same images and seed


def follow(losses, **rules):
    """Epochs run and learning rate after validation losses under the rules."""
    recipe = {"keep_best": "val_loss", "early_stopping": None, "reduce_lr": None, "epochs": 99}
    schedule, rate = Schedule(recipe | rules), 0.1
    for number, loss in enumerate(losses, 1):
        entry = {"epoch": number, "val_loss": loss, "val_accuracy": 1 - loss, "learning_rate": rate}
        schedule.follow(entry)
        rate = schedule.state["learning_rate"]
        if schedule.finished(number):
            break
    return number, rate, schedule.state["best_epoch"]


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_early_stopping_waits_for_its_patience(monitor):
    rule = {"monitor": monitor, "patience": 3}
    number, _, best = follow([0.5, 0.4, 0.45, 0.42, 0.41, 0.3], early_stopping=rule)
    assert (number, best) == (5, 2)


def test_training_ends_with_its_epochs():
    assert follow([0.5, 0.4, 0.3, 0.2], epochs=3)[0] == 3


def test_plateau_lowers_the_rate_down_to_its_floor():
    rule = {"monitor": "val_loss", "factor": 0.5, "patience": 2, "minimum": 0.03}
    assert follow([0.5, 0.5, 0.5], reduce_lr=rule)[1] == pytest.approx(0.05)
    assert follow([0.5, 0.49995, 0.4999], reduce_lr=rule)[1] == pytest.approx(0.05)
    assert follow([0.5, 0.5, 0.4], reduce_lr=rule)[1] == pytest.approx(0.1)
    assert follow([0.5] * 9, reduce_lr=rule)[1] == pytest.approx(0.03)


def headless(study, *more):
    return [
        sys.executable, "-m", "fer_utils.training", "params/models/basic_cnn.yaml",
        "--data", "synthetic:n=800,seed=1", "--results", str(study), "--protocol", "official",
        *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    study = tmp_path_factory.mktemp("whole")
    subprocess.run(headless(study, "--epochs", "6"), cwd=ROOT, check=True)
    return store.read_run(store.run_folder(study, "basic_cnn", 0))


def written(folder):
    return (folder / "checkpoint.npz").exists()


def being_written(folder):
    return written(folder) and any(folder.glob(".checkpoint*.partial*"))


def lines(count):
    """Until training has printed this many lines, one for each epoch."""
    return lambda folder: (folder / "said").read_text().count("epoch ") >= count


@pytest.mark.parametrize("moment", [written, being_written, lines(3)], ids=["a", "b", "c"])
def test_killed_training_goes_on_and_ends_like_an_uninterrupted_one(
    uninterrupted, tmp_path, moment
):
    """A real SIGKILL: with the first checkpoint, while one is written, within an epoch."""
    folder = store.run_folder(tmp_path, "basic_cnn", 0)
    folder.mkdir(parents=True)
    with open(folder / "said", "w") as said:
        process = subprocess.Popen(
            [sys.executable, "-u", *headless(tmp_path, "--epochs", "6")[1:]],
            cwd=ROOT, stdout=said,
        )  # fmt: skip
        deadline = time.time() + 120
        while not moment(folder) and process.poll() is None and time.time() < deadline:
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert written(folder) and not (folder / "metrics.json").exists()
    done = subprocess.run(
        headless(tmp_path, "--epochs", "6"),
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "resumed after epoch" in done.stdout
    second = store.read_run(folder)
    assert without_timing(uninterrupted.metrics) == without_timing(second.metrics)
    timed = ["seconds", "images_per_second"]
    first_history, history = (run.history.drop(columns=timed) for run in (uninterrupted, second))
    assert first_history.equals(history)
    np.testing.assert_array_equal(
        uninterrupted.predictions("PrivateTest")["probabilities"],
        second.predictions("PrivateTest")["probabilities"],
    )
    left = {path.name for path in folder.iterdir()} - {"said", ".lock"}
    assert left == {"metrics.json", "history.csv", "predictions.npz", "model.keras"}


def test_faces_of_a_file_are_trained_on_without_a_notebook(tmp_path, capsys):
    path = write_csv(tmp_path / "fer2013.csv", datasets.load("synthetic:n=100,seed=1"))
    words = ["--data", str(path), "--results", str(tmp_path), "--protocol", "official"]
    assert main(["params/models/basic_cnn.yaml", *words, "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert "(100 images), run folder" in said and "PrivateTest images right" in said
    assert store.finished_runs(tmp_path)[0].metrics["data"]["kind"] == "csv"


def test_checkpoint_holds_no_images(dataset, tmp_path, monkeypatch):
    """They are on the device beside the weights, and of no use in a file written every epoch."""
    monkeypatch.setattr(train, "score", lambda made: None)
    monkeypatch.setattr(train, "record", lambda made, scored: None)
    training.run(params(epochs=1), dataset, tmp_path)
    with np.load(store.run_folder(tmp_path, "basic_cnn", 0) / "checkpoint.npz") as saved:
        assert not any(saved[name].dtype == np.uint8 for name in saved.files)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--epochs", "-1"], ["epochs", "-1", "at least 1"]),
        (["--data", "/no/such.csv"], ["/no/such.csv"]),
        (["--seed", "-2"], ["--seed", "-2"]),
    ],
)
def test_headless_bad_input_is_one_line_and_status_2(tmp_path, more, words):
    done = subprocess.run(headless(tmp_path, *more), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and "Traceback" not in done.stderr
    assert all(word in lines[0] for word in words)


def test_record_keeps_no_path_of_the_machine(finished, tmp_path):
    assert str(finished.folder.parent) not in json.dumps(finished.metrics)


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
    "views": {"shift": 2},
}


def test_a_resumed_run_with_averaged_weights_and_mixing_equals_an_uninterrupted_one(
    dataset, tmp_path
):
    def interrupt(line):
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    whole = training.run(params(**MODERN), dataset, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        training.run(params(**MODERN), dataset, tmp_path / "cut", say=interrupt)
    lines = []
    resumed = training.run(params(**MODERN), dataset, tmp_path / "cut", say=lines.append)
    assert lines[0] == "resumed after epoch 1"
    assert without_timing(resumed.metrics) == without_timing(whole.metrics)
    assert whole.metrics["model"]["best_epoch"] == 3
    assert whole.metrics["protocol"]["selected_on"].startswith("nothing")
    rates = whole.history["learning_rate"]
    assert rates[0] < rates[1] > rates[2]


def test_averaged_views_are_scored_beside_the_single_view(dataset, tmp_path):
    run = training.run(params(epochs=1, views={"shift": 2}), dataset, tmp_path)
    scores = run.metrics["scores"]
    assert {"PublicTest_views", "PrivateTest_views"} < set(scores)
    twin = scores["PrivateTest_views_not_in_training"]
    assert twin["n"] == scores["PrivateTest_not_in_training"]["n"]
    import keras

    network = keras.models.load_model(run.folder / "model.keras")
    test = run.predictions("PrivateTest_views")
    images = dataset.images[test["index"]]
    seen = [network.predict(v[..., None], verbose=0) for v in preprocess.views(images, 2)]
    np.testing.assert_allclose(np.mean(seen, axis=0), test["probabilities"], atol=1e-5)


def test_a_checkpoint_of_another_precision_is_not_gone_on_with(dataset, tmp_path, monkeypatch):
    import keras

    def interrupt(line):
        if line.startswith("epoch   2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(params(), dataset, tmp_path, say=interrupt)
    assert keras.config.dtype_policy().name == "float32"  # what is built next is not of it
    monkeypatch.setattr(devices, "precision_for", lambda choice: "mixed_float16")
    lines = []
    run = training.run(params(), dataset, tmp_path, say=lines.append)
    assert "training starts anew" in lines[0] and lines[1].startswith("epoch   1/3")
    assert run.metrics["environment"]["precision"] == "mixed_float16"


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
    repeats = int(1.5 / seconds(4)[0] * 4) + 1
    tries = []
    for _ in range(5):  # a busy machine delays some of ten; polling delays some of any ten
        tries.append(max(seconds(repeats)[1] for _ in range(10)))
        if tries[-1] < 0.2:
            return
    raise AssertionError(f"longest waits of ten fits each: {tries}")
