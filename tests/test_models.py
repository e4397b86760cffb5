"""Builders: the papers' architectures, their size, and what a saved model takes and gives."""

import functools

import numpy as np
import pytest

from fer_utils import models
from fer_utils.config import ParameterError
from fer_utils.models import layers

PARAMETERS = {
    "basic_cnn": 839_047,
    "dcnn_three_class": 2_395_075,
    "deep_cnn": 2_651_623,
    "fer_net": 1_961_639,
    "heavy_cnn": 5_279_431,
    "light_cnn": 1_469_543,
    "pipeline_cnn": 684_423,
    "resnet50": 24_114_055,
    "six_layer_cnn": 1_210_343,
}


@functools.cache
def network(name):
    """Each network once; ResNet-50 for 48 pixels."""
    return models.build(name, **({"size": 48} if name == "resnet50" else {}))


def layers_of(name, kind):
    return [layer for layer in network(name).layers if type(layer).__name__ == kind]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_size_is_the_documented_one_and_pixels_give_probabilities(name):
    assert network(name).count_params() == PARAMETERS[name]
    assert f"{PARAMETERS[name]:,}" in models.describe(name)
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), dtype=np.uint8)
    output = network(name).predict_on_batch(images)
    assert output.shape == (3, 3 if name == "dcnn_three_class" else 7)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output.sum(axis=1), 1, atol=1e-5)


def test_a_seed_gives_the_same_weights_whatever_keras_is_set_to():
    import keras

    keras.utils.set_random_seed(0)
    expected = models.build("basic_cnn").get_weights()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float16")
    keras.utils.set_random_seed(0)
    for ours, theirs in zip(models.build("basic_cnn").get_weights(), expected, strict=True):
        assert ours.dtype == theirs.dtype and (ours == theirs).all()


@pytest.mark.parametrize(
    ("name", "filters", "kernels", "dropouts", "dense"),
    [
        ("basic_cnn", [32, 64], [3] * 2, [], [128]),
        ("deep_cnn", [32, 32, 64, 64, 128, 128], [3] * 6, [0.25] * 3 + [0.5], [512]),
        ("six_layer_cnn", [32, 32, 64, 64, 128, 128], [3] * 6, [0.2] * 2, [288]),
        ("dcnn_three_class", [64, 64, 128, 128, 256, 256], [5, 5, 3, 3, 3, 3],
         [0.4, 0.4, 0.5, 0.6], [128]),
        ("heavy_cnn", [64, 64, 128, 128, 256], [3] * 5, [0.25] * 3 + [0.5], [512]),
        ("light_cnn", [32, 32, 64, 64, 128], [3] * 5, [0.4] * 3 + [0.5], [288]),
        ("pipeline_cnn", [32, 64, 128], [3] * 3, [0.25] * 3 + [0.5], [128]),
    ],
)  # fmt: skip
def test_layers_have_the_sizes_of_the_docstring(name, filters, kernels, dropouts, dense):
    convolutions = layers_of(name, "Conv2D")
    assert [layer.filters for layer in convolutions] == filters
    assert [layer.kernel_size for layer in convolutions] == [(k, k) for k in kernels]
    assert [layer.rate for layer in layers_of(name, "Dropout")] == dropouts
    assert [layer.units for layer in layers_of(name, "Dense")][:-1] == dense


def test_what_the_papers_say_of_single_layers():
    pools = layers_of("six_layer_cnn", "MaxPooling2D")
    assert [pool.pool_size for pool in pools] == [(3, 3), (3, 3), (2, 2)]
    assert [pool.strides for pool in pools] == [(2, 2)] * 3
    for layer in layers_of("dcnn_three_class", "Conv2D"):
        assert layer.activation.__name__ == "elu"
        assert type(layer.kernel_initializer).__name__ == "HeNormal"
    assert len(layers_of("deep_cnn", "BatchNormalization")) == 6


def test_resnet50_trains_what_is_asked_for():
    assert len(network("resnet50").trainable_weights) == 4
    last = models.build("resnet50", fine_tune="last_stage", size=48)
    assert len(last.trainable_weights) == 4 + 40
    with pytest.raises(ParameterError, match="valid are head, last_stage, all"):
        models.build("resnet50", fine_tune="top")


def test_unknown_model_and_option_are_named():
    with pytest.raises(ParameterError, match="did you mean basic_cnn"):
        models.build("basic_cn")
    with pytest.raises(ParameterError, match="no option 'width'; it takes none"):
        models.build("basic_cnn", width=2)
    with pytest.raises(ParameterError, match="no option 'width'; it takes size, fine_tune"):
        models.build("resnet50", width=2)
    with pytest.raises(ParameterError, match="no option 'classes'; `classes` of the file"):
        models.check("resnet50", {"classes": 3})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("filters", 64),
        ("filters", []),
        ("filters", [8, "x"]),
        ("residuals", 1.5),
        ("squeeze", 1),
        ("dropout", True),
        ("dropout", "half"),
    ],
)
def test_option_of_another_kind_is_told_before_anything_is_built(option, value):
    models.check("fer_net", {"filters": [8, 16], "dropout": 0, "squeeze": True})
    with pytest.raises(ParameterError, match=f"option '{option}' of fer_net is .* of its default"):
        models.check("fer_net", {option: value})


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


def test_fused_normalisation_gives_keras_numbers_and_gradients():
    import keras
    import tensorflow as tf

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
    gradients = []
    for each in (plain, fused):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(each(batch, training=True) ** 3)
        gradients.append(tape.gradient(loss, [v.value for v in each.trainable_variables]))
    for ours, keras_own in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, keras_own, rtol=1e-3, atol=1e-3)


def test_fusing_replaces_every_normalisation_of_a_network():
    kinds = [type(layer).__name__ for layer in layers.fuse(network("deep_cnn")).layers]
    assert kinds.count("FusedBatchNormalization") == 6 and "BatchNormalization" not in kinds


def test_architecture_is_drawn_with_its_sums():
    from fer_utils import plots

    axis = plots.architecture(models.build("fer_net", squeeze=True)).axes[0]
    texts = [text.get_text() for text in axis.texts]
    assert [t for t in texts if "x" in t] == ["48x48", "24x24", "12x12", "6x6"]
    assert texts.count("256") == 3 and texts.count("7") == 1
    assert sum(text == "" for text in texts) == 4  # arcs, one a stage
