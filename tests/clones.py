"""Copies of the project in which a test may touch and break files."""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT


def processor_seconds():
    """What the finished subprocesses of this test process have used; waiting does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Clone:
    """A copy of the project in which a test may touch and break files.

    Its commands run `only` some models and chapters, unless they name others.
    """

    def __init__(self, folder: Path, profile: str, only: tuple[str, ...] = ()) -> None:
        self.root, self.study, self.only = folder / "clone", folder / "results" / profile, only
        for name in ("fer_utils", "notebooks", "params", "docs", "tests"):
            skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(ROOT / name, self.root / name, ignore=skip)
        for name in ("run_all.sh", "Snakefile", "pyproject.toml", "requirements.lock"):
            shutil.copy2(ROOT / name, self.root / name)
        shutil.copytree(ROOT / "results" / "reference", self.root / "results" / "reference")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = os.environ | {"PATH": path}

    def command(self, *more):
        profile = ["--profile", f"tests/{self.study.name}.yaml"]
        only = ["--only", *self.only] if self.only and "--only" not in more else []
        return ["./run_all.sh", *profile, *only, "--results", str(self.study.parent), *more]

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
        start = next(i for i, line in enumerate(lines) if " would run" in line)
        end = next((i for i, line in enumerate(lines) if i > start and not line), len(lines))
        return {re.split(r"\s{2,}", line.strip())[0] for line in lines[start + 1 : end]}

    def touch(self, name):
        time.sleep(0.02)
        (self.root / name).touch()

    def states(self):
        """Modification times of all results."""
        files = [p for p in self.study.rglob("*") if p.is_file() and ".snakemake" not in p.parts]
        return {p.relative_to(self.study): p.stat().st_mtime_ns for p in files}
