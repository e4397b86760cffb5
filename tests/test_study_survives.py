"""What a study survives: broken notebooks, a kill, an interrupt; and a model of one's own.

The clone lies in a folder with a name that a shell and Snakemake could misread.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pandas as pd
import psutil
import pytest
from clones import Clone
from conftest import ROOT

pytestmark = pytest.mark.study


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished study of one model and one chapter, which a test may break and run again."""
    folder = tmp_path_factory.mktemp("small") / "It's R&D; (my) {project} $HOME"
    clone = Clone(folder, "small", ("balance", "basic_cnn"))
    done = clone.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return clone


def record(clone):
    return json.loads((clone.study / "runs" / "basic_cnn" / "seed_0" / "metrics.json").read_text())


def test_a_failed_notebook_is_named_and_no_training_or_earlier_result_is_lost(small):
    balance, train = (small.root / "notebooks" / f"{n}.ipynb" for n in ("03_balance", "04_train"))
    good = {path: path.read_text(encoding="utf-8") for path in (balance, train)}
    balance.write_text(good[balance].replace("plots.use_style()", "plots.no_such_style()"))
    train.write_text(good[train].replace("plots.confusion(", "plots.no_such_plot("))
    profile = small.root / "tests" / "small.yaml"
    limits = profile.read_text()
    profile.write_text(limits.replace("train_limit: 120", "train_limit: 150"))
    kept = (small.study / "balance" / "notebook.ipynb").read_bytes()
    done = small.run()
    assert done.returncode == 1
    assert re.search(
        r"FAILED  03_balance\n03_balance\.ipynb, cell \d+: AttributeError", done.stdout
    )
    assert "FAILED  04_train basic_cnn seed 0" in done.stdout and "no_such_plot" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr and "None" not in done.stdout
    failed = small.study / "failed" / "balance.ipynb"
    assert str(failed) in done.stdout and failed.is_file()
    assert (small.study / "balance" / "notebook.ipynb").read_bytes() == kept
    trained = record(small)
    assert trained["params"]["training"]["train_limit"] == 150
    # the report is made of the rest and says what failed
    page = small.study / "report.html"
    assert str(page) in done.stdout and "no_such_style" in page.read_text(encoding="utf-8")
    for path, text in good.items():
        path.write_text(text, encoding="utf-8")
    again = small.run()
    assert again.returncode == 0 and "finished run" in again.stdout, again.stdout
    assert record(small) == trained
    assert not failed.exists() and "no_such_style" not in page.read_text(encoding="utf-8")


def test_a_second_run_is_refused_and_a_killed_one_is_continued(small):
    before = record(small)["scores"]
    small.touch("notebooks/04_train.ipynb")
    process = small.start()
    counter, deadline = small.study / ".counter", time.time() + 60
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
    assert record(small)["scores"] == before and small.due() == set()


def test_an_interrupted_run_says_so_and_the_next_one_finishes(small):
    small.touch("notebooks/03_balance.ipynb")
    process = subprocess.Popen(
        small.command(), cwd=small.root, env=small.environment,
        stdout=subprocess.PIPE, text=True, start_new_session=True,
        # a background job, as these tests may be, has it ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for line in process.stdout:
        if "03_balance" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted" in rest and "FAILED" not in rest
    assert not [p for p in psutil.process_iter(["cmdline"])
                if str(small.root) in " ".join(p.info["cmdline"] or [])]  # fmt: skip
    assert small.run().returncode == 0
    assert small.due() == set()


def test_a_model_is_added_by_one_builder_and_one_parameter_file(small):
    """The builder and the file of the README's section on a model of one's own."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    builder = re.search(r"```python\n(@builder\n.*?)```", readme, re.DOTALL)[1]
    content = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1]
    builders = small.root / "fer_utils" / "models" / "papers.py"
    with builders.open("a", encoding="utf-8") as file:
        file.write(f"\n\n{builder}")
    (small.root / "params" / "models" / "my_cnn.yaml").write_text(content)
    assert "my_cnn" in small.run("--list").stdout
    done = small.run("--only", "my_cnn")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"My CNN +0 +7 +2 +PrivateTest", done.stdout)
    table = pd.read_csv(small.study / "compare" / "comparison.csv")
    assert {"my_cnn", "basic_cnn"} <= set(table["run_id"])
    assert "My CNN, seed 0" in (small.study / "report.html").read_text(encoding="utf-8")
    # its file may go again: the run stays out of the way
    (small.root / "params" / "models" / "my_cnn.yaml").unlink()
    shutil.rmtree(small.study / "runs" / "my_cnn")
    assert small.due() >= {"07_compare", "report"}
