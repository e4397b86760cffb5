"""What a command line asks for: which runs, which finished ones stay, and what is refused."""

import os

import cv2
import pytest
import yaml
from runs import make_run

from fer_utils import config as parameters
from fer_utils import data as datasets
from fer_utils.base import ParameterError
from fer_utils.study import cli as study
from fer_utils.study import plan as settings

PROFILE = {"description": "mine", "seeds": [0, 1], "models": ["basic_cnn", "pca_knn"]}


@pytest.fixture
def asked(tmp_path):
    """The settings of some words, for results in a folder of the test's own."""

    def asked(*words, **profile):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(PROFILE | {"data": "synthetic:n=200,seed=0"} | profile))
        given = ["--profile", str(path), "--results", str(tmp_path), *words]
        return settings.settings(study.parser().parse_args(given))

    return asked


def notebook(run):
    path = run.folder / "notebook.ipynb"
    path.write_text("{}")
    return path


def test_a_network_runs_with_every_seed_and_a_classical_system_with_one(asked):
    wanted = ["runs/basic_cnn/seed_0", "runs/basic_cnn/seed_1", "runs/pca_knn/seed_0"]
    assert asked()["runs"] == wanted


def test_a_finished_run_that_was_trained_again_counts_as_changed(asked, tmp_path):
    run = make_run(tmp_path / "mine", "deep_cnn")
    assert asked()["kept"] == ["runs/deep_cnn/seed_0/metrics.json"]
    path = notebook(run)
    assert asked()["kept"] == ["runs/deep_cnn/seed_0/notebook.ipynb"]
    os.utime(path, (0, 0))
    assert asked()["kept"] == ["runs/deep_cnn/seed_0/metrics.json"]


def test_a_finished_ensemble_follows_its_members(asked, tmp_path):
    for seed in (0, 1):
        make_run(tmp_path / "mine", "fer_net", seed=seed)
    ensemble = make_run(tmp_path / "mine", "basic_cnn", seed=0)
    ensemble.folder.parent.rename(tmp_path / "mine" / "runs" / "fer_net_ensemble")
    for profile in ({}, {"seeds": [0]}):  # seed 1 trained without the study, say
        assert asked("--only", "fer_net", **profile)["models"] == ["fer_net", "fer_net_ensemble"]
    assert asked("--only", "pca_knn")["models"] == ["pca_knn"]
    cut = asked("--only", "fer_net", training={"train_limit": 50})  # it can't be made of these
    assert (
        cut["models"] == ["fer_net"] and "runs/fer_net_ensemble/seed_0/metrics.json" in cut["kept"]
    )


def test_two_models_of_one_title_are_refused(asked, monkeypatch, tmp_path):
    one = parameters.model("basic_cnn")["title"]
    complete = settings._complete

    def copied(name, profile):
        return [params | {"title": one} for params in complete(name, profile)]

    monkeypatch.setattr(settings, "_complete", copied)
    with pytest.raises(ParameterError, match="pca_knn.yaml: `title` is 'Basic CNN'"):
        asked()
    make_run(tmp_path / "mine", "basic_cnn")  # also where the other one is finished
    with pytest.raises(ParameterError, match="pca_knn.yaml: `title` is 'Basic CNN'"):
        asked("--only", "pca_knn")


def test_a_wrong_claim_stops_the_study_before_it_starts(asked, monkeypatch):
    from fer_utils.runs import claims

    def wrong():
        raise ParameterError("claims.yaml, claim 1: `measure` is missing")

    monkeypatch.setattr(claims, "read", wrong)
    with pytest.raises(ParameterError, match="`measure` is missing"):
        asked()


def test_errors_of_the_committed_network_on_the_profile_s_own_data(asked, tmp_path):
    (tmp_path / "fer2013.csv").write_text("")
    of_mine = asked("--only", "errors", data=str(tmp_path / "fer2013.csv"))
    assert of_mine["models"] == [] and of_mine["chapters"] == ["errors"]
    with pytest.raises(ParameterError, match="has no finished run"):
        asked("--only", "errors")


def test_a_chapter_that_failed_after_one_model_is_made_again(asked, tmp_path):
    config = asked("--only", "basic_cnn")
    failed = tmp_path / "mine" / "failed"
    failed.mkdir(parents=True)
    for name in ("compare", "basic_cnn_seed_1", "explore", "pca_knn_seed_0"):
        (failed / f"{name}.ipynb").write_text("{}")
    wanted = ["runs/basic_cnn/seed_1/notebook.ipynb", "compare/notebook.ipynb"]
    assert study.Engine(config, [], None).failed() == wanted
    alone = asked("--only", "explore")  # which asks for no report
    assert study.Engine(alone, [], None).failed() == ["explore/notebook.ipynb"]


def test_seeds_of_the_command_line_go_before_the_profile_s_and_finished_others_stay(
    asked, tmp_path
):
    notebook(make_run(tmp_path / "mine", "basic_cnn", seed=1))
    config = asked("--seeds", "0", "2")
    networks = ["runs/basic_cnn/seed_0", "runs/basic_cnn/seed_2"]
    assert config["runs"] == [*networks, "runs/pca_knn/seed_0"]  # it draws nothing: as ever
    # its notebook would be a target, so executed again when something changed
    assert config["kept"] == ["runs/basic_cnn/seed_1/metrics.json"]


def test_a_check_against_the_reference_takes_no_other_seed():
    words = ["--check-reference", "--data", "fer2013.csv", "--seeds", "1"]
    with pytest.raises(ParameterError, match="the reference's own seed: no --seeds"):
        settings.settings(study.parser().parse_args(words))


def test_paths_count_from_where_one_works(asked, tmp_path, monkeypatch):
    faces = datasets.load("synthetic:n=20,seed=1").images
    assert cv2.imwrite(str(tmp_path / "me.png"), faces[0])
    monkeypatch.chdir(tmp_path)
    given = {"07_errors": {"photo": "me.png"}, "02_preprocess": {"landmarks": "68.dat"}}
    config = asked("--results", "mine", notebooks=given)
    assert config["parameters"]["errors"]["photo"] == str(tmp_path / "me.png")
    assert config["parameters"]["preprocess"]["landmarks"] == str(tmp_path / "68.dat")
    assert config["folder"] == str(tmp_path / "mine" / "mine")
    with pytest.raises(ParameterError, match="01_explore.votes is True but must be a"):
        asked(notebooks={"01_explore": {"votes": True}})


def test_a_plan_says_of_a_network_with_all_its_records_what_would_train_it_again(asked, tmp_path):
    make_run(tmp_path / "mine", "basic_cnn")
    engine = study.Engine(asked("--only", "basic_cnn"), [], None)
    kept = "changed: models.py; trained again only if parameters, data or training version"
    kept += " have changed"
    # killed while its paper's own protocol trained: that goes on
    assert engine._told("04_train basic_cnn seed 0", "changed: models.py") == "changed: models.py"
    make_run(tmp_path / "mine", "basic_cnn", protocol="holdout")
    assert engine._told("04_train basic_cnn seed 0", "changed: models.py") == kept
    assert engine._told("04_train basic_cnn seed 1", "changed: models.py") == "changed: models.py"
    assert engine._told("01_explore", "changed: models.py") == "changed: models.py"
