"""Records and files: complete, checked, never half-written."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from fer_utils import claims, evaluation, parameters, results
from fer_utils.parameters import ParameterError

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def make_run(
    study, model="basic_cnn", correct=30, seed=0, synthetic=False, pixels="a" * 64, n=60, **training
):
    """A run folder whose predictions are right for the first `correct` of n test images."""
    labels = np.arange(n) % 7
    predicted = np.where(np.arange(n) < correct, labels, (labels + 1) % 7)
    probabilities = np.full((n, 7), 0.05, np.float32)
    probabilities[np.arange(n), predicted] = 0.7
    of = {"probabilities": probabilities, "labels": labels, "index": np.arange(n)}
    score = evaluation.scores(labels, probabilities, CLASSES)
    splits = ("Training", "PublicTest", "PrivateTest")
    metrics = {
        "schema_version": 1,
        "run_id": model,
        "seed": seed,
        "params": {
            "id": model, "title": model, "paper": "engdata301", "builder": model,
            "protocol": "official", "training": parameters.model(model)["training"] | training,
            "classes": None,
        },
        "data": {
            "kind": "csv", "source": "fer2013.csv", "sha256": "a" * 64, "pixels_sha256": pixels,
            "synthetic": synthetic, "counts": {"PrivateTest": {"anger": n}},
        },
        "protocol": {
            "name": "official", "train": "Training", "validation": "PublicTest",
            "test": "PrivateTest", "classes": list(CLASSES), "selected_on": "val_loss",
        },
        "environment": {
            "python": "3.12", "packages": {}, "backend": "tensorflow", "precision": "float32",
            "device": "cpu", "cores": 2, "git_commit": "x", "code_sha256": "b" * 64,
        },
        "timing": {
            "training_seconds": 1.0, "images_per_second": 10.0, "stages": {},
            "peak_memory_mb": 1, "finished_at": f"2026-01-0{1 + seed}T00:00:00+00:00",
        },
        "model": {"parameters": 5, "epochs_run": 1, "best_epoch": 1, "stopped_early": False},
        "scores": dict.fromkeys(splits, score),
    }  # fmt: skip
    history = pd.DataFrame({"epoch": [1], "loss": [1.0]})
    folder = results.run_folder(study, model, seed)
    return results.write_run(folder, metrics, history, dict.fromkeys(splits, of))


def test_written_run_reads_back(tmp_path):
    run = make_run(tmp_path)
    again = results.read_run(run.folder)
    assert again.metrics == run.metrics
    assert again.predictions("PrivateTest")["probabilities"].dtype == np.float32
    assert [r.folder for r in results.finished_runs(tmp_path)] == [run.folder]


def test_predictions_are_never_unpickled(tmp_path):
    run = make_run(tmp_path)
    harm = np.array([{"a": 1}], dtype=object)
    np.savez(run.folder / "predictions.npz", **{"PrivateTest/probabilities": harm})
    with pytest.raises(ValueError, match="pickle"):
        run.predictions("PrivateTest")


def test_full_disk_while_replacing_a_run_leaves_the_old_one(tmp_path):
    run = make_run(tmp_path)
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}

    class Full:
        def save(self, path):
            raise OSError(28, "No space left on device")

    with pytest.raises(results.ResultError, match="No space left on device"):
        results.write_run(run.folder, run.metrics, run.history, {}, Full())
    assert {p.name: p.read_bytes() for p in run.folder.iterdir()} == before


def test_a_folder_is_for_one_process_and_a_dead_one_lets_go(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from fer_utils import results\n"
        f"with results.locked(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(results.ResultError, match=f"another run .process {holder.pid}"):
        with results.locked(tmp_path):
            pass
    holder.kill()
    holder.wait()
    with results.locked(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 1}', "[1"])
def test_damaged_record_is_named(tmp_path, text):
    run = make_run(tmp_path)
    (run.folder / "metrics.json").write_text(text)
    with pytest.raises(results.ResultError, match=r"metrics\.json: not a record"):
        results.read_run(run.folder)


def test_missing_part_of_a_run_is_named(tmp_path):
    run = make_run(tmp_path)
    (run.folder / "history.csv").unlink()
    with pytest.raises(results.ResultError, match=r"history\.csv: missing"):
        results.read_run(run.folder)


def test_record_with_a_wrong_value_is_not_written(tmp_path):
    run = make_run(tmp_path)
    before = (run.folder / "metrics.json").read_text()
    wrong = json.loads(before)
    wrong["scores"]["PrivateTest"]["accuracy"] = 1.2
    with pytest.raises(ParameterError, match=r"scores\.PrivateTest\.accuracy"):
        results.write_run(run.folder, wrong, run.history, {})
    assert (run.folder / "metrics.json").read_text() == before


def test_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with (
        pytest.raises(results.ResultError, match=r"table\.csv: cannot be written \(No space left"),
        results.replacing(path) as temporary,
    ):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_full_disk_is_one_message(tmp_path):
    """/dev/full answers every write with "no space left"."""
    with pytest.raises(OSError), open("/dev/full", "w") as full:
        full.write("x" * 100_000)
    with (
        pytest.raises(results.ResultError, match="make room"),
        results.replacing(tmp_path / "a.txt") as temporary,
    ):
        temporary.symlink_to("/dev/full")
        temporary.write_text("x" * 100_000)


def test_comparison_has_a_row_per_run_with_its_interval(tmp_path):
    runs = [make_run(tmp_path), make_run(tmp_path, "deep_cnn", 45)]
    table = results.comparison(runs)
    assert table["run_id"].tolist() == ["basic_cnn", "deep_cnn"]
    assert table["accuracy"].tolist() == pytest.approx([0.5, 0.75])
    assert (table["accuracy_low"] < table["accuracy"]).all()
    assert table["folder"].tolist() == ["runs/basic_cnn/seed_0", "runs/deep_cnn/seed_0"]


def test_runs_on_other_data_are_kept_apart(tmp_path):
    old = make_run(tmp_path, "deep_cnn", pixels="c" * 64)
    new = make_run(tmp_path, "basic_cnn", seed=1)
    assert results.on_same_data([old, new]) == ([new], [old])


def test_headline_names_best_model_interval_and_synthetic_data(tmp_path):
    runs = [make_run(tmp_path), make_run(tmp_path, "deep_cnn", 45)]
    assert results.headline(runs).startswith(
        "**deep_cnn** comes first of 2 by accuracy on PublicTest"
    )
    assert "**75.0%** right (95 % interval 62.8% to 84.2%)" in results.headline(runs)
    assert "synthetic" not in results.headline(runs)
    assert "synthetic" in results.headline([make_run(tmp_path, synthetic=True)])


def verdict_of(runs, claim):
    table = claims.verdicts(runs).set_index("claim")
    return table.loc[next(name for name in table.index if claim in name)]


@pytest.mark.parametrize(("correct", "verdict"), [(26, "reproduced"), (50, "better"), (5, "worse")])
def test_verdict_follows_from_the_interval(tmp_path, correct, verdict):
    row = verdict_of([make_run(tmp_path, correct=correct)], "44 %")
    assert row["verdict"] == verdict and row["measured"] == pytest.approx(correct / 60)
    assert row["folder"] == "runs/basic_cnn/seed_0" and "60 images" in row["reason"]


def test_synthetic_faces_decide_no_claim(tmp_path):
    row = verdict_of([make_run(tmp_path, correct=50, synthetic=True)], "44 %")
    assert row["verdict"] == "cannot be decided" and "synthetic" in row["reason"]


def test_a_cut_recipe_decides_no_claim(tmp_path):
    row = verdict_of([make_run(tmp_path, correct=50, epochs=2)], "44 %")
    assert row["verdict"] == "cannot be decided" and "full profile" in row["reason"]
    assert row["measured"] == pytest.approx(50 / 60)


def test_claim_without_its_run_is_undecided_and_says_why(tmp_path):
    row = verdict_of([make_run(tmp_path)], "72 % validation")
    assert row["verdict"] == "cannot be decided" and "no run of resnet50" in row["reason"]


@pytest.mark.parametrize(
    ("deep", "verdict"), [(50, "reproduced"), (31, "cannot be decided"), (10, "worse")]
)
def test_order_of_two_models_is_judged_on_the_same_images(tmp_path, deep, verdict):
    runs = [make_run(tmp_path), make_run(tmp_path, "deep_cnn", deep)]
    row = verdict_of(runs, "above Basic")
    assert row["verdict"] == verdict
    assert row["measured"] == pytest.approx((deep - 30) / 60)
    assert row["low"] < row["measured"] < row["high"]


def test_difference_needs_the_same_images(tmp_path):
    runs = make_run(tmp_path), make_run(tmp_path, "deep_cnn", n=40)
    with pytest.raises(ValueError, match="not tested on the same images"):
        claims.accuracy_difference(*runs)
