"""PCA with neighbours, HOG and LBP with an SVM: right features, honest grids, the usual records."""

import joblib
import numpy as np
import pytest
from scipy.special import softmax

from fer_utils import config, data, training
from fer_utils.base import ParameterError
from fer_utils.runs import predictors, store, tables
from fer_utils.training import classical
from fer_utils.training.task import Task

GRIDS = {
    "pca_knn": {"components": [10, 20], "k": [1, 5], "weights": ["distance"]},
    "hog_svm": {"features": ["hog", "lbp"], "components": [30], "kernel": ["rbf"], "C": [5.0]},
}


@pytest.fixture(scope="module")
def dataset():
    return data.load("synthetic:n=900,seed=1")


def params(name):
    complete = config.model(name, None, train_limit=500, grid_limit=300)
    complete["training"]["grid"] = GRIDS[name]
    return complete


@pytest.fixture(scope="module", params=sorted(GRIDS))
def finished(request, dataset, tmp_path_factory):
    return classical.run(params(request.param), dataset, tmp_path_factory.mktemp("study"))


def test_hog_of_an_upright_edge_votes_for_horizontal_gradients():
    image = np.zeros((48, 48), np.uint8)
    image[:, 24:] = 255
    votes = classical.hog(image[None]).reshape(-1, 9).sum(axis=0)
    assert classical.hog(image[None]).shape == (1, 900)
    assert votes[[0, 8]].sum() > 0.99 * votes.sum()


def test_lbp_shares_of_each_cell_sum_to_one_and_tell_flat_from_noise():
    flat = np.full((48, 48), 100, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    shares = classical.lbp(np.stack([flat, noise])).reshape(2, 36, 10)
    np.testing.assert_allclose(shares.sum(axis=2), 1, atol=1e-6)
    assert shares[0, 14, 8] == 1  # all neighbours as bright as the centre
    assert shares[1, :, 9].mean() > 0.15 and shares[0, :, 9].max() == 0  # not uniform patterns


def test_run_has_the_files_and_the_record_of_a_network(finished, dataset):
    run = store.read_run(finished.folder)
    files = {path.name for path in run.folder.iterdir() if path.name != ".lock"}
    assert files == {
        "metrics.json",
        "params.json",
        "history.csv",
        "predictions.npz",
        "model.joblib",
    }
    test = run.predictions("PrivateTest")
    assert test["probabilities"].dtype == np.float32
    np.testing.assert_allclose(test["probabilities"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(dataset.labels[test["index"]], test["labels"])
    assert tables.comparison([run])["protocol"].tolist() == ["official"]
    assert run.metrics["scores"]["PrivateTest"]["accuracy"] > 0.2


def test_grid_is_searched_on_validation_and_its_best_entry_is_fitted(finished):
    grid, chosen = finished.history, finished.metrics["model"]["chosen"]
    best = grid.loc[grid["val_accuracy"].idxmax()]
    assert {key: best[key] for key in chosen} == chosen
    assert finished.metrics["protocol"]["selected_on"] == "val_accuracy of PublicTest"


def test_saved_pipeline_gives_the_recorded_probabilities(finished, dataset):
    test = finished.predictions("PrivateTest")
    predict = predictors.predictor(finished)
    np.testing.assert_allclose(
        predict(dataset.images[test["index"]]), test["probabilities"], atol=1e-5
    )


def test_finished_run_is_presented_and_the_same_seed_gives_the_same_scores(
    finished, dataset, tmp_path
):
    name = finished.metrics["run_id"]
    lines = []
    study = finished.folder.parent.parent.parent
    again = classical.run(params(name), dataset, study, say=lines.append)
    assert again.metrics == finished.metrics and "finished run" in lines[0]
    other = classical.run(params(name), dataset, tmp_path)
    assert other.metrics["scores"] == finished.metrics["scores"]


def test_a_network_is_not_taken_for_a_pipeline_nor_the_other_way_round(tmp_path):
    with pytest.raises(ParameterError, match="pca_knn is not a network; 05_classical"):
        config.protocols("pca_knn")


def test_more_components_than_images_are_one_message(dataset, tmp_path):
    wrong = params("pca_knn")
    wrong["training"]["grid"] = GRIDS["pca_knn"] | {"components": [400]}
    with pytest.raises(ParameterError, match="up to 400 but the grid has 300 training"):
        classical.run(wrong, dataset, tmp_path)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_a_class_without_training_images_shifts_no_other(name, dataset, tmp_path):
    lacking = (dataset.usage == "Training") & (dataset.labels == 1)
    run = classical.run(params(name), dataset.take(~lacking), tmp_path)
    model = joblib.load(run.folder / classical.FILE)
    images = dataset.images[:200]
    predicted = model.estimator.predict(classical.FEATURES[model.features](images))
    np.testing.assert_array_equal(model.decisions(images).argmax(axis=1), predicted)
    np.testing.assert_array_equal(model.predict(images).argmax(axis=1), predicted)
    probabilities = model.predict(images)
    assert probabilities.shape == (200, 7) and not probabilities[:, 1].any()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.isfinite(run.validation["nll"])


def test_neighbours_are_found_among_what_the_last_hidden_layer_says(dataset, tmp_path):
    limits = {"epochs": 1, "train_limit": 100, "early_stopping": None}
    run = training.run(config.model("basic_cnn", None, **limits), dataset, tmp_path)
    (same,) = Task(params("pca_knn"), dataset, 0).networks(tmp_path)
    assert same.place == run.place
    found = classical.neighbours(run, dataset, [1, 7])
    assert found["k"] in (1, 7) and found["features"] == 128 and found["n"] == run.test["n"]
    test, network = run.predictions("PrivateTest"), predictors.network(run)
    features = classical.last_hidden(network, dataset.images[test["index"]])
    kernel, bias = network.layers[-1].get_weights()
    probabilities = softmax(features @ kernel + bias, axis=1)
    np.testing.assert_allclose(probabilities, test["probabilities"], atol=1e-5)
