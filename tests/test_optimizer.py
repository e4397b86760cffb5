"""Optimizer and averaged weights of a recipe: the rules it states, not those of a default."""

import numpy as np
import pytest

from fer_utils.training import recipe

RECIPE = {
    "optimizer": "sgd",
    "learning_rate": 0.2,
    "momentum": 0.9,
    "weight_decay": None,
    "weight_average": None,
    "one_cycle": None,
    "label_smoothing": 0.0,
    "mixing": None,
}


def line():
    """A network of one kernel and one bias, and its compile arguments left open."""
    import keras

    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing():
    rate = recipe.one_cycle(0.2, 100, rise=0.3)
    values = [float(rate(step)) for step in range(101)]
    assert values[0] == pytest.approx(0.2 / 25)
    assert max(values) == pytest.approx(0.2) and int(np.argmax(values)) == 30
    assert values[100] == pytest.approx(0, abs=1e-6)
    assert (np.diff(values[:31]) > 0).all() and (np.diff(values[30:]) < 0).all()
    usual = recipe.optimizer(RECIPE | {"one_cycle": {}}, 100)
    assert recipe.rate(usual) == pytest.approx(0.2 / 25)


def test_weight_decay_shrinks_kernels_and_leaves_biases():
    network = line()
    made = recipe.optimizer(RECIPE | {"weight_decay": 0.01}, 10)
    kernel, bias = network.trainable_variables
    bias.assign([3.0])
    before = kernel.numpy()
    made.apply([np.zeros((2, 1), "float32"), np.zeros(1, "float32")], [kernel, bias])
    np.testing.assert_allclose(kernel.numpy(), before * (1 - 0.2 * 0.01), rtol=1e-6)
    assert bias.numpy() == 3.0


def test_average_follows_the_weights_and_stands_in_for_them_only_in_the_block():
    import keras

    network = line()
    made = recipe.optimizer(RECIPE | {"weight_average": 0.5}, 10)
    network.compile(optimizer=made, loss="mse")
    seen, averages = [], []

    def end(epoch, logs):
        seen.append(network.get_weights()[0].copy())
        with recipe.averaged(made, network.trainable_variables):
            averages.append(network.get_weights()[0].copy())
        np.testing.assert_array_equal(network.get_weights()[0], seen[-1])

    images, targets = np.ones((8, 2), "float32"), np.full(8, 5.0, "float32")
    watch = keras.callbacks.LambdaCallback(on_epoch_end=end)
    network.fit(images, targets, batch_size=8, epochs=4, verbose=0, callbacks=[watch])
    expected = seen[0]
    for weights in seen[1:]:
        expected = 0.5 * expected + 0.5 * weights
    np.testing.assert_allclose(averages[-1], expected, rtol=1e-5)


def test_smoothed_loss_spreads_a_tenth_over_all_classes():
    smoothed = recipe.loss(RECIPE | {"label_smoothing": 0.1})
    probabilities = np.array([[0.7, 0.2, 0.1]], "float32")
    target = np.array([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    value = float(smoothed(np.array([[1.0, 0.0, 0.0]], "float32"), probabilities))
    assert value == pytest.approx(float(-(target * np.log(probabilities[0])).sum()), rel=1e-5)
