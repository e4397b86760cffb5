"""Export: the file is the network, on every image of the test split, or it is not written."""

import json

import keras
import numpy as np
import pytest

from fer_utils import datasets, export, inference, parameters, results, training


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=800,seed=1")


@pytest.fixture
def finished(dataset, tmp_path):
    params = parameters.model("basic_cnn", None, epochs=1, train_limit=200)
    return training.run(params, dataset, tmp_path)


def test_exported_network_is_the_network(finished, dataset):
    record = export.export(finished, dataset)
    test = finished.predictions("PrivateTest")
    assert record["n"] == record["same_prediction"] == len(test["index"])
    assert record["bytes"] == (finished.folder / export.FILE).stat().st_size
    predict = export.predictor(finished.folder / export.FILE)
    for part in (slice(None), slice(0, 1), slice(3, 10)):  # any number of images at a time
        np.testing.assert_allclose(
            predict(dataset.images[test["index"][part]]), test["probabilities"][part], atol=1e-3
        )


def test_export_is_made_once_and_again_after_another_training(finished, dataset):
    export.export(finished, dataset)
    written = (finished.folder / export.FILE).stat().st_mtime_ns
    export.export(finished, dataset)
    assert (finished.folder / export.FILE).stat().st_mtime_ns == written
    study = finished.folder.parent.parent.parent
    params = parameters.model("basic_cnn", None, epochs=2, train_limit=200)
    again = training.run(params, dataset, study)
    record = export.export(again, dataset)
    assert (finished.folder / export.FILE).stat().st_mtime_ns != written
    assert record == json.loads((finished.folder / export.RECORD).read_text())


def test_file_that_gives_other_probabilities_is_not_written(finished, dataset):
    wrong = dataset.take(np.arange(len(dataset))[::-1])  # other images at the recorded places
    with pytest.raises(results.ResultError, match="probabilities differ"):
        export.export(finished, wrong)
    assert export.read(finished) is None


def test_speeds_have_a_row_for_each_form(finished, dataset):
    export.export(finished, dataset)
    table = inference.speeds([finished], dataset.images[:8], seconds=0.05)
    assert table["form"].tolist() == ["Keras", "TensorFlow Lite"]
    assert (table[["megabytes", "batch_1", "batch_256"]] > 0).all(axis=None)
    with pytest.raises(ValueError, match="must be 1 to 256"):
        inference.speeds([finished], dataset.images[:8], batches=(1, 0))


def test_int8_weights_take_a_quarter_and_keep_the_predictions(finished, dataset):
    export.export(finished, dataset)
    record = export.quantize(finished, dataset)
    path = finished.folder / export.INT8_FILE
    assert record["bytes"] == path.stat().st_size < export.read(finished)["bytes"] / 3
    for split in ("PublicTest", "PrivateTest"):
        score = finished.metrics["scores"][split]
        told = record[split]
        assert told["n"] == score["n"] and told["accuracy_float32"] == score["accuracy"]
        assert told["same_prediction"] > 0.9 * told["n"]
    of = finished.predictions("PublicTest")
    predicted = export.predictor(path)(dataset.images[of["index"]]).argmax(axis=1)
    assert (predicted == of["labels"]).mean() == record["PublicTest"]["accuracy"]
    assert export.read_int8(finished) == record
    table = inference.speeds([finished], dataset.images[:8], seconds=0.05, int8=True)
    assert table["form"].tolist() == ["Keras", "TensorFlow Lite", "TensorFlow Lite, int8"]
    other = keras.models.load_model(finished.folder / "model.keras", compile=False)
    other.set_weights([1 + weight for weight in other.get_weights()])
    other.save(finished.folder / "model.keras")
    # what is there is of a network that is no more
    assert export.read(finished) is None and export.read_int8(finished) is None
    table = inference.speeds([finished], dataset.images[:8], seconds=0.05, int8=True)
    assert table["form"].tolist() == ["Keras"]
