"""Weights of a transferred base and its features: what was used is recorded, nothing is guessed."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import models, training
from fer_utils.config import ParameterError
from fer_utils.models import torchvision
from fer_utils.training import transfer

LIMITS = {"epochs": 1, "train_limit": 48, "early_stopping": None}
LAYERS = ("conv1_conv", "conv3_block1_0_bn", "conv5_block3_3_bn")


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=500,seed=1")


@pytest.fixture(scope="module")
def source():
    """A ResNet-50 of random weights."""
    import keras

    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    return models.build("resnet50", size=48)


@pytest.fixture(scope="module")
def network():
    """The network that weights are loaded into."""
    return models.build("resnet50", size=48)


@pytest.fixture(scope="module")
def files(source, tmp_path_factory):
    """The weights in the layout of Keras' ImageNet files without and with top, and as a model."""
    import h5py
    import keras

    folder = tmp_path_factory.mktemp("weights")
    layers = [layer for layer in source.layers if layer.weights]
    for name, kept in (("no_top.h5", layers[:-2]), ("top.h5", layers)):
        with h5py.File(folder / name, "w") as file:
            file.attrs["layer_names"] = np.array([layer.name for layer in kept], dtype="S")
            for layer in kept:
                group = file.create_group(layer.name)
                names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
                group.attrs["weight_names"] = np.array(names, dtype="S")
                for weight, array in zip(names, layer.get_weights(), strict=True):
                    group[weight] = array
    base = keras.Model(source.input, source.get_layer(transfer.POOLED).output, name="resnet50")
    keras.Sequential([base, keras.layers.Dense(3)]).save(folder / "nested.keras")
    source.save(folder / "whole.keras")
    return folder


def params(weights, **options):
    complete = parameters.model("resnet50", None, weights=str(weights), **LIMITS)
    complete["options"] |= {"size": 48, **options}
    return complete


def load(network, path):
    transfer.load(network, transfer.settle(params(path))["training"]["weights"])


def cleared(network):
    network.set_weights([np.zeros(weight.shape) for weight in network.weights])
    return network


def same(ours, theirs):
    return all(
        np.array_equal(a, b)
        for name in LAYERS
        for a, b in zip(*(n.get_layer(name).get_weights() for n in (ours, theirs)), strict=True)
    )


def test_the_weights_decide_the_recipe_and_the_title():
    scratch = transfer.settle(parameters.model("resnet50", weights=None))
    assert scratch["title"] == "ResNet-50 from scratch" and scratch["options"]["fine_tune"] == "all"
    assert scratch["training"]["weights"] is None
    paper = transfer.settle(parameters.model("resnet50"))
    assert paper["options"] == {"size": 224, "fine_tune": "head"}
    assert [transfer.kind(each) for each in (scratch, paper)] == [
        "random weights, from scratch", "ImageNet weights"
    ]  # fmt: skip
    plain = parameters.model("basic_cnn")
    assert transfer.settle(plain) == plain and transfer.kind(plain) == ""


@pytest.mark.parametrize("name", ["no_top.h5", "top.h5", "whole.keras", "nested.keras"])
def test_keras_files_with_and_without_top_reach_the_network(files, source, network, name):
    load(cleared(network), files / name)
    assert same(network, source)


def test_a_file_is_recorded_by_name_and_content_and_keras_own_as_imagenet(files, monkeypatch):
    path = files / "no_top.h5"
    settled = transfer.settle(params(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = {"kind": "file", "name": "no_top.h5", "sha256": digest}
    assert settled["training"]["weights"] == named and settled["title"] == "ResNet-50 (no_top.h5)"
    monkeypatch.setattr(transfer, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    settled = transfer.settle(params(path))
    assert settled["training"]["weights"]["kind"] == "imagenet"
    assert settled["title"] == "ResNet-50"


def state_dict():
    """A state dict of random arrays with the names and shapes of torchvision's ResNet-50."""
    rng, state = np.random.default_rng(0), {"fc.weight": np.zeros((1000, 2048), "f4")}
    for stage, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(count):
            entry = width if stage == 1 and block == 0 else 2 * width if block == 0 else 4 * width
            shapes = [(width, entry, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)]
            parts = [(f"conv{i}", f"bn{i}", shape) for i, shape in enumerate(shapes, 1)]
            if block == 0:
                parts.append(("downsample.0", "downsample.1", (4 * width, entry, 1, 1)))
            for convolution, norm, shape in parts:
                place = f"layer{stage}.{block}."
                state[place + convolution + ".weight"] = shape
                state[place + norm] = shape[0]
    state |= {"conv1.weight": (64, 3, 7, 7), "bn1": 64}
    for key, shape in list(state.items()):
        if isinstance(shape, tuple):
            spread = np.sqrt(2 / np.prod(shape[1:]))
            state[key] = rng.normal(0, spread, shape).astype("f4")
        elif isinstance(shape, int):
            del state[key]
            for each in torchvision.NORMALISATION:
                state[f"{key}.{each}"] = rng.uniform(0.5, 1.5, shape).astype("f4")
            state[f"{key}.num_batches_tracked"] = np.array(5)
    return state


def safetensors(path, state):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    names = {"f4": "F32", "i8": "I64"}
    for key, array in state.items():
        offsets, end = [end, end + array.nbytes], end + array.nbytes
        dtype = names[array.dtype.str[1:]]
        header[key] = {"dtype": dtype, "shape": array.shape, "data_offsets": offsets}
    written = json.dumps(header).encode()
    content = b"".join(array.tobytes() for array in state.values())
    path.write_bytes(len(written).to_bytes(8, "little") + written + content)
    return path


def forward(state, images):
    """torchvision's ResNet-50 (v1.5) up to its pooled features, by PyTorch."""
    import torch
    from torch.nn import functional as F

    state = {key: torch.tensor(value) for key, value in state.items()}

    def norm(x, name):
        arrays = [state[f"{name}.{each}"] for each in ("running_mean", "running_var")]
        return F.batch_norm(x, *arrays, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.conv2d(torch.tensor(images), state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(F.relu(norm(x, "bn1")), 3, 2, 1)
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for block in range(count):
            place, stride = f"layer{stage}.{block}.", 2 if block == 0 and stage > 1 else 1
            y = F.relu(norm(F.conv2d(x, state[place + "conv1.weight"]), place + "bn1"))
            y = F.conv2d(y, state[place + "conv2.weight"], stride=stride, padding=1)
            y = F.conv2d(F.relu(norm(y, place + "bn2")), state[place + "conv3.weight"])
            if block == 0:
                x = F.conv2d(x, state[place + "downsample.0.weight"], stride=stride)
                x = norm(x, place + "downsample.1")
            x = F.relu(x + norm(y, place + "bn3"))
    return x.mean((2, 3)).numpy()


def test_torchvision_s_weights_are_mapped_and_give_its_features(dataset, tmp_path):
    import keras

    state = state_dict()
    settled = transfer.settle(params(safetensors(tmp_path / "r50.safetensors", state)))
    made = models.build("resnet50", **settled["options"])
    transfer.load(made, settled["training"]["weights"])
    kernel, bias = made.get_layer("conv3_block1_2_conv").get_weights()
    np.testing.assert_array_equal(kernel[1, 2, 3], state["layer2.0.conv2.weight"][:, 3, 1, 2])
    assert not bias.any()
    for ours, name in zip(made.get_layer("conv3_block1_0_bn").get_weights(),
                          torchvision.NORMALISATION, strict=True):  # fmt: skip
        np.testing.assert_array_equal(ours, state[f"layer2.0.downsample.1.{name}"])
    torch = pytest.importorskip("torch")
    torch.save({k: torch.tensor(v) for k, v in state.items()}, tmp_path / "r50.pth")
    load(cleared(made), tmp_path / "r50.pth")
    outputs = [made.get_layer(name).output for name in ("channels", transfer.POOLED)]
    images, features = keras.Model(made.input, outputs).predict(dataset.images[:2, ..., None])
    expected = forward(state, images.transpose(0, 3, 1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * expected.max())


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("run_by_the_file",)


@pytest.mark.parametrize("name", [
    "empty.h5", "text.h5", "other.keras", "weights.txt", "text.safetensors", "key.safetensors",
    "shape.safetensors", "harmful.pth",
])  # fmt: skip
def test_a_wrong_weights_file_is_one_message_that_names_it(network, tmp_path, monkeypatch, name):
    import h5py

    monkeypatch.chdir(tmp_path)
    path, named = tmp_path / name, name
    if name == "empty.h5":
        h5py.File(path, "w").close()
    elif name == "other.keras":
        models.build("basic_cnn").save(path)
    elif name == "key.safetensors":
        safetensors(path, {"bn1.weight": np.ones(64, "f4")})
        named = "conv1.weight"
    elif name == "shape.safetensors":
        safetensors(path, {"conv1.weight": np.ones((64, 3, 3, 3), "f4")})
        named = "conv1.weight"
    elif name == "harmful.pth" and importlib.util.find_spec("torch"):
        import torch

        torch.save({"conv1.weight": Harmful()}, path)
    else:
        path.write_text("not weights")
    with pytest.raises(ParameterError, match="training.weights: .*could not be loaded") as error:
        load(network, path)
    message = str(error.value)
    assert name in message and named in message and "\n" not in message
    assert not Path("run_by_the_file").exists()


def test_a_missing_file_and_a_failed_download_are_one_message(source, network, monkeypatch):
    import keras

    with pytest.raises(ParameterError, match="training.weights: there is no file .*no.h5"):
        transfer.settle(params("no.h5"))
    asked = []

    def keras_own(**options):
        asked.append(options)
        return keras.Model(source.input, source.get_layer(transfer.POOLED).output)

    imagenet = {"kind": "imagenet", "name": "imagenet", "sha256": None}
    monkeypatch.setattr(keras.applications, "ResNet50", keras_own)
    transfer.load(cleared(network), imagenet)
    assert same(network, source) and asked == [{"include_top": False, "weights": "imagenet"}]
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **_: 1 / 0)
    with pytest.raises(ParameterError, match="imagenet could not be loaded"):
        transfer.load(network, imagenet)


def test_cached_features_are_those_of_each_image(dataset, source, monkeypatch, tmp_path):
    base, images = transfer.extractor(source), dataset.images[:40]
    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    monkeypatch.setattr(transfer, "SAVE_EVERY", 32)
    lines = []
    uncached = transfer.features(base, images, say=lines.append)
    assert lines == ["features of images 1 to 32 of 40", "features of images 33 to 40 of 40"]
    # other neighbours, another order, a repeated image: each image keeps its features
    order = np.array([5, 38, 5, 3])
    cached = transfer.features(base, images[order], say=pytest.fail)
    np.testing.assert_array_equal(cached, uncached[order])
    direct = base.predict(images[order][..., None], verbose=0)
    np.testing.assert_allclose(cached, direct, rtol=1e-4, atol=1e-5)
    (kept,) = tmp_path.glob("features-*.npz")
    kept.write_bytes(b"PK\x03\x04 cut")
    np.testing.assert_array_equal(transfer.features(base, images[:3]), uncached[:3])
    weights = base.get_weights()
    base.set_weights([weights[0] * 2, *weights[1:]])
    assert np.abs(transfer.features(base, images[:3]) - uncached[:3]).max() > 0.01


def test_a_frozen_base_trains_its_head_only_and_is_saved_as_scored(
    dataset, files, source, monkeypatch, tmp_path
):
    import keras

    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    mine = params(files / "no_top.h5")
    runs = [training.run(mine, dataset, tmp_path / name, say=lambda _: None) for name in "ab"]
    assert runs[0].metrics["scores"] == runs[1].metrics["scores"]  # the cache was cold, then warm
    assert runs[0].metrics["model"]["weights"] == "file no_top.h5"
    saved = keras.models.load_model(runs[0].folder / "model.keras")
    assert same(saved, source)
    test = runs[0].predictions("PrivateTest")
    images = dataset.images[test["index"]][..., None]
    np.testing.assert_allclose(saved.predict(images, verbose=0), test["probabilities"], atol=1e-4)
