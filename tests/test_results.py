"""Records and files: complete, checked, never half-written."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from runs import make_run

from fer_utils import config, data
from fer_utils.base import ResultError, replacing
from fer_utils.config import ParameterError
from fer_utils.runs import provenance, store, tables
from fer_utils.training.task import Task


def test_written_run_reads_back(tmp_path):
    run = make_run(tmp_path)
    again = store.read_run(run.folder)
    assert again.metrics == run.metrics
    assert again.predictions("PrivateTest")["probabilities"].dtype == np.float32
    assert [r.folder for r in store.finished_runs(tmp_path)] == [run.folder]


def test_predictions_are_never_unpickled(tmp_path):
    run = make_run(tmp_path)
    harm = np.array([{"a": 1}], dtype=object)
    np.savez(run.folder / "predictions.npz", **{"PrivateTest/probabilities": harm})
    with pytest.raises(ValueError, match="pickle"):
        run.predictions("PrivateTest")


def test_full_disk_while_replacing_a_run_leaves_the_old_one(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}

    def full(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(ResultError, match="No space left on device"):
        store.write_run(run.folder, run.metrics, run.history, {}, full)
    assert {p.name: p.read_bytes() for p in run.folder.iterdir()} == before

    def table(*_):
        raise ResultError("history.csv: cannot be written (No space left on device)")

    monkeypatch.setattr(store, "save_table", table)
    with pytest.raises(ResultError, match="history.csv"):
        store.write_run(run.folder, run.metrics, run.history, {})
    assert {p.name: p.read_bytes() for p in run.folder.iterdir()} == before


def test_a_folder_is_for_one_process_and_a_dead_one_lets_go(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from fer_utils.runs import store\n"
        f"with store.locked(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ResultError, match=f"another run .process {holder.pid}"):
        with store.locked(tmp_path):
            pass
    holder.kill()
    holder.wait()
    with store.locked(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 1}', "[1"])
def test_damaged_record_is_named(tmp_path, text):
    run = make_run(tmp_path)
    (run.folder / "metrics.json").write_text(text)
    with pytest.raises(ResultError, match=r"metrics\.json: not a record"):
        store.read_run(run.folder)


def test_record_with_a_wrong_value_is_not_written(tmp_path):
    run = make_run(tmp_path)
    before = (run.folder / "metrics.json").read_text()
    wrong = json.loads(before)
    wrong["scores"]["PrivateTest"]["accuracy"] = 1.2
    with pytest.raises(ParameterError, match=r"scores\.PrivateTest\.accuracy"):
        store.write_run(run.folder, wrong, run.history, {})
    assert (run.folder / "metrics.json").read_text() == before


def test_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with (
        pytest.raises(ResultError, match=r"table\.csv: cannot be written \(No space left"),
        replacing(path) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_comparison_has_a_row_per_run_with_its_interval(tmp_path):
    runs = [make_run(tmp_path), make_run(tmp_path, "deep_cnn", 45)]
    table = tables.comparison(runs)
    assert table["run_id"].tolist() == ["basic_cnn", "deep_cnn"]
    assert table["accuracy"].tolist() == pytest.approx([0.5, 0.75])
    assert (table["accuracy_low"] < table["accuracy"]).all()
    assert table["folder"].tolist() == ["runs/basic_cnn/seed_0", "runs/deep_cnn/seed_0"]


def test_runs_on_other_data_are_kept_apart(tmp_path):
    old = make_run(tmp_path, "deep_cnn", pixels="c" * 64)
    new = make_run(tmp_path, "basic_cnn", seed=1)
    assert store.on_same_data([old, new]) == ([new], [old])
    new.metrics["data"]["pixels_sha256"] = "c" * 64  # in another order
    assert store.on_same_data([old, new]) == ([new], [old])
    part = make_run(tmp_path, "dcnn_three_class", pixels="c" * 64)  # its classes alone
    assert store.on_same_data([old, new, part]) == ([new, part], [old])


def test_a_run_that_is_being_written_is_not_read(tmp_path):
    run = make_run(tmp_path)
    shutil.copytree(run.folder, run.folder / ".new.7.partial")
    assert [each.folder for each in store.finished_runs(tmp_path)] == [run.folder]


def test_run_under_the_papers_protocol_lies_in_the_common_one_and_has_its_own_row(tmp_path):
    common = make_run(tmp_path)
    own = make_run(tmp_path, protocol="holdout", correct=45)
    assert own.folder == common.folder / "holdout"
    assert [run.folder for run in store.finished_runs(tmp_path)] == [common.folder, own.folder]
    table = tables.comparison(store.finished_runs(tmp_path))
    assert table["protocol"].tolist() == ["official", "holdout"]
    assert table["folder"].tolist() == ["runs/basic_cnn/seed_0", "runs/basic_cnn/seed_0/holdout"]
    others = make_run(tmp_path, "pca_knn"), make_run(tmp_path, "deep_cnn")
    chosen = tables.own_protocol(tables.comparison([common, own, *others]))
    # the common run of deep_cnn does not stand in for a paper's protocol that was not run
    assert chosen["run_id"].tolist() == ["basic_cnn", "pca_knn"]
    assert chosen["protocol"].tolist() == ["holdout", "official"]


def test_other_images_than_the_runs_are_refused(tmp_path):
    run = make_run(tmp_path, "basic_cnn")
    with pytest.raises(ResultError, match="the runs were made on fer2013.csv"):
        store.same_images(run, data.load("synthetic:n=100"))


@pytest.mark.parametrize("model", ["basic_cnn", "dcnn_three_class"])
def test_the_images_of_the_runs_in_another_order_are_refused(tmp_path, model):
    images, run = data.load("synthetic:n=100"), make_run(tmp_path, model)
    held = data.select_classes(images, run.metrics["protocol"]["classes"])
    run.metrics["data"]["pixels_sha256"] = images.provenance["pixels_sha256"]
    run.metrics["data"]["content_sha256"] = data.content_sha256(held)
    store.same_images(run, images)
    with pytest.raises(ResultError, match="the same images in another order"):
        store.same_images(run, images.take(np.arange(len(images))[::-1]))


def test_a_study_without_a_run_has_none_on_any_data():
    for chosen in (store.on_same_data, store.best_run):
        with pytest.raises(ResultError, match="no finished run; train a model first"):
            chosen([])


def test_the_commit_of_a_record_is_that_of_the_code_that_ran(monkeypatch):
    commits = {"rev-parse": "a" * 40, "status": ""}
    monkeypatch.setattr(provenance, "_git", lambda word, *more: commits[word])
    provenance.git_commit.cache_clear()
    try:
        dataset = data.load("synthetic:n=100,seed=1")
        Task(config.model("basic_cnn"), dataset, 0)  # a training begins
        commits["rev-parse"] = "b" * 40
        assert provenance.environment()["git_commit"] == "a" * 40
    finally:
        provenance.git_commit.cache_clear()


def test_the_best_run_is_that_of_seven_classes_by_validation(tmp_path):
    for model, correct, seed in (("basic_cnn", 30, 0), ("deep_cnn", 40, 0), ("deep_cnn", 45, 1)):
        make_run(tmp_path, model, correct, seed)
    make_run(tmp_path, "dcnn_three_class", 58)  # three classes are easier
    assert store.best_run(store.finished_runs(tmp_path)).label == "Deep CNN, seed 1"


def test_kept_predictions_are_small_and_give_the_same_scores(tmp_path):
    run = make_run(tmp_path, "basic_cnn")
    before = run.predictions("PrivateTest")
    store.keep_predictions(run, run.folder / "predictions.npz")
    after = run.predictions("PrivateTest")
    assert np.array_equal(before["labels"], after["labels"])
    np.testing.assert_allclose(before["probabilities"], after["probabilities"], atol=1e-3)
    with pytest.raises(ResultError, match="no predictions of 'Training'"):
        run.predictions("Training")


def test_a_new_record_removes_the_notebook_that_shows_the_old_one(tmp_path):
    run = make_run(tmp_path)
    (run.folder / "notebook.ipynb").write_text("{}")
    make_run(tmp_path, protocol="holdout")
    assert not (run.folder / "notebook.ipynb").exists()
