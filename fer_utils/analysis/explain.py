"""What a network sees: the feature maps of its layers and the filters of its first convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from fer_utils.models import devices


def mapped_layers(network: Any, most: int = 8) -> list[str]:
    """Names of the convolutions and max-pools, in order; at most `most`, evenly chosen.

    None of a network without a plain convolution, which has no filters to look at either.
    """
    kinds = {layer.name: type(layer).__name__ for layer in network.layers}
    if "Conv2D" not in kinds.values():
        return []
    names = [name for name, kind in kinds.items() if kind in ("Conv2D", "MaxPooling2D")]
    chosen = np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int)
    return [names[i] for i in chosen]


def feature_maps(network: Any, image: np.ndarray, layers: list[str]) -> dict[str, np.ndarray]:
    """Output (h, w, channels) of the named layers for one image uint8 (48, 48).

    choudhari (section 3.3) describes networks by these maps, layer by layer.
    """
    import keras

    devices.quiet()
    probe = keras.Model(network.inputs, [network.get_layer(name).output for name in layers])
    maps = probe.predict_on_batch(image[None, ..., None])
    return {name: found[0] for name, found in zip(layers, maps, strict=True)}


def first_filters(network: Any) -> np.ndarray:
    """Kernels (n, k, k) of the first convolution, averaged over its input channels.

    ValueError if the network has no plain convolution.
    """
    found = [layer for layer in network.layers if type(layer).__name__ == "Conv2D"]
    if not found:
        raise ValueError(f"{network.name} has no layer of kind Conv2D")
    return np.asarray(found[0].get_weights()[0]).mean(axis=2).transpose(2, 0, 1)


def grad_cam(network: Any, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """What speaks for a class in each image: heat (n, 48, 48) from 0 to 1, of images uint8.

    Grad-CAM (Selvaraju et al. 2017) on the last convolution, of the score before the softmax of
    the class (n,) asked for; zero throughout where nothing speaks for it. TensorFlow alone.
    ValueError if the network has no convolution or does not end in a dense softmax.
    """
    import cv2
    import keras
    import tensorflow as tf

    # the layers of a loaded network stand in two graphs, those of a copy in one
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    network = copy
    convolved = ("Conv2D", "BatchNormalization", "Activation", "Add")
    maps = [
        layer
        for layer in network.layers
        if len(layer.output.shape) == 4 and type(layer).__name__ in convolved
    ]
    if not maps:
        raise ValueError(f"{network.name} has no layer with feature maps")
    last = network.layers[-1]
    if type(last).__name__ != "Dense" or last.activation is not keras.activations.softmax:
        raise ValueError(f"{network.name} does not end in a dense layer with a softmax")
    both = keras.Model(network.inputs, [maps[-1].output, last.input])
    pixels = tf.cast(images[..., None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        found, hidden = both(pixels, training=False)
        scores = hidden @ tf.convert_to_tensor(last.kernel)
        scores = scores + last.bias if last.use_bias else scores
        chosen = tf.gather(scores, np.asarray(classes), axis=1, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(chosen, found), axis=(1, 2), keepdims=True)
    heat = np.maximum(np.asarray(tf.reduce_sum(weights * found, axis=-1)), 0)
    heat = np.stack([cv2.resize(one, (48, 48), interpolation=cv2.INTER_LINEAR) for one in heat])
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)
