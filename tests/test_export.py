"""Export: a file of int8 weights whose record says how it compares with the network."""

import keras
import numpy as np
import pytest

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import training
from fer_utils.extras import export, speed


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=800,seed=1")


@pytest.fixture
def finished(dataset, tmp_path):
    params = parameters.model("basic_cnn", None, epochs=1, train_limit=200)
    return training.run(params, dataset, tmp_path)


def test_int8_weights_take_a_quarter_and_keep_the_predictions(finished, dataset):
    table = speed.speeds([finished], dataset.images[:8], seconds=0.05)
    assert table["form"].tolist() == ["Keras"]
    record = export.export(finished, dataset)
    path = finished.folder / export.FILE
    floats = 4 * finished.metrics["model"]["parameters"]
    assert record["bytes"] == path.stat().st_size < floats / 3
    for split in ("PublicTest", "PrivateTest"):
        score = finished.metrics["scores"][split]
        told = record[split]
        assert told["n"] == score["n"] and told["accuracy_float32"] == score["accuracy"]
        assert told["same_prediction"] > 0.9 * told["n"]
    of = finished.predictions("PublicTest")
    predicted = export.predictor(path)(dataset.images[of["index"]]).argmax(axis=1)
    assert (predicted == of["labels"]).mean() == record["PublicTest"]["accuracy"]
    assert export.read(finished) == record
    of_ten = export.predictor(path)(dataset.images[of["index"]][:10]).argmax(axis=1)
    np.testing.assert_array_equal(of_ten, predicted[:10])  # any number of images at a time
    table = speed.speeds([finished], dataset.images[:8], seconds=0.05)
    assert table["form"].tolist() == ["Keras", "TensorFlow Lite, int8"]
    assert (table[["megabytes", "batch_1", "batch_256"]] > 0).all(axis=None)
    with pytest.raises(ValueError, match="must be 1 to 256"):
        speed.speeds([finished], dataset.images[:8], batches=(1, 0))
    other = keras.models.load_model(finished.folder / "model.keras", compile=False)
    other.set_weights([1 + weight for weight in other.get_weights()])
    other.save(finished.folder / "model.keras")
    # what is there is of a network that is no more
    assert export.read(finished) is None
