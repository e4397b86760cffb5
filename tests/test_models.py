"""Builders: the papers' architectures, their size, and what a saved model takes and gives."""

import numpy as np
import pytest

from fer_utils import layers, models
from fer_utils.parameters import ParameterError

PARAMETERS = {"basic_cnn": 839_047, "deep_cnn": 2_651_623}


def test_every_builder_has_its_count_here():
    assert models.names() == sorted(PARAMETERS)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_count_is_the_documented_one(name):
    network = models.build(name)
    assert network.count_params() == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,}" in models._BUILDERS[name].__doc__


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_pixels_in_float32_probabilities_out(name):
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    output = models.build(name, classes=3).predict(images, verbose=0)
    assert output.shape == (3, 3) and output.dtype == np.float32
    np.testing.assert_allclose(output.sum(axis=1), 1, atol=1e-5)


def test_layers_are_those_of_the_paper():
    kinds = [type(layer).__name__ for layer in models.build("deep_cnn").layers]
    assert kinds.count("Conv2D") == 6 and kinds.count("BatchNormalization") == 6
    assert kinds.count("MaxPooling2D") == 3 and kinds.count("Dropout") == 4
    filters = [
        layer.filters
        for layer in models.build("basic_cnn").layers
        if type(layer).__name__ == "Conv2D"
    ]
    assert filters == [32, 64]


def test_unknown_model_and_option_are_named():
    with pytest.raises(ParameterError, match="did you mean basic_cnn"):
        models.build("basic_cn")
    with pytest.raises(ParameterError, match="no option 'width'; it takes classes"):
        models.build("basic_cnn", width=2)


def network_with_normalisation():
    import keras

    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
        ]
    )


def test_fused_normalisation_gives_keras_numbers_in_training_and_inference():
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float32")
    plain = network_with_normalisation()
    fused = layers.fuse(plain)
    rng = np.random.default_rng(0)
    for _ in range(5):
        batch = rng.normal(3, 2, (16, 6, 6, 3)).astype(np.float32)
        np.testing.assert_allclose(
            fused(batch, training=True), plain(batch, training=True), atol=1e-5
        )
    for ours, keras_own in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, keras_own, atol=1e-5)
    np.testing.assert_allclose(fused(batch), plain(batch), atol=1e-5)


def test_fused_normalisation_gives_keras_gradients():
    import tensorflow as tf

    plain = network_with_normalisation()
    fused = layers.fuse(plain)
    batch = np.random.default_rng(1).normal(0, 1, (16, 6, 6, 3)).astype(np.float32)
    gradients = []
    for network in (plain, fused):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(batch, training=True) ** 3)
        gradients.append(tape.gradient(loss, [v.value for v in network.trainable_variables]))
    for ours, keras_own in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-3, atol=1e-3)


def test_fusing_replaces_every_normalisation_of_a_network():
    kinds = [type(layer).__name__ for layer in layers.fuse(models.build("deep_cnn")).layers]
    assert kinds.count("FusedBatchNormalization") == 6 and "BatchNormalization" not in kinds
