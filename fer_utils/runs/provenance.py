"""Where a record comes from: commit, package versions, processor."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache as cache_result
from pathlib import Path
from typing import Any

from fer_utils.base import ROOT

PACKAGES = (
    "tensorflow", "keras", "jax", "numpy", "scipy", "pandas", "scikit-learn", "imbalanced-learn",
    "opencv-python-headless", "scikit-image", "dlib-bin",
)  # fmt: skip


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@cache_result  # of the code that this process runs, whatever is committed or edited meanwhile
def git_commit() -> str:
    """The commit that is checked out, with a note on local changes; unknown outside of git."""
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "--untracked-files=no"):
        commit += " with local changes"
    return commit or "unknown"


def environment() -> dict[str, Any]:
    """Versions, processor and commit that a run is recorded with (no backend is imported)."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "processor": _processor(),
        "cores": cores(),
        "threads": threads(),  # a sum's order, and with it the last digits, depends on them
        "git_commit": git_commit(),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Threads that this process is to compute with: all cores, or its share of `--jobs`."""
    return int(os.environ.get("TF_NUM_INTRAOP_THREADS", cores()))


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
