"""Snakemake on a study's folder: which notebooks are due, and the run."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from fer_utils.base import ROOT, StudyError
from fer_utils.study.plan import PROJECT, Study

STATUS = {  # Snakemake's words for a file that is not up to date
    "missing": "to do",
    "updated input files": "code, notebook or an input has changed",
    "set of input files changed": "other runs than before",
    "params changed": "its parameters or data have changed",
    "rule implementation changed": "its rule has changed",
    "ok": "follows from notebooks above",
}


class Engine:
    """One study's Snakemake; `lock` is the open lock file of the folder, `content` the data's hash.

    Snakemake's own lock is switched off: the folder's lock ends with the processes that hold it,
    so that none is left behind by a kill.
    """

    def __init__(self, study: Study, content: str, extra: list[str], lock: IO) -> None:
        self.study, self.lock = study, lock
        self.log = study.folder / "snakemake.log"
        self.configuration = study.folder / "study.json"
        link = study.folder / PROJECT
        if not link.exists() or link.resolve() != ROOT:
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT)
        config = study.configuration() | {"content": content, "python": sys.executable}
        self.configuration.write_text(json.dumps(config, indent=1), encoding="utf-8")
        self.command = [
            sys.executable, "-m", "snakemake",
            "--snakefile", str(ROOT / "Snakefile"),
            "--directory", str(study.folder),
            "--configfile", str(self.configuration),
            "--rerun-incomplete", "--keep-going", "--nolock",
            # 0: a touched file counts as changed, whatever its content
            "--max-checksum-file-size", "0",
            "--scheduler", "greedy",
            *extra,
        ]  # fmt: skip
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.environment = os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def due(self) -> dict[str, str]:
        """The notebooks that would run, in the order of the study, each with the reason."""
        done = subprocess.run(
            [*self.command, "--cores", "1", "--summary"],
            env=self.environment, capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
        if done.returncode:
            self.log.write_text(done.stdout + done.stderr, encoding="utf-8")
            raise StudyError(f"Snakemake failed: {self._last_lines(2)}; its output is {self.log}")
        start = done.stdout.index("output_file")
        rows = csv.DictReader(done.stdout[start:].splitlines(), delimiter="\t")
        pending = {
            row["output_file"]: STATUS.get(row["status"], row["status"])
            for row in rows
            if row["plan"] == "update pending"
        }
        return {job.name: pending[job.output] for job in self.study.jobs if job.output in pending}

    def run(self, due: dict[str, str], seconds: dict[str, float], append: bool = False) -> int:
        """Run what is due; Snakemake's exit status. `seconds` is the training time of each job."""
        from fer_utils.runs import provenance

        parallel, counter = self.study.parallel, self.study.folder / ".counter"
        counter.write_text("")
        told = {
            "pid": os.getpid(), "host": socket.gethostname(), "counter": str(counter),
            "started": time.time(), "total": len(due), "parallel": parallel,
            "seconds": {job: spent for job, spent in seconds.items() if job in due},
        }  # fmt: skip
        environment = self.environment | {"FER_STUDY": json.dumps(told)}
        if parallel > 1:
            threads = str(max(1, provenance.cores() // parallel))
            environment |= {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
        with open(self.log, "a" if append else "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*self.command, "--cores", str(parallel)],
                env=environment, stderr=log, cwd=ROOT,
                # if this process is killed, Snakemake holds the lock until it has ended
                pass_fds=[self.lock.fileno()],
            )  # fmt: skip
            try:
                return process.wait()
            except KeyboardInterrupt:
                # the terminal has interrupted Snakemake as well; it ends its notebooks
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=20)
                process.kill()
                raise
            finally:
                counter.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not there, or with failed copies
                    (self.study.folder / "failed").rmdir()

    def failed(self) -> list[str]:
        """The names of the failed copies that are there."""
        return sorted(path.stem for path in self.study.folder.glob("failed/*.ipynb"))

    def fault(self) -> str:
        """The end of Snakemake's log, for a failure that is not a notebook's."""
        return f"Snakemake failed:\n{self._last_lines(8)}"

    def _last_lines(self, count: int) -> str:
        lines = Path(self.log).read_text(encoding="utf-8").strip().splitlines()
        lines = [line for line in lines if line.strip() not in ("", "None")]
        return "\n".join(line[:500] for line in lines[-count:])
