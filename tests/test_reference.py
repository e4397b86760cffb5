"""The committed results: tables follow from records, and a new run is checked against them."""

import json
from functools import partial

import pandas as pd
import pytest
from runs import make_run

from fer_utils.base import ParameterError, ResultError
from fer_utils.config import PARAMS
from fer_utils.extras import weights as pretrained
from fer_utils.runs import claims, store, tables
from fer_utils.study import cli as study
from fer_utils.study import reference


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
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert weights.stat().st_size <= 2_000_000
    assert not any(run.metrics["data"]["synthetic"] for run in committed)
    kinds = {path.suffix for path in files}
    assert kinds <= {".json", ".csv", ".svg", ".md", ".npz"}
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
    assert study.show_check(tmp_path / "check", list(models)) == status
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == len(models)
    for line, (name, words) in zip(lines, zip(models, told, strict=True), strict=True):
        assert line.startswith(name) and words in line


def test_the_fastest_network_is_checked_where_none_is_named(small, tmp_path):
    make_run(tmp_path, "deep_cnn", history={"epoch": [1], "loss": [1.0], "seconds": [1.5]})
    data = {"pixels_sha256": "a" * 64, "source": "fer2013.csv"}
    assert reference.choose([], data, small) == ["basic_cnn"]
    assert reference.choose(["deep_cnn"], data, small) == ["deep_cnn"]
    history = {"epoch": [1], "loss": [2.0], "seconds": [1.0]}
    make_run(tmp_path, "basic_cnn", protocol="holdout", history=history)  # 2 s in all
    assert reference.choose([], data, small) == ["deep_cnn"]


def test_a_reference_from_gpus_alone_asks_which_model_to_check(small):
    (path,) = small.glob("runs/*/seed_0/metrics.json")
    record = json.loads(path.read_text())
    record["environment"]["device"] = "NVIDIA H100"
    path.write_text(json.dumps(record))
    data = {"pixels_sha256": "a" * 64, "source": "fer2013.csv"}
    with pytest.raises(ParameterError, match="name a model .*; there are basic_cnn"):
        reference.choose([], data, small)
    assert reference.choose(["basic_cnn"], data, small) == ["basic_cnn"]


def test_costs_count_all_protocols_of_the_first_seed_and_the_grid(tmp_path):
    common = {"epoch": [1, 2], "loss": [1.0, 0.5], "seconds": [4.0, 3.0]}
    own = {"epoch": [1, 2], "loss": [1.0, 0.6], "seconds": [4.0, 2.0]}
    runs = [
        make_run(tmp_path, "basic_cnn", history=common),
        make_run(tmp_path, "basic_cnn", protocol="holdout", history=own),
        make_run(tmp_path, "basic_cnn", seed=1, history=common),
        make_run(tmp_path, "hog_svm", history={"epoch": []}),
    ]
    runs[3].metrics["timing"]["stages"]["grid"] = 60.0
    runs.append(make_run(tmp_path, "light_cnn", history={"epoch": []}))
    runs[4].metrics["model"]["members"] = {}  # an ensemble's time is that of its members
    runs.append(make_run(tmp_path, "deep_cnn", history=common))
    runs[5].metrics["environment"]["device"] = "NVIDIA H100"
    assert reference.costs(runs, tmp_path) == {"basic_cnn": 13.0, "hog_svm": 61.0}


def test_other_data_and_unknown_models_are_refused(small, tmp_path):
    data = {"pixels_sha256": "a" * 64, "source": "fer2013.csv"}
    with pytest.raises(ParameterError, match="no run of light_cnn; it has basic_cnn"):
        reference.choose(["light_cnn"], data, small)
    with pytest.raises(ParameterError, match="not the images of the reference"):
        reference.choose([], data | {"pixels_sha256": "c" * 64}, small)
    with pytest.raises(ResultError, match="no reference results"):
        reference.read(tmp_path / "nothing")


def test_collected_records_are_those_of_the_study(tmp_path):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "basic_cnn", protocol="holdout", correct=40)
    make_run(study, "basic_cnn", correct=30)
    kept = reference.collect(study, folder)
    again = reference.read(folder)
    assert [run.metrics for run in again] == [run.metrics for run in kept]
    (folder / "README.md").write_text("what was checked")
    (folder / "readings" / "other").mkdir(parents=True)
    (folder / "readings" / "other" / "metrics.json").write_text("{}")
    reference.collect(study, folder)  # a second time, beside what is not of the study
    assert (folder / "README.md").read_text() == "what was checked"
    assert (folder / "readings" / "other" / "metrics.json").is_file()
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names >= {"comparison.csv", "verdicts.csv", "claims.svg", "accuracy.svg"}
    assert "predictions.npz" not in names


def test_a_study_adds_to_the_reference(tmp_path):
    first, second, folder = tmp_path / "first", tmp_path / "second", tmp_path / "reference"
    make_run(first, "basic_cnn", protocol="holdout", correct=40)
    make_run(first, "deep_cnn", protocol="holdout", correct=50)
    make_run(first, "hog_svm", correct=30)
    reference.collect(first, folder)
    make_run(second, "hog_svm", correct=20)
    make_run(second, "light_cnn", correct=30)
    places = [run.place for run in reference.collect(second, folder)]
    assert places == [
        "runs/basic_cnn/seed_0/holdout", "runs/deep_cnn/seed_0/holdout",
        "runs/hog_svm/seed_0", "runs/light_cnn/seed_0",
    ]  # fmt: skip
    scores = pd.read_csv(folder / "comparison.csv").set_index("run_id")["accuracy"]
    assert scores["basic_cnn"] == pytest.approx(40 / 60)
    assert scores["hog_svm"] == pytest.approx(20 / 60)
    rows = pd.read_csv(folder / "verdicts.csv").set_index("claim")
    order = rows.loc["Deep CNN scores above Basic CNN in the test"]
    assert order["measured"] == pytest.approx(10 / 60) and order["verdict"] == "holds"


def test_what_tells_of_all_models_is_renewed_by_a_study_of_all(tmp_path, capsys):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "hog_svm", correct=30)
    make_run(tmp_path / "seeds", "hog_svm", correct=30)
    make_run(tmp_path / "seeds", "hog_svm", correct=32, seed=1)  # a further seed is not asked for
    reference.collect(tmp_path / "seeds", folder)
    (study / "errors").mkdir()
    for said in ("first", "second"):
        (study / "errors" / "mcnemar.csv").write_text(said)
        reference.collect(study, folder)
    assert (folder / "mcnemar.csv").read_text() == "second"
    make_run(tmp_path / "other", "light_cnn", correct=30)
    (tmp_path / "other" / "errors").mkdir()
    (tmp_path / "other" / "errors" / "mcnemar.csv").write_text("third")
    reference.collect(tmp_path / "other", folder)
    assert (folder / "mcnemar.csv").read_text() == "second"
    assert "kept as it was: mcnemar.csv, as this study lacks HOG + SVM" in capsys.readouterr().out


def test_tables_of_the_network_chapter_stay_those_of_the_committed_network(tmp_path, capsys):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "hog_svm", correct=30)
    (study / "network").mkdir()
    for model in ("fer_net", "fer_net_large"):
        (study / "network" / "more_views.csv").write_text(f"views,run\n1,runs/{model}/seed_0\n")
        reference.collect(study, folder)
    assert "runs/fer_net/seed_0" in (folder / "more_views.csv").read_text()
    assert "left out: more_views.csv, which is not of runs/fer_net/" in capsys.readouterr().out


def test_a_killed_collection_loses_nothing(tmp_path):
    study, folder = tmp_path / "study", tmp_path / "reference"
    make_run(study, "hog_svm", correct=30)
    reference.collect(study, folder)
    (folder / "README.md").write_text("what was checked")
    folder.rename(tmp_path / ".reference.old")  # as a kill leaves it, between the renamings
    make_run(study, "light_cnn", correct=30)
    assert len(reference.collect(study, folder)) == 2
    assert (folder / "README.md").read_text() == "what was checked"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reference", "study"]


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
