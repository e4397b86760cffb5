"""The committed network: small, the same as it was trained, and never taken for a trained run."""

import dataclasses
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
    for name in ("metrics.json", "history.csv"):
        (folder / name).write_bytes((trained.folder / name).read_bytes())
    save(trained, folder)
    return folder


@pytest.fixture
def damaged(kept, tmp_path):
    for path in kept.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_kept_weights_predict_what_the_trained_ones_do(trained, kept, dataset, tmp_path):
    """A restored run is complete, says what it is, and is scored once until weights change."""
    run = pretrained.restore(dataset, tmp_path, kept)
    assert store.read_run(run.folder).metrics == run.metrics
    assert store.finished_runs(tmp_path) == []  # it is not one of the study's
    assert run.label == "FER-Net, committed int8 weights, seed 0"
    assert run.metrics["environment"]["precision"] == "float32"
    assert run.history.equals(trained.history)
    for split in ("PublicTest", "PrivateTest"):
        ours, theirs = (each.predictions(split)["probabilities"] for each in (run, trained))
        assert np.abs(ours - theirs).max() < 0.02 and ours.dtype == np.float32
    saved = predictors.predictor(run)(dataset.images[:5])
    direct = predictors.of_network(pretrained.network(kept))(dataset.images[:5])
    np.testing.assert_allclose(saved, direct, atol=1e-6)
    size = (kept / pretrained.FILE).stat().st_size
    assert size < (trained.folder / "model.keras").stat().st_size / 3
    written = (run.folder / "metrics.json").stat().st_mtime_ns
    pretrained.restore(dataset, tmp_path, kept)
    assert (run.folder / "metrics.json").stat().st_mtime_ns == written
    other = tmp_path / "other"
    shutil.copytree(kept, other)
    save(run, other)  # eight bits once more change nothing
    with np.load(kept / pretrained.FILE) as first, np.load(other / pretrained.FILE) as then:
        arrays = dict(then)
        for name in first:
            np.testing.assert_allclose(first[name], arrays[name], rtol=1e-6)
    arrays["weight_0"] = np.zeros_like(arrays["weight_0"])
    np.savez_compressed(other / pretrained.FILE, **arrays)
    assert pretrained.restore(dataset, tmp_path, other).metrics["scores"] != run.metrics["scores"]
    three = datasets.select_classes(dataset, ["anger", "sadness", "neutral"])
    with pytest.raises(ResultError, match="these images have anger, sadness, neutral"):
        pretrained.restore(three, tmp_path, kept)


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
    other = of_faces(datasets.load("synthetic:n=400,seed=2"))
    assert len(pretrained.runs(other, tmp_path / "other", "")) == 1
    assert "pixels differ" in capsys.readouterr().out
    with pytest.raises(ResultError, match="no finished run here; train a model first"):
        pretrained.runs(dataset, tmp_path, "synthetic:n=400,seed=1")
    study = trained.folder.parents[2]
    assert [run.folder for run in pretrained.runs(dataset, study, "")] == [trained.folder]


def test_collected_reference_has_the_weights(trained, tmp_path, monkeypatch):
    study, folder = tmp_path / "study", tmp_path / "reference"
    shutil.copytree(trained.folder, study / "runs/fer_net/seed_0")
    real = trained.metrics | {"data": trained.metrics["data"] | {"synthetic": False}}
    (study / "runs/fer_net/seed_0/metrics.json").write_text(json.dumps(real))
    monkeypatch.setattr(reference.faults, "other_data", lambda run: "")
    monkeypatch.setattr(reference.faults, "shortened", lambda runs: [])
    (study / "runs/fer_net/seed_0" / export.RECORD).write_text("{}")
    reference.collect(study, folder)
    kept = folder / "runs/fer_net/seed_0"
    assert pretrained.network(kept).count_params() and (kept / export.RECORD).is_file()


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("weights.npz", None, "weights.npz: cannot be read"),
        ("weights.npz", b"no archive", "weights.npz: damaged"),
        ("weights.npz", b"", "weights.npz: damaged"),
        ("weights.npz", b"PK\x03\x04 cut off", "weights.npz: damaged"),
        ("metrics.json", None, "metrics.json: no committed record"),
    ],
)
def test_what_is_damaged_is_named(damaged, file, content, told):
    (damaged / file).unlink() if content is None else (damaged / file).write_bytes(content)
    with pytest.raises(ResultError, match=told):
        pretrained.network(damaged)


def test_committed_weights_reach_what_their_record_says(fer2013_path):
    dataset = datasets.load(fer2013_path)
    predict = predictors.of_network(pretrained.network())
    for split in ("PublicTest", "PrivateTest"):
        part = dataset.usage == split
        right = predict(dataset.images[part]).argmax(axis=1) == dataset.labels[part]
        recorded = pretrained.record()["scores"][split]["accuracy"]
        assert right.mean() == pytest.approx(recorded, abs=0.002)


def test_int8_file_is_the_network_made_once_and_anew_where_it_must(
    kept, damaged, dataset, tmp_path, monkeypatch
):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    first = pretrained.in_int8(kept)(dataset.images)
    whole = predictors.of_network(pretrained.network(kept))(dataset.images)
    assert np.abs(first - whole).max() < 0.02
    with monkeypatch.context() as patched:
        patched.setattr(pretrained, "network", lambda _: pytest.fail("converted again"))
        np.testing.assert_array_equal(pretrained.in_int8(kept)(dataset.images), first)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(b"no network")
    np.testing.assert_array_equal(pretrained.in_int8(kept)(dataset.images), first)
    with np.load(damaged / pretrained.FILE) as weights:
        arrays = dict(weights)
    arrays["weight_0"] = -arrays["weight_0"]
    np.savez_compressed(damaged / pretrained.FILE, **arrays)
    (tmp_path / "file").write_text("where a folder should be")
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "file"))  # it needs no cache
    assert np.abs(pretrained.in_int8(damaged)(dataset.images) - first).max() > 1e-3
