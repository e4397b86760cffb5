"""The whole study on tiny settings, in a clone: what one command makes and re-makes."""

import io
import json
import os
import re

import pandas as pd
import pytest
from browser import SIZES, faults, opened
from clones import Clone, processor_seconds
from conftest import ROOT

from fer_utils import data
from fer_utils.data import votes
from fer_utils.runs import store, tables

pytestmark = pytest.mark.study
EXPECTED = json.loads((ROOT / "tests" / "expected_tiny.json").read_text(encoding="utf-8"))
CHAPTERS = {"07_compare", "08_errors", "report"}  # what follows every run
EVERY = {*EXPECTED["order"]}  # the package below: each notebook presents its finished runs


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("study"), "tiny")


@pytest.fixture(scope="module")
def first(clone):
    """The first run of the study in a fresh clone."""
    done = clone.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_terminal_tells_progress_outcome_and_report(clone, first):
    told = re.findall(r"\[(\d+)/(\d+)\] ([^,\n]+)", first)
    names = [name for _, _, name in told]
    assert set(EXPECTED["order"]) <= set(names)
    assert [(int(i), int(of)) for i, of, _ in told] == [
        (i + 1, len(names)) for i in range(len(names))
    ]
    last_run = max(i for i, name in enumerate(names) if name.startswith(("04_", "05_")))
    assert min(map(names.index, ("07_compare", "08_errors"))) > last_run
    assert names[-1] == "report"
    assert re.search(r"epoch +2/6 +loss \d\.\d+ .* images/s", first)
    assert "synthetic faces, not FER2013" in first
    assert re.search(r"Basic CNN +0 +7 +6 +PrivateTest +\d+\.\d%", first)
    assert "claims   67 not tested" in first
    assert str(clone.study / "report.html") in first


def test_every_promised_file_is_there(clone, first):
    for name in EXPECTED["files"]:
        assert (clone.study / name).is_file(), name
    assert not (clone.study / "failed").exists()


def test_key_numbers_are_the_expected_ones(clone, first):
    runs = {run.place: run for run in store.finished_runs(clone.study)}
    for place, expected in EXPECTED["runs"].items():
        run = runs[place]
        # exact for networks; an SVM's support vectors hang on the last digits of a processor
        near = 0 if expected["epochs"] else 0.01
        assert run.metrics["model"]["parameters"] == pytest.approx(expected["parameters"], rel=near)
        assert run.metrics["model"]["epochs_run"] == expected["epochs"]
        assert {k: v["n"] for k, v in run.metrics["scores"].items()} == expected["n"]
        if "accuracy_between" in expected:  # the others hardly train on tiny settings
            low, high = expected["accuracy_between"]
            assert low <= run.test["accuracy"] <= high
    basic = runs["runs/basic_cnn/seed_0"]
    support = {k: v["support"] for k, v in basic.test["per_class"].items()}
    assert support == EXPECTED["support"]
    assert basic.metrics["data"]["counts"] == EXPECTED["counts"]


def test_tables_follow_from_the_records(clone, first):
    runs = store.finished_runs(clone.study)
    table = pd.read_csv(clone.study / "compare" / "comparison.csv")
    expected = io.StringIO(tables.comparison(runs).to_csv(index=False))
    pd.testing.assert_frame_equal(table, pd.read_csv(expected))
    verdicts = pd.read_csv(clone.study / "compare" / "verdicts.csv")
    assert len(verdicts) == 67  # every claim of the papers
    assert verdicts[["reason", "command"]].notna().all(axis=None)
    columns = "paper claim measure claimed measured low high verdict reason".split()
    assert verdicts.columns.tolist()[:9] == columns
    assert set(verdicts["verdict"]) == {"not tested"}  # synthetic faces decide nothing


def test_report_shows_the_records_and_is_sound_in_a_browser(clone, first, browser):
    path = clone.study / "report.html"
    assert [faults(browser, path, width, scheme) for width, scheme in SIZES] == [[]] * 4
    shown = opened(browser, path).locator(".model .score").all_inner_texts()
    table = pd.read_csv(clone.study / "compare" / "comparison.csv").query("protocol == 'official'")
    recorded = table.sort_values(["run_id", "seed"])["accuracy"]
    assert [score.split()[0] for score in shown] == [f"{value:.1%}" for value in recorded]
    text = path.read_text(encoding="utf-8")
    assert "E0000" not in text and "WARNING" not in text  # no start-up noise


def test_second_run_does_nothing_and_is_quick(clone, first):
    before, start = clone.states(), processor_seconds()
    done = clone.run()
    assert done.returncode == 0 and "nothing to do" in done.stdout
    assert processor_seconds() - start < 15
    ours = {".lock", "study.json"}
    after = clone.states()
    assert {p: t for p, t in after.items() if p.name not in ours} == {
        p: t for p, t in before.items() if p.name not in ours
    }


@pytest.mark.parametrize(
    ("name", "due"),
    [
        ("params/models/basic_cnn.yaml", set()),  # its recipe is the same
        ("fer_utils/data/votes.py", EVERY),
        ("fer_utils/report/template/style.css", {"report"}),
        ("notebooks/03_balance.ipynb", {"03_balance", "report"}),
    ],
)
def test_a_touched_file_re_runs_what_depends_on_it(clone, first, name, due):
    path = clone.root / name
    before = path.stat()
    clone.touch(name)
    try:
        assert clone.due() == due
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_changed_recipe_re_runs_the_model_it_concerns(clone, first):
    profile = clone.root / "tests" / "tiny.yaml"
    before = profile.read_text()
    profile.write_text(before.replace("epochs: 6", "epochs: 5"))
    try:
        shown = {"06_paper engdata301", *CHAPTERS}
        assert clone.due() == {"04_train basic_cnn seed 0", *shown}
        assert clone.due("--only", "pca_knn") == set()
    finally:
        profile.write_text(before)


def test_other_data_or_votes_in_the_same_file_re_run_what_shows_them(clone, first, tmp_path):
    images = data.load("synthetic:n=1000,seed=3")
    table = pd.DataFrame({"image": images.names, "row": 0, "usage": images.usage})
    table["emotion"] = images.labels
    table[[*votes.VOTE_COLUMNS]] = 1
    path, faces = tmp_path / "votes.csv", tmp_path / "faces.npz"
    table.to_csv(path, index=False)
    due = {"01_explore", "08_errors", "report"}
    assert clone.due("--votes", str(path)) == due
    images.save(faces)
    words = ["--data", str(faces), "--votes", str(path), "--results", str(tmp_path)]
    words += ["--only", "explore"]
    assert clone.run(*words).returncode == 0
    assert clone.run(*words).stdout.count("nothing to do") == 1
    table[:500].to_csv(path, index=False)
    assert clone.due(*words) == {"01_explore"}
    assert clone.run(*words).returncode == 0
    images.take(range(900)).save(faces)
    assert clone.due(*words) == {"01_explore"}
