"""run_all.sh's words and messages, and notebooks opened by themselves."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from clones import Clone, processor_seconds
from test_data import write_csv

from fer_utils import data as datasets
from fer_utils.data import USAGES
from fer_utils.study.cli import main

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("study"), "tiny")


@pytest.fixture
def cli(capfd):
    """Carry out a command line of run_all.sh in this process."""

    def cli(*words):
        capfd.readouterr()
        try:
            status = main([*words])
        except SystemExit as left:
            status = left.code
        out, err = capfd.readouterr()
        err = re.sub(r"^[EWI]\d{4} .*\n", "", err, flags=re.MULTILINE)  # TensorFlow's C++ log
        return SimpleNamespace(returncode=status, out=out, err=err)

    return cli


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "/no/such.csv"], ["/no/such.csv"]),
        (["--profile", "quik"], ["quik", "did you mean quick"]),
        (["--only", "deepcnn"], ["deepcnn", "deep_cnn"]),
        (["--only", "basic_cnn,deep_cnn"], ["'basic_cnn,deep_cnn'", "without commas"]),
        (["--jobs", "0"], ["--jobs", "at least 1"]),
        (["--jobs", "two"], ["--jobs", "'two' is not an integer"]),
        (["--seeds", "0,1,2"], ["--seeds", "'0,1,2' is not an integer", ": 0 1 2"]),
        (["--dryrun"], ["--dryrun", "did you mean --dry-run?"]),
        (["--on-bad", "leave"], ["--on-bad", "'leave'", "skip"]),
        (["--seeds", "0", "0"], ["--seeds", "each once"]),
        (["--seeds", "-1"], ["--seeds", "from 0 to"]),
        (["--seeds", "4294967296"], ["--seeds", "to 4294967295"]),
        (["--results", "/dev/null/x"], ["/dev/null/x", "cannot be written", "--results"]),
        (["--votes", "/no/votes.csv"], ["votes.csv"]),
        (["--data", ""], ["--data is empty"]),
        (
            ["--only", "Basic_CN"],
            ["unknown model, chapter or paper 'Basic_CN'", "did you mean basic_cnn"],
        ),
        (["--only", "report"], ["has no finished run", "run models first"]),
        (["--only", "network"], ["no finished run of fer_net", "--only fer_net network"]),
        (["--data", "fer2013.csv", "--profile", "demo"], ["embedded faces", "quick or full"]),
        (["--check-reference"], ["--check-reference needs your FER2013", "--data PATH"]),
        (["--profile", "full"], ["profile full needs your data", "--data PATH"]),
    ],
)
def test_bad_words_on_the_command_line_are_one_message(cli, tmp_path, words, told):
    given = words if "--results" in words else [*words, "--results", str(tmp_path)]
    done = cli(*given)
    assert done.returncode == 2
    assert done.err.startswith("error: ") and done.err.count("\n") == 1
    assert all(word in done.err for word in told)
    assert not list(tmp_path.glob("*/runs"))


def test_errors_of_the_committed_network_need_no_run(cli, tmp_path):
    path = write_csv(tmp_path / "fer2013.csv", datasets.load("synthetic:n=100,seed=1"))
    words = ["--only", "errors", "--results", str(tmp_path), "--dry-run"]
    assert "1 notebook would run:\n  08_errors " in cli("--data", str(path), *words).out
    done = cli("--data", "synthetic:n=100,seed=1", *words)
    assert done.returncode == 2 and "has no finished run; run models first" in done.err


def test_a_backend_that_is_not_there_stops_the_study_before_it_starts(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    done = cli("--results", str(tmp_path))
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.err == "error: KERAS_BACKEND is torch; valid are tensorflow, jax\n"


def test_list_names_models_chapters_and_profiles(cli):
    text = cli("--list").out
    for name in ("basic_cnn", "deep_cnn", "01_explore", "07_compare", "demo", "quick", "full"):
        assert name in text
    asked = [line.split()[0] for line in text.splitlines() if "with --only" in line]
    assert asked == ["fer_net_large"]


def test_dry_run_checks_the_data_and_prints_its_table(cli, tmp_path):
    done = cli("--dry-run", "--data", "synthetic:n=1000,seed=3", "--results", str(tmp_path))
    assert done.returncode == 0, done.err
    assert re.search(r"happiness +\d+ +\d+ +\d+ +\d+", done.out)
    assert "PrivateTest images in Training" in done.out
    assert re.search(r"basic_cnn seed 0 .*; about \d+ min of training\n", done.out)
    assert "notebooks would run" in done.out and "report.html" in done.out
    assert not list(tmp_path.iterdir())  # a look leaves nothing behind


def test_bad_row_is_named_with_the_way_round_it(cli, tmp_path):
    rows = [f"{i % 7},{' '.join(['7'] * 2304)},{u}" for u in USAGES for i in range(7)]
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *rows, "9,1 2 3,Training"]) + "\n")
    given = ["--data", str(path), "--results", str(tmp_path)]
    for words in (given, [*given, "--dry-run"]):
        done = cli(*words)
        assert done.returncode == 2 and "--on-bad skip" in done.err
        assert "row 23" in done.out + done.err
        assert done.err.count("\n") == 1 and " would run" not in done.out
    assert cli(*given, "--dry-run", "--on-bad", "skip").returncode == 0
    saved = tmp_path / "without_it.npz"
    datasets.load(path, "skip", cache=False).save(saved)
    words = ["--data", str(saved), "--results", str(tmp_path), "--only", "explore", "--dry-run"]
    assert cli(*words).returncode == 0


def test_data_without_a_split_that_a_model_needs_stops_at_once(cli, tmp_path):
    rows = [f"{i % 7},{' '.join(['7'] * 2304)},Training" for i in range(14)]
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    done = cli("--data", str(path), "--results", str(tmp_path), "--dry-run")
    assert done.returncode == 2 and "PrivateTest" in done.err


def test_unknown_engine_option_is_told(cli, tmp_path):
    done = cli("--results", str(tmp_path), "--", "--no-such-option")
    assert done.returncode != 0 and "no-such-option" in done.out + done.err


@pytest.mark.parametrize("name", ["04_train", "07_compare", "09_fer_net"])
def test_notebook_runs_by_itself_with_its_defaults(clone, name):
    """As opened in JupyterLab: no parameters, the notebook's folder as working directory."""
    notebook = clone.root / "notebooks" / f"{name}.ipynb"
    before = processor_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--stdout", notebook],
        cwd=clone.root, env=clone.environment | {"PYTHONPATH": str(clone.root)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert processor_seconds() - before < 240  # two minutes of two cores, however busy they are
    cells = [c for c in json.loads(done.stdout)["cells"] if c["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []
    assert (clone.root / "results" / "notebook").is_dir()
