"""Weights of a transferred base and its features: what was used is said, and nothing is guessed."""

import numpy as np
import pytest

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import models, training
from fer_utils.config import ParameterError
from fer_utils.runs import predictors
from fer_utils.training import transfer

LIMITS = {"epochs": 1, "train_limit": 48, "early_stopping": None}


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=500,seed=1")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Random ResNet-50 weights in the layout of Keras' ImageNet file, and their network."""
    import h5py
    import keras

    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(1)
    network = models.build("resnet50", size=48)
    path = tmp_path_factory.mktemp("weights") / "mine.h5"
    base = [layer for layer in network.layers if layer.weights][:-2]  # as without a top
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.name for layer in base], dtype="S")
        for layer in base:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array(names, dtype="S")  # as in Keras' own files
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name] = array
    return path, network


def params(weights, **options):
    complete = parameters.model("resnet50", None, weights=str(weights), **LIMITS)
    complete["options"] |= {"size": 48, **options}
    return complete


def test_without_weights_the_network_is_from_scratch_and_says_so():
    settled = transfer.settle(parameters.model("resnet50", weights=None))
    assert settled["title"] == "ResNet-50 from scratch"
    assert settled["training"]["weights"] is None and settled["options"]["fine_tune"] == "all"
    assert transfer.kind(settled) == "random weights, from scratch"


def test_with_imagenet_weights_the_paper_is_followed():
    settled = transfer.settle(parameters.model("resnet50"))
    assert settled["title"] == "ResNet-50"
    assert settled["options"] == {"size": 224, "fine_tune": "head"}
    assert transfer.kind(settled) == "ImageNet weights"


def test_a_plain_network_is_left_as_it_is():
    plain = parameters.model("basic_cnn")
    assert transfer.settle(plain) == plain and transfer.kind(plain) == ""


def test_local_file_is_recorded_by_name_and_content_and_reaches_the_network(weights_file):
    path, source = weights_file
    settled = transfer.settle(params(path))
    assert settled["training"]["weights"]["name"] == "mine.h5"
    assert len(settled["training"]["weights"]["sha256"]) == 64
    assert str(path.parent) not in str(settled)
    network = models.build("resnet50", size=48)
    transfer.load(network, settled["training"]["weights"])
    for name in ("conv1_conv", "conv5_block3_3_bn"):
        for ours, theirs in zip(
            network.get_layer(name).get_weights(), source.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_a_local_copy_of_keras_file_counts_as_imagenet(weights_file, monkeypatch):
    import hashlib

    path, source = weights_file
    settled = transfer.settle(params(path))
    assert settled["training"]["weights"]["kind"] == "file"
    assert settled["title"] == "ResNet-50 (mine.h5)"
    monkeypatch.setattr(transfer, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    settled = transfer.settle(params(path))
    assert settled["training"]["weights"]["kind"] == "imagenet"
    assert settled["title"] == "ResNet-50"
    network = models.build("resnet50", size=48)
    transfer.load(network, settled["training"]["weights"])
    ours, theirs = (n.get_layer("conv1_conv").get_weights()[0] for n in (network, source))
    np.testing.assert_array_equal(ours, theirs)


def test_saved_model_serves_as_weights_file(weights_file, tmp_path):
    source = weights_file[1]
    source.save(tmp_path / "model.keras")
    settled = transfer.settle(params(tmp_path / "model.keras"))
    network = models.build("resnet50", size=48)
    transfer.load(network, settled["training"]["weights"])
    ours, theirs = (n.get_layer("conv1_conv").get_weights()[0] for n in (network, source))
    np.testing.assert_array_equal(ours, theirs)


def test_a_missing_weights_file_stops_before_training(tmp_path):
    with pytest.raises(ParameterError, match="training.weights: there is no file .*no.h5"):
        transfer.settle(params(tmp_path / "no.h5"))


@pytest.mark.parametrize("name", ["empty.h5", "text.h5", "other.keras", "weights.txt"])
def test_wrong_weights_file_is_one_clear_message(tmp_path, name):
    import h5py

    path = tmp_path / name
    if name == "empty.h5":
        h5py.File(path, "w").close()
    elif name == "other.keras":
        models.build("basic_cnn").save(path)
    else:
        path.write_text("not weights")
    settled = transfer.settle(params(path))
    with pytest.raises(ParameterError, match="training.weights: .*could not be loaded") as error:
        transfer.load(models.build("resnet50", size=48), settled["training"]["weights"])
    assert name in str(error.value) and "\n" not in str(error.value)


def test_imagenet_weights_are_those_of_keras(weights_file, monkeypatch):
    import keras

    def keras_own(**asked):
        assert asked == {"include_top": False, "weights": "imagenet"}
        kept = weights_file[1]
        return keras.Model(kept.input, kept.get_layer(transfer.POOLED).output)

    network = models.build("resnet50", size=48)
    monkeypatch.setattr(keras.applications, "ResNet50", keras_own)
    transfer.load(network, {"kind": "imagenet", "name": "imagenet", "sha256": None})
    for name in ("conv1_conv", "conv5_block3_3_bn"):
        for ours, theirs in zip(
            network.get_layer(name).get_weights(),
            weights_file[1].get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_a_download_that_fails_is_one_message(monkeypatch):
    import keras

    def fails(**_):
        raise Exception("URL fetch failure")

    network = models.build("resnet50", size=48)
    monkeypatch.setattr(keras.applications, "ResNet50", fails)
    weights = {"kind": "imagenet", "name": "imagenet", "sha256": None}
    with pytest.raises(ParameterError, match="imagenet could not be loaded .URL fetch failure"):
        transfer.load(network, weights)


def test_cached_and_uncached_features_are_identical(dataset, weights_file, monkeypatch, tmp_path):
    base = transfer.extractor(weights_file[1])
    images = dataset.images[:70]
    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    monkeypatch.setattr(transfer, "SAVE_EVERY", 64)
    lines = []
    uncached = transfer.features(base, images, say=lines.append)
    assert lines == ["features of images 1 to 64 of 70", "features of images 65 to 70 of 70"]
    assert len(list(tmp_path.glob("features-*.npz"))) == 1
    lines = []
    cached = transfer.features(base, images, say=lines.append)
    np.testing.assert_array_equal(cached, uncached)
    assert lines == []  # nothing was computed
    # other neighbours, another order, a repeated image: each image keeps its features
    order = np.array([5, 40, 5, 69])
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "other"))
    np.testing.assert_array_equal(transfer.features(base, images[order]), uncached[order])
    direct = base.predict(images[..., None], verbose=0)
    np.testing.assert_allclose(uncached, direct, rtol=1e-4, atol=1e-5)


def test_other_weights_have_other_features(dataset, weights_file, monkeypatch, tmp_path):
    import keras

    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    images = dataset.images[:3]
    first = transfer.features(transfer.extractor(weights_file[1]), images)
    keras.utils.set_random_seed(2)
    other = transfer.extractor(models.build("resnet50", size=48))
    assert np.abs(transfer.features(other, images) - first).max() > 0.01


def test_damaged_cache_is_computed_anew(dataset, weights_file, monkeypatch, tmp_path):
    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    base = transfer.extractor(weights_file[1])
    first = transfer.features(base, dataset.images[:3])
    next(tmp_path.glob("features-*.npz")).write_bytes(b"PK\x03\x04 cut")
    np.testing.assert_array_equal(transfer.features(base, dataset.images[:3]), first)


def test_only_a_frozen_base_is_cached():
    assert transfer.frozen(models.build("resnet50", size=48))
    assert not transfer.frozen(models.build("resnet50", size=48, fine_tune="last_stage"))
    assert not transfer.frozen(models.build("basic_cnn"))


def test_frozen_base_trains_its_head_only_and_gives_the_same_record_with_a_warm_cache(
    dataset, weights_file, monkeypatch, tmp_path
):
    import keras

    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    path, source = weights_file
    first = training.run(params(path), dataset, tmp_path / "a", say=lambda line: None)
    again = training.run(params(path), dataset, tmp_path / "b", say=lambda line: None)
    assert first.metrics["scores"] == again.metrics["scores"]
    assert first.metrics["model"]["weights"] == "file mine.h5"
    saved = keras.models.load_model(first.folder / "model.keras")
    np.testing.assert_array_equal(
        saved.get_layer("conv1_conv").get_weights()[0],
        source.get_layer("conv1_conv").get_weights()[0],
    )
    test = first.predictions("PrivateTest")
    images = dataset.images[test["index"]][..., None]
    np.testing.assert_allclose(saved.predict(images, verbose=0), test["probabilities"], atol=1e-4)


def test_a_frozen_base_of_random_weights_is_saved_as_it_was_scored(dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    mine = params("")
    del mine["from_scratch"]
    mine["training"]["weights"] = None
    run = training.run(mine, dataset, tmp_path, say=lambda line: None)
    test = run.predictions("PrivateTest")
    saved = predictors.predictor(run)(dataset.images[test["index"]])
    np.testing.assert_allclose(saved, test["probabilities"], atol=1e-4)
