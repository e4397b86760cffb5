"""The study on Slurm, opt-in: FER_SLURM=1, root, Debian's Slurm and the executor plugin."""

import importlib.util
import os
import shutil
import subprocess

import pytest
from conftest import ROOT

missing = [name for name in ("slurmctld", "slurmd", "munged") if not shutil.which(name)]
if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
    missing.append("snakemake-executor-plugin-slurm")
pytestmark = [
    pytest.mark.study,
    pytest.mark.skipif(
        "FER_SLURM" not in os.environ, reason="FER_SLURM=1 runs it: docs/machines.md"
    ),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}"),
]


def test_every_notebook_of_the_study_runs_as_a_job(tmp_path):
    done = subprocess.run(
        [ROOT / "tests" / "slurm_localhost.sh", tmp_path / "slurm",
         ROOT / "run_all.sh", "--only", "basic_cnn", "compare", "--results", tmp_path / "results",
         "--", "--executor", "slurm", "--jobs", "2", "--slurm-status-command", "squeue",
         "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "5",
         "--default-resources", "slurm_partition=main", "mem_mb=4000", "runtime=60"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    study = tmp_path / "results" / "demo"
    assert (study / "report.html").is_file() and "Basic CNN" in done.stdout
    controller = (tmp_path / "slurm" / "slurmctld.log").read_text()
    assert controller.count("_slurm_rpc_submit_batch_job: JobId=") == 3  # train, compare, report
