"""Ensembles: the mean of whole members on the same images, or one message."""

import numpy as np
import pytest
from runs import make_run

from fer_utils import datasets, ensemble, inference, parameters, results, training


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=400,seed=1")


@pytest.fixture(scope="module")
def study(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for seed in (0, 1):
        params = parameters.model("fer_net", None, epochs=1, precision="float32")
        params["options"] = {"filters": [4, 4]}
        training.run(params, dataset, folder, seed, say=lambda line: None)
    return folder


PARAMS = parameters.model("fer_net_ensemble")


def test_probabilities_are_the_mean_of_the_members(study, dataset):
    run = ensemble.run(PARAMS, dataset, study)
    members = [results.read_run(study / "runs" / "fer_net" / f"seed_{seed}") for seed in (0, 1)]
    assert run.metrics["model"]["members"] == [each.place for each in members]
    for split in ("Training", "PublicTest", "PrivateTest", "PrivateTest_10_views"):
        mean = sum(each.predictions(split)["probabilities"] for each in members) / 2
        found = run.predictions(split)
        np.testing.assert_allclose(found["probabilities"], mean, atol=1e-6)
        right = (found["probabilities"].argmax(axis=1) == found["labels"]).mean()
        assert run.metrics["scores"][split]["accuracy"] == pytest.approx(right)
    assert results.read_run(run.folder).test == run.test
    assert (
        results.comparison([run])["parameters"][0] == 2 * members[0].metrics["model"]["parameters"]
    )


def test_a_photo_gets_the_mean_of_the_members(study, dataset):
    run = ensemble.run(PARAMS, dataset, study)
    test = run.predictions("PrivateTest")
    found = inference.predictor(run)(dataset.images[test["index"]])
    np.testing.assert_allclose(found, test["probabilities"], atol=1e-5)


def test_one_member_is_no_ensemble(dataset, tmp_path):
    with pytest.raises(results.ResultError, match="two or more finished runs of fer_net"):
        ensemble.run(PARAMS, dataset, tmp_path)


def test_members_of_other_images_or_of_a_part_are_refused(dataset, tmp_path):
    pixels = dataset.provenance["pixels_sha256"]
    make_run(tmp_path, "fer_net", pixels=pixels)
    make_run(tmp_path, "fer_net", seed=1)  # of other data: no member
    with pytest.raises(results.ResultError, match="there are 1"):
        ensemble.run(PARAMS, dataset, tmp_path)
    make_run(tmp_path, "fer_net", seed=1, pixels=pixels, n=50)
    with pytest.raises(results.ResultError, match="the same images"):
        ensemble.run(PARAMS, dataset, tmp_path)


def test_members_are_models_that_there_are(tmp_path):
    path = tmp_path / "mine.yaml"
    text = "{id: mine, title: Mine, paper: mine, protocol: official, members: [fer_nett]}"
    path.write_text(text)
    with pytest.raises(parameters.ParameterError, match="did you mean fer_net"):
        parameters.model(path)
