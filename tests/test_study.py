"""The whole study on tiny settings, in a clone: what one command makes, re-makes and survives."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from browser import SIZES, faults
from conftest import ROOT

from fer_utils import results
from fer_utils.datasets import USAGES

pytestmark = pytest.mark.study
EXPECTED = json.loads((ROOT / "tests" / "expected_tiny.json").read_text(encoding="utf-8"))


ENDS = ["06_compare", "07_errors", "report"]  # what follows every run
CHAPTERS = {*ENDS, "09_fer_net"}  # in a study with the network that the last is about
TRIALS = "\n".join(
    [
        "trial,change,seed,epochs,parameters,minutes,accuracy,accuracy_10_views,"
        "gain,gain_low,gain_high",
        "unchanged,,0,12,1961639,25,0.62,0.63,,,",
        'mixup,"mixing: {kind: mixup}",0,12,1961639,26,0.63,0.64,0.01,-0.01,0.03',
    ]
)
CLASSICAL = {"05_classical pca_knn", "05_classical hog_svm"}


class Clone:
    """A copy of the project in which a test may touch and break files."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.root, self.study = folder / "clone", folder / "results" / profile
        for name in ("fer_utils", "notebooks", "params", "tests"):
            skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(ROOT / name, self.root / name, ignore=skip)
        for name in ("run_all.sh", "Snakefile", "pyproject.toml", "requirements.lock"):
            shutil.copy2(ROOT / name, self.root / name)
        reference = self.root / "results" / "reference"
        reference.mkdir(parents=True)
        (reference / "trials.csv").write_text(TRIALS)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = os.environ | {"PATH": path}

    def command(self, *more):
        profile = ["--profile", f"tests/{self.study.name}.yaml"]
        return ["./run_all.sh", *profile, "--results", str(self.study.parent), *more]

    def run(self, *more):
        return subprocess.run(
            self.command(*more), cwd=self.root, env=self.environment, capture_output=True, text=True
        )

    def start(self, *more):
        return subprocess.Popen(
            self.command(*more), cwd=self.root, env=self.environment, stdout=subprocess.DEVNULL
        )

    def due(self, *more):
        """The notebooks that would run now."""
        lines = self.run("--dry-run", *more).stdout.splitlines()
        start = next(i for i, line in enumerate(lines) if "notebooks would run" in line)
        return {re.split(r"\s{2,}", line.strip())[0] for line in lines[start + 1 :]}

    def touch(self, name):
        time.sleep(0.02)
        (self.root / name).touch()

    def states(self):
        """Modification times of all results."""
        files = [p for p in self.study.rglob("*") if p.is_file() and ".snakemake" not in p.parts]
        return {p.relative_to(self.study): p.stat().st_mtime_ns for p in files}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Clone(tmp_path_factory.mktemp("study"), "tiny")


@pytest.fixture(scope="module")
def first(clone):
    """The first run of the study in a fresh clone."""
    done = clone.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished study of two models, which a test may break and run again."""
    clone = Clone(tmp_path_factory.mktemp("small"), "small")
    done = clone.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return clone


def test_terminal_tells_progress_outcome_and_report(clone, first):
    told = re.findall(r"\[(\d+)/(\d+)\] (.+)", first)
    names = [name for _, _, name in told]
    assert set(EXPECTED["order"]) <= set(names)
    assert [(int(i), int(of)) for i, of, _ in told] == [
        (i + 1, len(names)) for i in range(len(names))
    ]
    assert set(names[-4:-1]) == {"06_compare", "07_errors", "09_fer_net"} and names[-1] == "report"
    assert re.search(r"epoch +2/16 +loss \d\.\d+ .* images/s", first)
    assert "synthetic faces, not FER2013" in first
    assert re.search(r"Basic CNN +0 +7 +PrivateTest +\d+\.\d%", first)
    assert "claims   33 cannot be decided" in first
    assert str(clone.study / "report.html") in first


def test_every_promised_file_is_there(clone, first):
    for name in EXPECTED["files"]:
        assert (clone.study / name).is_file(), name
    assert not list(clone.study.glob("failed/*"))


def test_key_numbers_are_the_expected_ones(clone, first):
    runs = {run.place: run for run in results.finished_runs(clone.study)}
    for place, expected in EXPECTED["runs"].items():
        run = runs[place]
        assert run.metrics["model"]["parameters"] == expected["parameters"]
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
    runs = results.finished_runs(clone.study)
    table = pd.read_csv(clone.study / "compare" / "comparison.csv")
    pd.testing.assert_frame_equal(table, results.comparison(runs), check_dtype=False)
    verdicts = pd.read_csv(clone.study / "compare" / "verdicts.csv")
    assert len(verdicts) == 33  # every claim of the papers and of the literature they cite
    assert verdicts[["reason", "command"]].notna().all(axis=None)
    columns = ["paper", "claim", "claimed", "measured", "low", "high", "verdict", "reason"]
    assert verdicts.columns.tolist()[:8] == columns
    assert set(verdicts["verdict"]) == {"cannot be decided"}  # synthetic faces decide nothing


def test_report_is_one_file_that_loads_nothing(clone, first):
    text = (clone.study / "report.html").read_text(encoding="utf-8")
    loaded = re.findall(
        r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"([^\"]*)\"", text
    )
    assert loaded and all(address.startswith("data:") for address in loaded)
    assert "<script src" not in text and "@import" not in text and "url(" not in text
    assert all('alt="' in tag for tag in re.findall(r"<img\b[^>]*>", text))
    assert len(set(re.findall(r'\bid="([^"]+)"', text))) == len(re.findall(r'\bid="', text))
    for address in re.findall(r'href="(?!data:|#)([^"]+)"', text):
        assert (clone.study / address).is_file(), address
    assert "synthetic" in text and "Basic CNN, seed 0" in text
    assert "E0000" not in text and "WARNING" not in text  # no start-up noise
    table = pd.read_csv(clone.study / "compare" / "comparison.csv")
    assert all(f"{accuracy:.3f}" in text for accuracy in table["accuracy"])


def test_report_is_sound_in_a_browser(clone, first, browser):
    for width, scheme in SIZES:
        assert faults(browser, clone.study / "report.html", width, scheme) == []
    shown = browser.js(
        """[...document.querySelectorAll('#compare table')].slice(0, 1).map(table => {
          const names = [...table.tHead.rows[0].cells].map(cell => cell.innerText.trim());
          const at = names.findIndex(name => name.startsWith("accuracy"));
          return [...table.tBodies[0].rows].map(row => row.cells[at].innerText.trim());
        })[0]"""
    )
    table = pd.read_csv(clone.study / "compare" / "comparison.csv")
    recorded = table.loc[table["protocol"] == "official", "accuracy"].sort_values(ascending=False)
    assert shown == [f"{value:.3f}" for value in recorded]


def test_second_run_does_nothing_and_is_quick(clone, first):
    before, start = clone.states(), time.time()
    done = clone.run()
    assert done.returncode == 0 and "nothing to do" in done.stdout
    assert time.time() - start < 15
    ours = {".lock", "study.json"}
    after = clone.states()
    assert {p: t for p, t in after.items() if p.name not in ours} == {
        p: t for p, t in before.items() if p.name not in ours
    }


@pytest.mark.parametrize(
    ("name", "due"),
    [
        ("params/models/deep_cnn.yaml", {"04_train deep_cnn seed 0", *CHAPTERS}),
        ("fer_utils/ferplus.py", {"01_explore", "07_errors", "09_fer_net", "report"}),
        ("results/reference/trials.csv", {"09_fer_net", "report"}),
        ("fer_utils/report/style.css", {"report"}),
        ("notebooks/03_balance.ipynb", {"03_balance", "report"}),
        ("params/models/pca_knn.yaml", {"05_classical pca_knn", *CHAPTERS}),
        ("fer_utils/classical.py", {*CLASSICAL, *CHAPTERS}),
    ],
)
def test_a_touched_file_re_runs_what_depends_on_it(clone, first, name, due):
    assert clone.due() == set()
    path = clone.root / name
    before = path.stat()
    clone.touch(name)
    try:
        assert clone.due() == due
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_changed_limit_re_runs_the_model_it_concerns(clone, first):
    profile = clone.root / "tests" / "tiny.yaml"
    before = profile.read_text()
    profile.write_text(before.replace("epochs: 16", "epochs: 15"))
    try:
        assert clone.due() == {"04_train basic_cnn seed 0", *CHAPTERS}
    finally:
        profile.write_text(before)


def test_only_leaves_the_other_models_alone(clone, first):
    assert clone.due("--only", "basic_cnn") == set()
    files = [clone.root / f"params/models/{name}.yaml" for name in ("basic_cnn", "deep_cnn")]
    before = [path.stat() for path in files]
    for path in files:
        clone.touch(path.relative_to(clone.root))
    try:
        due = clone.due("--only", "basic_cnn")
        assert due == {"04_train basic_cnn seed 0", *CHAPTERS}
    finally:
        for path, old in zip(files, before, strict=True):
            os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))


MY_CNN = '''

@builder
def my_cnn(classes: int = 7, scale: float = 1 / 255, offset: float = 0.0) -> keras.Model:
    """My network."""
    from keras import Sequential, layers

    return Sequential(
        [
            *_pixels(scale, offset),
            layers.Conv2D(16, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            _probabilities(classes),
        ]
    )
'''
MY_FILE = """id: my_cnn
title: My CNN
paper: mine
builder: my_cnn
protocol: official
training: {epochs: 20, batch_size: 64, learning_rate: 1.0e-3}
"""


def test_a_model_is_added_by_one_builder_and_one_parameter_file(small):
    """The two pieces of the README's section "Add a model", as they stand there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    unindented = "\n".join(line[3:] for line in readme.splitlines())
    assert MY_FILE.strip() in unindented
    shown = MY_CNN.strip().replace('"""My network."""', '"""My network, one line on what it is."""')
    assert shown in unindented
    builders = small.root / "fer_utils" / "models.py"
    good, old = builders.read_text(encoding="utf-8"), builders.stat()
    mine = small.root / "params" / "models" / "my_cnn.yaml"
    builders.write_text(good + MY_CNN)
    mine.write_text(MY_FILE)
    try:
        assert "my_cnn" in small.run("--list").stdout
        done = small.run("--only", "my_cnn")
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"My CNN +0 +7 +PrivateTest", done.stdout)
        table = pd.read_csv(small.study / "compare" / "comparison.csv")
        assert {"my_cnn", "basic_cnn"} <= set(table["run_id"])
        assert "My CNN, seed 0" in (small.study / "report.html").read_text(encoding="utf-8")
    finally:
        mine.unlink()
        shutil.rmtree(small.study / "runs" / "my_cnn", ignore_errors=True)
        builders.write_text(good)
        os.utime(builders, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert small.run().returncode == 0


def test_failed_notebook_is_told_plainly_and_earlier_results_stay(small):
    notebook = small.root / "notebooks" / "03_balance.ipynb"
    good, old = notebook.read_text(encoding="utf-8"), notebook.stat()
    kept = (small.study / "balance" / "notebook.ipynb").read_bytes()
    notebook.write_text(good.replace("plots.use_style()", "plots.no_such_style()"))
    done = small.run()
    assert done.returncode == 1
    assert "FAILED  03_balance" in done.stdout and "no_such_style" in done.stdout
    assert re.search(r"03_balance\.ipynb, cell \d+: AttributeError", done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    failed = small.study / "failed" / "balance.ipynb"
    assert str(failed) in done.stdout and failed.is_file()
    assert (small.study / "balance" / "notebook.ipynb").read_bytes() == kept
    # the report is made of the rest and says so
    page = small.study / "report.html"
    assert str(page) in done.stdout and "no_such_style" in page.read_text(encoding="utf-8")
    notebook.write_text(good)
    os.utime(notebook, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert small.run().returncode == 0
    assert not failed.exists() and "no_such_style" not in page.read_text(encoding="utf-8")


def test_a_figure_that_fails_after_training_loses_no_training(small):
    notebook = small.root / "notebooks" / "04_train.ipynb"
    parameters = small.root / "params" / "models" / "basic_cnn.yaml"
    files = [
        (path, path.read_text(encoding="utf-8"), path.stat()) for path in (notebook, parameters)
    ]
    notebook.write_text(files[0][1].replace("plots.confusion(", "plots.no_such_plot("))
    parameters.write_text(files[1][1].replace("rotation: 15", "rotation: 14"))
    record = small.study / "runs" / "basic_cnn" / "seed_0" / "metrics.json"
    profile = small.root / "tests" / "small.yaml"
    limits = profile.read_text()
    profile.write_text(limits.replace("train_limit: 200", "train_limit: 150"))
    done = small.run("--only", "basic_cnn")
    assert done.returncode == 1 and "no_such_plot" in done.stdout
    trained = json.loads(record.read_text())
    assert trained["params"]["training"]["train_limit"] == 150
    notebook.write_text(files[0][1])
    again = small.run("--only", "basic_cnn")
    assert again.returncode == 0 and "finished run" in again.stdout
    assert json.loads(record.read_text()) == trained
    for path, text, old in files:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    profile.write_text(limits)
    assert small.run().returncode == 0


def test_other_data_in_the_same_place_re_run_the_study(clone, first, tmp_path):
    from fer_utils import datasets

    path = tmp_path / "faces.npz"
    datasets.load("synthetic:n=800,seed=1").save(path)
    words = ["--data", str(path), "--results", str(tmp_path), "--only", "explore"]
    assert clone.run(*words).returncode == 0
    assert clone.run(*words).stdout.count("nothing to do") == 1
    datasets.load("synthetic:n=800,seed=2").save(path)
    assert clone.due(*words) == {"01_explore"}


def test_second_run_in_the_same_folder_is_refused_and_killed_one_is_taken_over(small):
    records = small.study / "runs" / "basic_cnn" / "seed_0" / "metrics.json"
    before = json.loads(records.read_text())
    small.touch("params/models/basic_cnn.yaml")
    process = small.start()
    counter = small.study / ".counter"
    deadline = time.time() + 60
    while not (counter.is_file() and counter.read_text()) and time.time() < deadline:
        time.sleep(0.05)
    refused = small.run()
    assert refused.returncode == 2
    assert f"another run (process {process.pid})" in refused.stderr
    time.sleep(2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = small.run()
    assert done.returncode == 0, done.stdout + done.stderr
    after = json.loads(records.read_text())
    assert before["scores"] == after["scores"]
    assert small.due() == set()
    assert not list(small.study.rglob(".*.partial*"))


def test_interrupted_run_says_so_and_the_next_one_finishes(small):
    small.touch("notebooks/01_explore.ipynb")
    process = subprocess.Popen(
        small.command(), cwd=small.root, env=small.environment,
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if "01_explore" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted" in rest and "FAILED" not in rest
    assert small.run().returncode == 0
    assert small.due() == set()


def cli(*words, cwd=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "fer_utils.study", *words], cwd=cwd, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--data", "/no/such.csv"], ["/no/such.csv"]),
        (["--profile", "quik"], ["quik", "did you mean quick"]),
        (["--only", "deepcnn"], ["deepcnn", "deep_cnn"]),
        (["--jobs", "0"], ["--jobs", "at least 1"]),
        (["--results", "/dev/null/x"], ["/dev/null/x", "cannot be written", "--results"]),
        (["--votes", "/no/votes.csv"], ["votes.csv"]),
        (["--data", ""], ["--data is empty"]),
        (["--only", "Basic_CN"], ["unknown model or chapter 'Basic_CN'", "did you mean basic_cnn"]),
        (["--only", "report"], ["has no finished run", "run models first"]),
        (["--only", "network"], ["no finished run of fer_net", "--only fer_net network"]),
        (["--only", "fer_net_ensemble"], ["needs two or more runs of fer_net", "`seeds`"]),
        (
            ["--profile", "{two_seeds}", "--only", "fer_net", "fer_net_ensemble"],
            ["train_limit cuts its member fer_net"],
        ),
        (["--data", "fer2013.csv", "--profile", "demo"], ["embedded faces", "quick or full"]),
        (["--check-reference"], ["--check-reference needs your FER2013", "--data PATH"]),
        (["--profile", "full"], ["profile full needs your data", "--data PATH"]),
    ],
)
def test_bad_words_on_the_command_line_are_one_message(tmp_path, words, told):
    two_seeds = tmp_path / "two.yaml"
    two_seeds.write_text("description: x\nseeds: [0, 1]\ndata: synthetic:n=200,seed=0\n"
                         "training: {train_limit: 50}\n")  # fmt: skip
    words = [word.format(two_seeds=two_seeds) for word in words]
    given = words if "--results" in words else [*words, "--results", str(tmp_path)]
    done = cli(*given)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in told)
    assert not list(tmp_path.glob("*/runs"))


def test_broken_parameter_file_stops_the_study_before_it_starts(tmp_path, clone):
    broken = clone.root / "params" / "models" / "deep_cnn.yaml"
    good, old = broken.read_text(), broken.stat()
    broken.write_text(good.replace("learning_rate: 1.0e-3", "learning_rate: 1e-3"))
    try:
        done = clone.run()
        assert done.returncode == 2
        assert "deep_cnn.yaml" in done.stderr and "1.0e-3" in done.stderr
    finally:
        broken.write_text(good)
        os.utime(broken, ns=(old.st_atime_ns, old.st_mtime_ns))


def test_list_names_models_chapters_and_profiles():
    text = cli("--list").stdout
    for name in ("basic_cnn", "deep_cnn", "01_explore", "06_compare", "demo", "quick", "full"):
        assert name in text


def test_dry_run_checks_the_data_and_prints_its_table(tmp_path):
    done = cli("--dry-run", "--data", "synthetic:n=1000,seed=3", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"happiness +\d+ +\d+ +\d+ +\d+", done.stdout)
    assert "PrivateTest images in Training" in done.stdout
    assert "notebooks would run" in done.stdout
    assert not list(tmp_path.glob("*/runs"))


def test_bad_row_is_named_with_the_way_round_it(tmp_path):
    rows = [f"{i % 7},{' '.join(['7'] * 2304)},{u}" for u in USAGES for i in range(7)]
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *rows, "9,1 2 3,Training"]) + "\n")
    given = ["--data", str(path), "--results", str(tmp_path)]
    for words in (given, [*given, "--dry-run"]):
        done = cli(*words)
        assert done.returncode == 2 and "--on-bad skip" in done.stderr
        assert "row 23" in done.stdout + done.stderr
        assert done.stderr.count("\n") == 1 and "notebooks would run" not in done.stdout
    assert cli(*given, "--dry-run", "--on-bad", "skip").returncode == 0


def test_data_without_a_split_that_a_model_needs_stops_at_once(tmp_path):
    rows = [f"{i % 7},{' '.join(['7'] * 2304)},Training" for i in range(14)]
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    done = cli("--data", str(path), "--results", str(tmp_path), "--dry-run")
    assert done.returncode == 2 and "PrivateTest" in done.stderr


def test_unknown_engine_option_is_told(tmp_path):
    done = cli("--results", str(tmp_path), "--", "--no-such-option")
    assert done.returncode != 0 and "no-such-option" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    ["06_compare", "report", "01_explore", "03_balance", "04_train", "05_ensemble", "09_fer_net"],
)
def test_notebook_runs_by_itself_with_its_defaults(clone, name):
    """As opened in JupyterLab: no parameters, the notebook's folder as working directory."""
    notebook = clone.root / "notebooks" / f"{name}.ipynb"
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--stdout", notebook],
        cwd=clone.root, env=clone.environment | {"PYTHONPATH": str(clone.root)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert time.time() - start < 120
    cells = [c for c in json.loads(done.stdout)["cells"] if c["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells)
    assert (clone.root / "results" / "notebook").is_dir()
