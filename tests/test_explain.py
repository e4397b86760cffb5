"""Feature maps and filters are those of the network that is shown."""

import numpy as np

from fer_utils import models
from fer_utils.analysis import explain


def test_feature_maps_are_the_layers_outputs_with_their_sizes():
    network = models.build("basic_cnn")
    names = explain.mapped_layers(network)
    image = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    maps = explain.feature_maps(network, image, names)
    assert [found.shape for found in maps.values()] == [
        (46, 46, 32), (23, 23, 32), (21, 21, 64), (10, 10, 64)
    ]  # fmt: skip
    kernel, bias = network.layers[1].get_weights()
    window = image[:3, :3, None, None] / 255
    expected = np.maximum((window * kernel).sum(axis=(0, 1, 2)) + bias, 0)
    np.testing.assert_allclose(maps[names[0]][0, 0], expected, atol=1e-4)


def test_a_deep_network_shows_a_few_layers_from_first_to_last():
    network = models.build("resnet50", size=48)
    names = explain.mapped_layers(network, most=6)
    assert len(names) == 6 and names[0] == "conv1_conv" and names[-1].startswith("conv5")


def test_a_network_without_convolution_has_nothing_to_show():
    import keras
    import pytest

    stack = [keras.Input((48, 48, 1)), keras.layers.SeparableConv2D(4, 3)]
    network = keras.Sequential([*stack, keras.layers.MaxPooling2D()], name="flat")
    assert explain.mapped_layers(network) == []
    with pytest.raises(ValueError, match="flat has no layer of kind Conv2D"):
        explain.first_filters(network)


def test_filters_are_the_first_kernels():
    network = models.build("dcnn_three_class")
    kernels = explain.first_filters(network)
    assert kernels.shape == (64, 5, 5)
    first = next(layer for layer in network.layers if type(layer).__name__ == "Conv2D")
    np.testing.assert_array_equal(kernels[7], first.get_weights()[0][:, :, 0, 7])
