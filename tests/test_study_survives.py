"""What a study survives: broken notebooks, a kill, an interrupt; and a model of one's own."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pandas as pd
import pytest
from clones import Clone
from conftest import ROOT

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished study of two models and two chapters, which a test may break and run again."""
    only = ("explore", "balance", "basic_cnn", "pca_knn")
    clone = Clone(tmp_path_factory.mktemp("small"), "small", only)
    done = clone.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return clone


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
    good, old = notebook.read_text(encoding="utf-8"), notebook.stat()
    notebook.write_text(good.replace("plots.confusion(", "plots.no_such_plot("))
    profile = small.root / "tests" / "small.yaml"
    limits = profile.read_text()
    profile.write_text(limits.replace("per_model:", "per_model:\n  basic_cnn: {train_limit: 150}"))
    record = small.study / "runs" / "basic_cnn" / "seed_0" / "metrics.json"
    done = small.run("--only", "basic_cnn")
    assert done.returncode == 1 and "no_such_plot" in done.stdout
    trained = json.loads(record.read_text())
    assert trained["params"]["training"]["train_limit"] == 150
    notebook.write_text(good, encoding="utf-8")
    os.utime(notebook, ns=(old.st_atime_ns, old.st_mtime_ns))
    again = small.run()
    assert again.returncode == 0 and "finished run" in again.stdout, again.stdout
    assert json.loads(record.read_text()) == trained


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


def test_a_model_is_added_by_one_builder_and_one_parameter_file(small):
    """The builder and the file of the README's section "Add or change a model"."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    builder = re.search(r"```python\n(@builder\n.*?)```", readme, re.DOTALL)[1]
    content = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1]
    builders = small.root / "fer_utils" / "models" / "papers.py"
    good, old = builders.read_text(encoding="utf-8"), builders.stat()
    mine = small.root / "params" / "models" / "my_cnn.yaml"
    builders.write_text(f"{good}\n\n{builder}")
    mine.write_text(content)
    try:
        assert "my_cnn" in small.run("--list").stdout
        done = small.run("--only", "my_cnn")
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"My CNN +0 +7 +2 +PrivateTest", done.stdout)
        table = pd.read_csv(small.study / "compare" / "comparison.csv")
        assert {"my_cnn", "basic_cnn"} <= set(table["run_id"])
        assert "My CNN, seed 0" in (small.study / "report.html").read_text(encoding="utf-8")
    finally:
        mine.unlink()
        shutil.rmtree(small.study / "runs" / "my_cnn", ignore_errors=True)
        builders.write_text(good)
        os.utime(builders, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert small.run().returncode == 0
