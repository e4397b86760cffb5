"""Errors: the same images for all models, the right places drawn, pairs and fifths counted."""

import numpy as np
import pandas as pd
import pytest
from runs import make_run

from fer_utils import data
from fer_utils.analysis import errors, explain
from fer_utils.base import ResultError
from fer_utils.runs import store


@pytest.fixture
def runs(tmp_path):
    made = [
        make_run(tmp_path, "basic_cnn", correct=30),
        make_run(tmp_path, "deep_cnn", correct=45),
        make_run(tmp_path, "deep_cnn", correct=20, seed=1),
        make_run(tmp_path, "dcnn_three_class", correct=60),
        make_run(tmp_path, "basic_cnn", correct=60, protocol="holdout"),
    ]
    return [store.read_run(run.folder) for run in made]


def test_models_are_compared_on_the_same_images_best_first(runs):
    tested = errors.tested(runs)
    assert list(tested.runs) == ["deep_cnn", "basic_cnn"]  # seed 0, seven classes, official
    assert [int((p == tested.labels).sum()) for p in tested.predictions.values()] == [45, 30]
    assert errors.tested(runs, "validation").labels.tolist() == tested.labels.tolist()
    with pytest.raises(ResultError):
        errors.tested([])


def test_drawn_images_meet_the_condition_by_class_and_seed():
    labels, condition = np.arange(70) % 7, np.arange(70) >= 35
    places = errors.drawn(condition, labels, 3, seed=1)
    assert condition[places].all() and np.bincount(labels[places]).tolist() == [3] * 7
    assert np.array_equal(places, errors.drawn(condition, labels, 3, seed=1))
    assert not np.array_equal(places, errors.drawn(condition, labels, 3, seed=2))


def test_confused_pairs_are_counted_for_each_model(runs):
    table = errors.confused(errors.tested(runs), list(data.EMOTIONS))
    assert (table["label"] != table["predicted"]).all()
    # the helper's wrong answers are the next class: 15 of 60 for the one model, 30 for the other
    assert table["Deep CNN"].sum() == 15 and table["Basic CNN"].sum() == 30
    total = table["Deep CNN"] + table["Basic CNN"]
    assert total.is_monotonic_decreasing and (table["of"] >= table["Basic CNN"]).all()


def test_fifths_go_from_low_to_high_and_leave_out_the_unknown():
    values = pd.DataFrame({"size": [5.0, np.nan, 1, 2, 3, 4, 9, 8, 7, 6, 10]})
    correct = values["size"].to_numpy() > 5
    table = errors.by_fifth(values, correct)
    assert table["n"].tolist() == [2] * 5
    assert table["accuracy"].tolist() == [0, 0, 0.5, 1, 1]
    assert (table["accuracy_low"] <= table["accuracy"]).all()
    assert (table["accuracy_high"] >= table["accuracy"]).all()
    assert table["accuracy_low"][2] == pytest.approx(0.0945, abs=1e-4)  # Wilson, 1 of 2


def test_what_more_views_buy_is_told_on_the_same_images():
    """By a predictor that asks which side is brighter: every mirrored view contradicts it."""
    images = np.zeros((40, 48, 48), np.uint8)
    images[:20, :, :26], images[20:, :, 22:] = 200, 200
    labels = np.repeat([0, 1], 20)

    def predict(seen):
        left, right = seen[:, :, :24].mean((1, 2)), seen[:, :, 24:].mean((1, 2))
        first = (left / (left + right)).astype(np.float32)
        return np.stack([first, 1 - first], axis=1)

    table = errors.more_views(predict, images, labels)
    assert table["views"].tolist() == [1, 2, 10, 6, 6, 18]
    assert table["accuracy"][0] == 1 and table["gain"][0] == 0
    # a mirrored view says the opposite: of the mean nothing is left
    assert table["accuracy"][1] == pytest.approx(0.5) and table["gain"][1] == pytest.approx(-0.5)
    assert (table["gain_low"] <= table["gain"]).all()


def test_heat_lies_where_the_class_is_decided():
    """A network whose one filter sees brightness, and whose class 1 is the bright side's."""
    import keras

    network = keras.Sequential(
        [
            keras.Input((48, 48, 1)),
            keras.layers.Conv2D(1, 1),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    network.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.array([[-1.0, 1.0]]), np.zeros(2)])
    image = np.zeros((48, 48), np.uint8)
    image[10:20, 30:40] = 200
    heat = explain.grad_cam(network, np.stack([image, image]), np.array([1, 0]))
    assert heat.shape == (2, 48, 48) and heat[0].max() == pytest.approx(1)
    assert heat[0][10:20, 30:40].min() > 0.99 and heat[0][:9].max() == 0
    assert heat[1].max() == 0  # nothing speaks for the other class


def test_heat_of_a_saved_and_a_residual_network_and_of_none(tmp_path):
    import keras

    from fer_utils import models

    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48)).astype(np.uint8)
    basic = models.build("basic_cnn")
    basic.save(tmp_path / "basic.keras")
    saved = keras.models.load_model(tmp_path / "basic.keras", compile=False)
    heats = [explain.grad_cam(network, images, np.array([0, 1])) for network in (basic, saved)]
    np.testing.assert_allclose(*heats, atol=1e-4)
    heat = explain.grad_cam(models.build("fer_net", filters=(8, 16)), images, np.array([0, 1]))
    assert heat.shape == (2, 48, 48) and heat.max() <= 1
    apart = keras.Sequential(
        [keras.Input((48, 48, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(),
         keras.layers.Dense(7), keras.layers.Softmax()], name="apart"
    )  # fmt: skip
    with pytest.raises(ValueError, match="apart does not end in a dense layer"):
        explain.grad_cam(apart, images, np.array([0, 1]))
