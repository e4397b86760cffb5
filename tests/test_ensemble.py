"""Ensembles: the mean of whole members on the same images, or one message."""

import json

import numpy as np
import pytest
from runs import make_run

from fer_utils import config, data, training
from fer_utils.base import ParameterError, ResultError
from fer_utils.runs import predictors, store, tables
from fer_utils.training import ensemble
from fer_utils.training.task import Task


@pytest.fixture(scope="module")
def dataset():
    return data.load("synthetic:n=400,seed=1")


@pytest.fixture(scope="module")
def study(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    for seed in (0, 1):
        params = config.model("fer_net", None, epochs=1, precision="float32")
        params["options"] = {"filters": [4, 4]}
        training.run(params, dataset, folder, seed, say=lambda line: None)
    return folder


PARAMS = config.model("fer_net_ensemble")


def test_probabilities_are_the_mean_of_the_members(study, dataset):
    run = ensemble.run(PARAMS, dataset, study)
    members = [store.read_run(study / "runs" / "fer_net" / f"seed_{seed}") for seed in (0, 1)]
    assert list(run.metrics["model"]["members"]) == [each.place for each in members]
    assert run.metrics["protocol"]["selected_on"] == "nothing, every member counts"
    for split in ("Training", "PublicTest", "PrivateTest", "PrivateTest_views"):
        mean = sum(each.predictions(split)["probabilities"] for each in members) / 2
        found = run.predictions(split)
        np.testing.assert_allclose(found["probabilities"], mean, atol=1e-6)
        right = (found["probabilities"].argmax(axis=1) == found["labels"]).mean()
        assert run.metrics["scores"][split]["accuracy"] == pytest.approx(right)
    assert store.read_run(run.folder).test == run.test
    assert (
        tables.comparison([run])["parameters"][0] == 2 * members[0].metrics["model"]["parameters"]
    )


def test_a_photo_gets_the_mean_of_the_members(study, dataset):
    run = ensemble.run(PARAMS, dataset, study)
    test = run.predictions("PrivateTest")
    found = predictors.predictor(run)(dataset.images[test["index"]])
    np.testing.assert_allclose(found, test["probabilities"], atol=1e-5)
    record = json.loads((run.folder / "metrics.json").read_text())
    record["model"]["members"]["runs/fer_net/seed_0"] = "2020-01-01T00:00:00+00:00"
    with pytest.raises(ResultError, match="trained again since; --only fer_net_ensemble"):
        predictors.predictor(store.Run(run.folder, record))


def test_an_ensemble_of_any_network_has_examples_and_says_what_chose_them(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(ensemble, "NOTEBOOK_STUDY", str(tmp_path))
    run = ensemble.run(PARAMS | {"members": ["basic_cnn"]}, dataset, tmp_path)
    assert list(run.metrics["model"]["members"]) == [
        f"runs/basic_cnn/seed_{seed}" for seed in (0, 1)
    ]
    (chosen,) = {each.metrics["protocol"]["selected_on"] for each in store.finished_runs(
        tmp_path, ["basic_cnn"]
    )}  # fmt: skip
    assert "PublicTest" in chosen
    assert run.metrics["protocol"]["selected_on"] == f"{chosen}, of members"


def test_one_member_is_no_ensemble(dataset, tmp_path):
    with pytest.raises(ResultError, match="two or more finished runs of fer_net"):
        ensemble.run(PARAMS, dataset, tmp_path)


def test_members_of_other_images_or_of_a_part_are_refused(dataset, tmp_path):
    for seed in (0, 1):  # the helper's runs are not of these images
        made = make_run(tmp_path, "fer_net", seed=seed)
    with pytest.raises(ResultError, match="there are 0"):
        ensemble.run(PARAMS, dataset, tmp_path)
    content = Task(PARAMS, dataset, 0).identity["data"]
    for seed, n in ((0, 60), (1, 50)):
        made = make_run(tmp_path, "fer_net", seed=seed, n=n)
        record = made.metrics | {"data": made.metrics["data"] | {"content_sha256": content}}
        (made.folder / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(ResultError, match="the same images"):
        ensemble.run(PARAMS, dataset, tmp_path)
    record["protocol"] |= {"train": "train"}  # cut by a train_limit, it has no whole Training
    (made.folder / "metrics.json").write_text(json.dumps(record))
    with np.load(made.folder / "predictions.npz") as arrays:
        kept = {name: arrays[name] for name in arrays if not name.startswith("Training/")}
    np.savez(made.folder / "predictions.npz", **kept)
    with pytest.raises(ResultError, match="the same images, without train_limit"):
        ensemble.run(PARAMS, dataset, tmp_path)


@pytest.mark.parametrize(
    ("member", "told"),
    [
        ("fer_nett", "did you mean fer_net"),
        ("hog_svm", "hog_svm is no network of all classes"),
        ("dcnn_three_class", "is no network of all classes"),
        ("fer_net_ensemble", "is no network of all classes"),
    ],
)
def test_members_are_networks_of_all_classes(tmp_path, member, told):
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"{{id: mine, title: Mine, paper: mine, protocol: official, members: [{member}]}}"
    )
    with pytest.raises(ParameterError, match=told):
        config.model(path)
