"""What a command line asks for: which runs, which finished ones stay, and what is refused."""

import json

import cv2
import pytest
import yaml
from runs import make_run

from fer_utils import config, data
from fer_utils.base import ParameterError
from fer_utils.runs import claims, store
from fer_utils.study import cli, plan

PROFILE = {"description": "mine", "seeds": [0, 1], "models": ["basic_cnn", "pca_knn"]}


@pytest.fixture
def asked(tmp_path):
    """The study of some words, for results in a folder of the test's own."""

    def asked(*words, **profile):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(PROFILE | {"data": "synthetic:n=200,seed=0"} | profile))
        given = ["--profile", str(path), "--results", str(tmp_path), *words]
        return plan.study(cli.parser().parse_args(given))

    return asked


def job(study, folder):
    return next(job for job in study.jobs if job.folder == folder)


def test_a_network_runs_with_every_seed_and_a_classical_system_with_one(asked):
    study = asked()
    assert study.runs == ["runs/basic_cnn/seed_0", "runs/basic_cnn/seed_1", "runs/pca_knn/seed_0"]
    assert job(study, "runs/basic_cnn/seed_1").parameters["seed"] == 1
    notebooks = [f"{run}/notebook.ipynb" for run in study.runs]
    assert set(notebooks) <= set(job(study, "compare").needs)
    assert study.targets == ["report.html"]


def test_seeds_of_the_command_line_replace_the_profile_s_and_finished_runs_are_compared(
    asked, tmp_path
):
    make_run(tmp_path / "mine", "basic_cnn", seed=1)
    study = asked("--seeds", "0", "2")
    assert study.runs == ["runs/basic_cnn/seed_0", "runs/basic_cnn/seed_2", "runs/pca_knn/seed_0"]
    assert "runs/basic_cnn/seed_1/metrics.json" in job(study, "compare").needs


def test_recipes_are_written_once_and_read_by_the_run(asked, tmp_path):
    study = asked("--only", "basic_cnn", training={"epochs": 2})
    study.write_recipes()
    folder = tmp_path / "mine" / "runs" / "basic_cnn" / "seed_0"
    common = json.loads((folder / "params.json").read_text())
    own = json.loads((folder / common["paper_protocol"] / "params.json").read_text())
    assert common["training"]["epochs"] == 2 and own["protocol"] == common["paper_protocol"]
    assert store.recipes(tmp_path / "mine", "basic_cnn", 0) == [common, own]
    assert study.recipes["basic_cnn"] == [common, own]


def test_two_models_of_one_title_are_refused(asked, monkeypatch, tmp_path):
    one, recipes = config.model("basic_cnn")["title"], plan._recipes
    monkeypatch.setattr(
        plan, "_recipes", lambda *given: [p | {"title": one} for p in recipes(*given)]
    )
    with pytest.raises(ParameterError, match="pca_knn.yaml: `title` is 'Basic CNN'"):
        asked()
    make_run(tmp_path / "mine", "basic_cnn")  # also where the other one is finished
    with pytest.raises(ParameterError, match="pca_knn.yaml: `title` is 'Basic CNN'"):
        asked("--only", "pca_knn")


def test_a_wrong_claim_stops_the_study_before_it_starts(asked, monkeypatch):
    def wrong():
        raise ParameterError("claim 1: `measure` is missing")

    monkeypatch.setattr(claims, "read", wrong)
    with pytest.raises(ParameterError, match="`measure` is missing"):
        asked()


def test_errors_of_the_committed_network_need_no_run_on_real_data(asked, tmp_path):
    (tmp_path / "fer2013.csv").write_text("")
    study = asked("--only", "errors", data=str(tmp_path / "fer2013.csv"))
    assert [job.folder for job in study.jobs] == ["errors"] and not study.runs
    with pytest.raises(ParameterError, match="has no finished run"):
        asked("--only", "errors")


def test_paths_count_from_the_working_directory(asked, tmp_path, monkeypatch):
    faces = data.load("synthetic:n=20,seed=1").images
    assert cv2.imwrite(str(tmp_path / "me.png"), faces[0])
    monkeypatch.chdir(tmp_path)
    errors = next(name for name in plan.CHAPTERS.values() if name.endswith("_errors"))
    given = {errors: {"photo": "me.png"}, "02_preprocess": {"landmarks": "68.dat"}}
    study = asked("--results", "mine", notebooks=given)
    assert job(study, "errors").parameters["photo"] == str(tmp_path / "me.png")
    assert str(tmp_path / "me.png") in job(study, "errors").depends
    assert job(study, "preprocess").parameters["landmarks"] == str(tmp_path / "68.dat")
    assert study.folder == tmp_path / "mine" / "mine"
    with pytest.raises(ParameterError, match="01_explore.votes is True but must be a"):
        asked(notebooks={"01_explore": {"votes": True}})
