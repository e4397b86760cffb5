"""The committed network: small, the same as it was trained, and never taken for a trained run."""

import json

import numpy as np
import pytest

from fer_utils import datasets, export, parameters, pretrained, reference, results, training


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic:n=400,seed=1")


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    thin = parameters.model("fer_net", options={"filters": [8, 16]}, epochs=2)
    return training.run(thin, dataset, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def kept(trained, tmp_path_factory):
    """A folder as it is committed: the record, the history and the weights."""
    folder = tmp_path_factory.mktemp("committed")
    for name in reference.FILES:
        (folder / name).write_bytes((trained.folder / name).read_bytes())
    pretrained.save(trained, folder)
    return folder


@pytest.fixture
def damaged(kept, tmp_path):
    for path in kept.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_kept_weights_predict_what_the_trained_ones_do(trained, kept, dataset):
    recorded = trained.predictions("PrivateTest")
    predict = pretrained.predictor(pretrained.network(kept))
    found = predict(dataset.images[recorded["index"]])
    assert found.shape == recorded["probabilities"].shape and found.dtype == np.float32
    assert np.abs(found - recorded["probabilities"]).max() < 0.02
    sizes = [(folder / name).stat().st_size for folder, name in (
        (kept, pretrained.FILE), (trained.folder, "model.keras"))]  # fmt: skip
    assert sizes[0] < sizes[1] / 3


def test_eight_bits_once_more_change_nothing(kept, dataset, tmp_path):
    run = pretrained.restore(dataset, tmp_path, kept)
    pretrained.save(run, tmp_path / "again")
    with np.load(kept / pretrained.FILE) as first, np.load(tmp_path / "again/weights.npz") as then:
        for name in first:
            np.testing.assert_allclose(first[name], then[name], rtol=1e-6)


def test_restored_run_is_complete_and_says_what_it_is(trained, kept, dataset, tmp_path):
    run = pretrained.restore(dataset, tmp_path, kept)
    assert results.finished_runs(tmp_path)[0].folder == run.folder
    assert run.metrics["model"]["weights"] == "int8, results/reference"
    assert run.history.equals(trained.history)
    assert set(run.metrics["scores"]) == set(trained.metrics["scores"])
    for split, score in run.metrics["scores"].items():
        assert abs(score["nll"] - trained.metrics["scores"][split]["nll"]) < 0.01
    assert export.export(run, dataset)["largest_difference"] < 1e-3
    with pytest.raises(results.ResultError, match="there is a finished run here"):
        pretrained.restore(dataset, tmp_path, kept)


def test_a_model_that_is_asked_for_is_trained_in_its_place(trained, kept, dataset, tmp_path):
    pretrained.restore(dataset, tmp_path, kept)
    lines = []
    run = training.run(trained.metrics["params"], dataset, tmp_path, say=lines.append)
    assert lines[0].endswith("trained anew") and "weights" not in run.metrics["model"]


def test_reference_takes_no_restored_run(kept, dataset, tmp_path, monkeypatch):
    run = pretrained.restore(dataset, tmp_path, kept)
    real = run.metrics | {"data": run.metrics["data"] | {"synthetic": False}}
    (run.folder / "metrics.json").write_text(json.dumps(real))
    with pytest.raises(results.ResultError, match="has the reference's weights; train it first"):
        reference.collect(tmp_path, tmp_path / "reference")


def test_other_images_are_refused(kept, tmp_path, capsys, monkeypatch):
    other = datasets.load("synthetic:n=400,seed=2")
    with pytest.raises(results.ResultError, match="has other images"):
        pretrained.restore(other, tmp_path, kept)
    assert not list(tmp_path.rglob("metrics.json"))
    assert pretrained.main(["--data", "synthetic:n=400,seed=2", "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("weights.npz", None, "weights.npz: cannot be read"),
        ("weights.npz", b"no archive", "weights.npz: not the weights of fer_net"),
        ("weights.npz", b"", "weights.npz: not the weights of fer_net"),
        ("weights.npz", b"PK\x03\x04 cut off", "weights.npz: not the weights of fer_net"),
        ("metrics.json", None, "metrics.json: no committed record"),
    ],
)
def test_what_is_damaged_is_named(damaged, file, content, told):
    (damaged / file).unlink() if content is None else (damaged / file).write_bytes(content)
    with pytest.raises(results.ResultError, match=told):
        pretrained.network(damaged)


def test_weights_of_another_network_are_named(damaged):
    record = json.loads((damaged / "metrics.json").read_text())
    record["params"]["options"]["filters"] = [8, 32]
    (damaged / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(results.ResultError, match="not the weights of fer_net as it is built now"):
        pretrained.network(damaged)
