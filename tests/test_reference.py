"""The committed results: tables follow from records, and a new run is checked against them."""

import json
from functools import partial
from types import SimpleNamespace

import pandas as pd
import pytest
from runs import make_run

from fer_utils.base import ParameterError, ResultError
from fer_utils.config import PARAMS
from fer_utils.extras import weights as pretrained
from fer_utils.runs import claims, store, tables
from fer_utils.study import cli, reference


@pytest.fixture(scope="module")
def committed():
    if not list(reference.FOLDER.glob("runs/*/seed_*/metrics.json")):
        pytest.skip("no reference results in this checkout")
    return reference.read()


def table(name):
    return pd.read_csv(reference.FOLDER / name)


def test_comparison_follows_from_the_records(committed, tmp_path):
    store.save_table(tables.comparison(committed), tmp_path / "comparison.csv")
    again, kept = pd.read_csv(tmp_path / "comparison.csv"), table("comparison.csv")
    pd.testing.assert_frame_equal(again, kept, check_exact=True)


def test_tables_follow_from_the_records_whenever_they_are_made(committed, tmp_path):
    readings = (reference.FOLDER / "readings",)
    store.save_table(claims.verdicts(committed, readings=readings), tmp_path / "verdicts.csv")
    again, kept = pd.read_csv(tmp_path / "verdicts.csv"), table("verdicts.csv")
    pd.testing.assert_frame_equal(again, kept)


def test_every_parameter_file_tells_the_score_of_its_reference_run(committed):
    common = table("comparison.csv").query("protocol == 'official' and seed == 0")
    for row in common.itertuples():
        text = (PARAMS / "models" / f"{row.run_id}.yaml").read_text(encoding="utf-8")
        assert f"#   Score     {100 * row.accuracy:.1f} % of PrivateTest, common protocol" in text


def test_reference_is_small_and_of_real_data(committed):
    weights = pretrained.RUN / pretrained.FILE
    files = {path for path in reference.FOLDER.rglob("*") if path.is_file()} - {weights}
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert weights.stat().st_size <= 2_000_000
    assert not any(run.metrics["data"]["synthetic"] for run in committed)
    kinds = {path.suffix for path in files}
    assert kinds <= {".json", ".csv", ".svg", ".md", ".npz", ".html"}
    drawn = [path.read_text() for path in files if path.suffix == ".svg"]
    assert drawn and not any("<image" in text for text in drawn)  # no picture of pixels


@pytest.fixture
def small(tmp_path):
    """A reference of one model: 30 of 60 right."""
    make_run(tmp_path, "basic_cnn", correct=30)
    return tmp_path


@pytest.mark.parametrize(("correct", "inside"), [(30, True), (34, True), (50, False), (10, False)])
def test_a_run_is_inside_the_interval_or_outside(small, tmp_path, correct, inside):
    run = make_run(tmp_path / "again", "basic_cnn", correct=correct)
    found = reference.compare([run], small)
    assert found["inside"].tolist() == [inside]
    assert found["reference"].tolist() == [0.5]


def test_a_network_from_other_weights_is_not_compared(small, tmp_path):
    run = make_run(tmp_path, "basic_cnn")
    run.metrics["params"]["title"] += " (mine.h5)"
    assert reference.compare([run], small)["inside"].tolist() == [None]


def test_a_seed_is_compared_with_its_own_or_else_the_first(small, tmp_path):
    make_run(small, "basic_cnn", correct=45, seed=1)
    runs = [make_run(tmp_path / "again", "basic_cnn", seed=seed) for seed in (0, 1, 2)]
    found = reference.compare(runs, small)
    assert found["reference"].tolist() == [0.5, 0.75, 0.5]
    assert found["inside"].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("models", "status", "told"),
    [
        ({"basic_cnn": 32}, 0, ["50.0% (37.7% to 62.3%)  inside"]),
        ({"basic_cnn": 50}, 1, ["50.0% (37.7% to 62.3%)  OUTSIDE"]),
        ({"basic_cnn": 30, "deep_cnn": 30}, 0, ["inside", "the reference has no run of this"]),
        ({"deep_cnn": 30}, 1, ["the reference has no run of this network and protocol"]),
    ],
)
def test_a_check_tells_each_run_and_fails_if_none_or_not_all_are_inside(
    small, tmp_path, monkeypatch, capsys, models, status, told
):
    for name, correct in models.items():
        make_run(tmp_path / "check", name, correct=correct)
    monkeypatch.setattr(reference, "compare", partial(reference.compare, folder=small))
    study = SimpleNamespace(folder=tmp_path / "check", recipes=models)
    assert cli.show_check(study) == status
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == len(models)
    for line, (name, words) in zip(lines, zip(models, told, strict=True), strict=True):
        assert line.startswith(name) and words in line


def test_the_fastest_network_is_checked_where_none_is_named(committed):
    data = committed[0].metrics["data"]
    assert reference.choose([], data) == ["basic_cnn"]
    assert reference.choose(["deep_cnn"], data) == ["deep_cnn"]


def test_training_time_is_epochs_times_images_at_the_measured_speed(tmp_path):
    epochs = {"epoch": [1, 2], "loss": [1.0, 0.5], "seconds": [4.0, 3.0]}
    epochs["images_per_second"] = [7000.0, 9333.3]
    make_run(tmp_path, "basic_cnn", history=epochs)
    make_run(tmp_path, "basic_cnn", protocol="holdout", history=epochs)
    table = "model,contender,images_per_second\nbasic_cnn,study,1000\nbasic_cnn,PyTorch,9\n"
    (tmp_path / "benchmark.csv").write_text(table)

    def seconds(images=28709, **recipe):
        recipe = {"epochs": 50, "train_limit": None} | recipe
        protocols = [{"protocol": name, "training": recipe} for name in ("official", "holdout")]
        recipes = {"basic_cnn": protocols, "my_cnn": protocols}
        return reference.training_seconds(recipes, images, tmp_path)

    # two protocols of two epochs, as the reference ran them, of 28,000 images
    assert seconds() == pytest.approx({"basic_cnn": 2 * 2 * 28})
    assert seconds(epochs=1) == pytest.approx({"basic_cnn": 2 * 28})
    assert seconds(train_limit=500) == seconds(500) == pytest.approx({"basic_cnn": 2 * 2 * 0.5})


def test_other_data_and_unknown_models_are_refused(small, tmp_path):
    data = {"pixels_sha256": "a" * 64, "source": "fer2013.csv"}
    with pytest.raises(ParameterError, match="no run of light_cnn; it has basic_cnn"):
        reference.choose(["light_cnn"], data, small)
    with pytest.raises(ParameterError, match="not the images of the reference"):
        reference.choose([], data | {"pixels_sha256": "c" * 64}, small)
    with pytest.raises(ResultError, match="no reference results"):
        reference.read(tmp_path / "nothing")


def test_a_study_and_a_reading_add_to_the_reference(tmp_path):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "basic_cnn", protocol="holdout", correct=40)
    make_run(study, "hog_svm", correct=30)
    reference.collect(study, folder)
    (folder / "README.md").write_text("what was checked")
    make_run(tmp_path / "second", "hog_svm", correct=20)
    make_run(tmp_path / "second", "light_cnn", correct=30)
    reference.collect(tmp_path / "second", folder)
    assert [run.place for run in reference.read(folder)] == [
        "runs/basic_cnn/seed_0/holdout", "runs/hog_svm/seed_0", "runs/light_cnn/seed_0",
    ]  # fmt: skip
    scores = pd.read_csv(folder / "comparison.csv").set_index("run_id")["accuracy"]
    assert scores["basic_cnn"] == pytest.approx(40 / 60)
    assert scores["hog_svm"] == pytest.approx(20 / 60)
    assert (folder / "README.md").read_text() == "what was checked"
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names >= {"verdicts.csv", "claims.svg", "accuracy.svg", "predictions.npz"}
    assert "model.keras" not in names
    make_run(tmp_path / "reading", "six_layer_cnn", protocol="publictest", epochs=60)
    reference.collect(tmp_path / "reading", folder, reading="60_epochs")
    kept = folder / "readings" / "60_epochs" / "runs" / "six_layer_cnn" / "seed_0" / "publictest"
    assert (kept / "metrics.json").is_file()
    assert len(reference.read(folder)) == 3


def test_runs_on_other_images_are_not_added(small, tmp_path):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "basic_cnn")
    reference.collect(study, folder)
    other = make_run(tmp_path / "other", "deep_cnn")
    data = other.metrics["data"] | {"pixels_sha256": "b" * 64}
    (other.folder / "metrics.json").write_text(json.dumps(other.metrics | {"data": data}))
    with pytest.raises(ResultError, match="not the images of the runs in"):
        reference.collect(tmp_path / "other", folder)
    assert [run.metrics["run_id"] for run in reference.read(folder)] == ["basic_cnn"]


def test_synthetic_and_cut_runs_are_no_reference(tmp_path):
    make_run(tmp_path / "a", "basic_cnn", synthetic=True)
    with pytest.raises(ResultError, match="synthetic"):
        reference.collect(tmp_path / "a", tmp_path / "reference")
    make_run(tmp_path / "b", "basic_cnn", epochs=1)
    with pytest.raises(ResultError, match="cut by a profile: Basic CNN"):
        reference.collect(tmp_path / "b", tmp_path / "reference")
    with pytest.raises(ResultError, match="nothing: no finished run here"):
        reference.collect(tmp_path / "nothing", tmp_path / "reference")
    assert not (tmp_path / "reference").exists()
