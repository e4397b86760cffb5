"""The committed network: small, the same as it was trained, and never taken for a trained run."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils import training
from fer_utils.base import ResultError
from fer_utils.extras import export
from fer_utils.extras import weights as pretrained
from fer_utils.runs import predictors, store
from fer_utils.runs.committed import save
from fer_utils.study import reference


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
    save(trained, folder)
    return folder


@pytest.fixture
def damaged(kept, tmp_path):
    for path in kept.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_kept_weights_predict_what_the_trained_ones_do(trained, kept, dataset):
    recorded = trained.predictions("PrivateTest")
    predict = predictors.of_network(pretrained.network(kept))
    found = predict(dataset.images[recorded["index"]])
    assert found.shape == recorded["probabilities"].shape and found.dtype == np.float32
    assert np.abs(found - recorded["probabilities"]).max() < 0.02
    sizes = [(folder / name).stat().st_size for folder, name in (
        (kept, pretrained.FILE), (trained.folder, "model.keras"))]  # fmt: skip
    assert sizes[0] < sizes[1] / 3


def test_eight_bits_once_more_change_nothing(kept, dataset, tmp_path):
    save(pretrained.restore(dataset, tmp_path, kept), tmp_path)
    with np.load(kept / pretrained.FILE) as first, np.load(tmp_path / pretrained.FILE) as then:
        for name in first:
            np.testing.assert_allclose(first[name], then[name], rtol=1e-6)


def test_restored_run_is_complete_and_says_what_it_is(trained, kept, dataset, tmp_path):
    run = pretrained.restore(dataset, tmp_path, kept)
    assert store.read_run(run.folder).metrics == run.metrics
    assert run.label == "FER-Net, committed int8 weights, seed 0"
    assert run.metrics["environment"]["precision"] == "float32"
    assert run.history.equals(trained.history)
    for split in ("PublicTest", "PrivateTest"):
        nll, before = (each.metrics["scores"][split]["nll"] for each in (run, trained))
        assert abs(nll - before) < 0.01
    saved = predictors.predictor(run)(dataset.images[:5])
    np.testing.assert_allclose(saved, predictors.of_network(pretrained.network(kept))(
        dataset.images[:5]), atol=1e-6)  # fmt: skip


def test_restored_run_is_no_run_of_the_study(kept, dataset, tmp_path):
    pretrained.restore(dataset, tmp_path, kept)
    assert store.finished_runs(tmp_path) == []


def test_it_is_scored_once_until_other_weights_come(kept, damaged, dataset, tmp_path):
    first = pretrained.restore(dataset, tmp_path, kept)
    written = (first.folder / "metrics.json").stat().st_mtime_ns
    again = pretrained.restore(dataset, tmp_path, kept)
    assert (again.folder / "metrics.json").stat().st_mtime_ns == written
    with np.load(damaged / pretrained.FILE) as file:
        arrays = dict(file)
    arrays["weight_0"] = np.zeros_like(arrays["weight_0"])
    np.savez_compressed(damaged / pretrained.FILE, **arrays)
    other = pretrained.restore(dataset, tmp_path, damaged)
    assert other.metrics["scores"] != first.metrics["scores"]


@pytest.fixture
def committed(kept, monkeypatch):
    monkeypatch.setattr(pretrained, "RUN", kept)


def of_faces(dataset):
    """The same images, as if they were no synthetic ones."""
    return dataclasses.replace(dataset, provenance=dataset.provenance | {"synthetic": False})


def test_committed_network_stands_in_where_no_run_is_finished(
    committed, trained, dataset, tmp_path, capsys
):
    (stands_in,) = pretrained.runs(of_faces(dataset), tmp_path, "")
    assert stands_in.folder == tmp_path / "pretrained"
    said = capsys.readouterr().out
    assert "FER-Net with its committed weights stands in" in said and "pixel" not in said
    study = trained.folder.parents[2]
    assert [run.folder for run in pretrained.runs(dataset, study, "")] == [trained.folder]


def test_other_pixels_than_it_was_trained_on_are_told(committed, tmp_path, capsys):
    other = of_faces(datasets.load("synthetic:n=400,seed=2"))
    assert len(pretrained.runs(other, tmp_path, "")) == 1
    assert "pixels differ" in capsys.readouterr().out


def test_synthetic_faces_are_not_given_to_it(committed, dataset, tmp_path):
    with pytest.raises(ResultError, match="no finished run here; train a model first"):
        pretrained.runs(dataset, tmp_path, "synthetic:n=400,seed=1")
    assert not list(tmp_path.rglob("metrics.json"))


def test_collected_reference_has_the_weights(trained, tmp_path, monkeypatch):
    study, folder = tmp_path / "study", tmp_path / "reference"
    shutil.copytree(trained.folder, study / "runs/fer_net/seed_0")
    real = trained.metrics | {"data": trained.metrics["data"] | {"synthetic": False}}
    (study / "runs/fer_net/seed_0/metrics.json").write_text(json.dumps(real))
    monkeypatch.setattr(reference.claims, "not_fer2013", lambda totals: "")
    monkeypatch.setattr(reference.claims, "shortened", lambda runs: [])
    place = study / "runs/fer_net/seed_0"
    (place / export.FILE).write_bytes(b"")
    told = {"source_sha256": hashlib.sha256((place / "model.keras").read_bytes()).hexdigest()}
    (place / export.RECORD).write_text(json.dumps(told))
    reference.collect(study, folder)
    kept = folder / "runs/fer_net/seed_0"
    assert pretrained.network(kept).count_params()
    assert json.loads((kept / export.RECORD).read_text()) == told
    (place / export.RECORD).write_text(json.dumps({"source_sha256": "of another network"}))
    reference.collect(study, folder)
    assert not (kept / export.RECORD).exists()


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("weights.npz", None, "weights.npz: cannot be read"),
        ("weights.npz", b"no archive", "damaged, or not the weights of fer_net"),
        ("weights.npz", b"", "damaged, or not the weights of fer_net"),
        ("weights.npz", b"PK\x03\x04 cut off", "damaged, or not the weights of fer_net"),
        ("metrics.json", None, "metrics.json: no committed record"),
    ],
)
def test_what_is_damaged_is_named(damaged, file, content, told):
    (damaged / file).unlink() if content is None else (damaged / file).write_bytes(content)
    with pytest.raises(ResultError, match=told):
        pretrained.network(damaged)


def test_weights_of_another_network_are_named(damaged):
    record = json.loads((damaged / "metrics.json").read_text())
    record["params"]["options"]["filters"] = [8, 32]
    (damaged / "metrics.json").write_text(json.dumps(record))
    with pytest.raises(ResultError, match="not the weights of fer_net"):
        pretrained.network(damaged)


def test_committed_weights_reach_what_their_record_says(fer2013_path):
    dataset = datasets.load(fer2013_path)
    predict = predictors.of_network(pretrained.network())
    for split in ("PublicTest", "PrivateTest"):
        part = dataset.usage == split
        right = predict(dataset.images[part]).argmax(axis=1) == dataset.labels[part]
        recorded = pretrained.record()["scores"][split]["accuracy"]
        assert right.mean() == pytest.approx(recorded, abs=0.002)


def test_int8_file_is_the_network_and_is_made_once(kept, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    first = pretrained.in_int8(kept)(dataset.images)
    whole = predictors.of_network(pretrained.network(kept))(dataset.images)
    assert np.abs(first - whole).max() < 0.02
    monkeypatch.setattr(pretrained, "network", lambda _: pytest.fail("converted again"))
    np.testing.assert_array_equal(pretrained.in_int8(kept)(dataset.images), first)


def test_int8_file_follows_the_weights_and_a_damaged_one_is_made_anew(
    damaged, dataset, tmp_path, monkeypatch
):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    before = pretrained.in_int8(damaged)(dataset.images)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b"no network")
    np.testing.assert_array_equal(pretrained.in_int8(damaged)(dataset.images), before)
    with np.load(damaged / pretrained.FILE) as weights:
        arrays = dict(weights)
    arrays["weight_0"] = -arrays["weight_0"]
    np.savez_compressed(damaged / pretrained.FILE, **arrays)
    assert np.abs(pretrained.in_int8(damaged)(dataset.images) - before).max() > 1e-3


def test_int8_file_needs_no_cache(kept, dataset, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("where a folder should be")
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "file"))
    assert pretrained.in_int8(kept)(dataset.images[:1]).shape == (1, 7)


def test_data_of_other_classes_are_refused(kept, dataset, tmp_path):
    three = datasets.select_classes(dataset, ["anger", "sadness", "neutral"])
    with pytest.raises(ResultError, match="these images have anger, sadness, neutral"):
        pretrained.restore(three, tmp_path, kept)
