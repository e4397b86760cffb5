"""Strict execution of one notebook by papermill: checked parameters, no half-written results."""

from __future__ import annotations

import argparse
import ast
import difflib
import fcntl
import json
import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fer_utils.base import ROOT, ParameterError, replacing
from fer_utils.runs.store import alive

PROGRESS = (
    "epoch", "resumed", "finished run", "no finished run", "grid", "features of",
    "trained and selected", "protocol", "the paper's protocol is left out", "step ",
    "the checkpoint", "the finished run", "scoring",
)  # fmt: skip


class NotebookError(RuntimeError):
    """A cell failed; the message says which notebook, which cell, the error and where it lies."""


def check(notebook: str | Path, values: dict[str, Any]) -> None:
    """Compare `values` with the notebook's parameters cell; ParameterError on name or type."""
    import papermill

    notebook = Path(notebook)
    if not notebook.is_file():
        raise ParameterError(f"{notebook}: there is no such notebook")
    known = papermill.inspect_notebook(str(notebook))
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it takes {', '.join(known)}"
            raise ParameterError(f"{notebook.name}: unknown parameter `{name}`; {hint}")
        default = ast.literal_eval(known[name]["default"])
        # bool is an int in Python but not for a reader
        same = type(value) is type(default)
        if not same and not (type(default) is float and type(value) is int):
            raise ParameterError(
                f"{notebook.name}: parameter `{name}` is {value!r} ({type(value).__name__}) "
                f"but must be {type(default).__name__}, like its default {default!r}"
            )


def run(
    notebook: str | Path,
    output: str | Path,
    values: dict[str, Any],
    failed: str | Path,
    stream: Any,
) -> None:
    """Execute a notebook into `output`; a failed copy goes to `failed` and raises NotebookError."""
    import papermill

    check(notebook, values)
    notebook, output, failed = Path(notebook), Path(output), Path(failed)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    # a python3 kernel that the user registered elsewhere must not be taken for this environment's
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    failed.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook.absolute(),
            failed,
            parameters=values,
            kernel_name="python3",
            cwd=notebook.parent,
            progress_bar=False,
            coalesce_streams=True,
            stdout_file=stream,
        )
    except papermill.PapermillExecutionError as error:
        where, what = f", cell {error.cell_index + 1}", f"{error.ename}: {error.evalue}"
    except Exception as error:  # a dead kernel, a full disk, a missing kernel: each is told
        where, what = "", f"{type(error).__name__}: {error}"
    else:
        with replacing(output) as temporary:
            shutil.move(failed, temporary)
        return
    raise NotebookError(f"{notebook.name}{where}: {what}\nthe executed copy is {failed.absolute()}")


class _Progress:
    """Passes on the lines of a notebook's output that tell how training goes."""

    def __init__(self, prefix: str = "") -> None:
        self.rest, self.prefix = "", prefix

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.startswith(PROGRESS):
                print(f"        {self.prefix}{line}", flush=True)

    def flush(self) -> None:
        pass


def _follow(pid: int) -> None:
    """End this process when the study that started it is gone, so that a new one can take over."""
    while alive(pid):
        time.sleep(1)
    os._exit(1)


def _announce(name: str) -> None:
    """Print that a job starts, with its place among those of the study, one job at a time."""
    started = float(os.environ.get("FER_STUDY_STARTED", time.time()))
    clock = f"{elapsed(time.time() - started):>6}"
    if "FER_STUDY_COUNTER" not in os.environ:
        print(f"{clock}  {name}", flush=True)
        return
    with open(os.environ["FER_STUDY_COUNTER"], "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{name}\n")
        file.flush()
        file.seek(0)
        number, total = len(file.readlines()), os.environ["FER_STUDY_TOTAL"]
        print(f"{clock}  [{number}/{total}] {name}", flush=True)


def elapsed(seconds: float) -> str:
    """Minutes and seconds, as 2:05."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def main() -> int:
    """Command line that the Snakefile calls for each notebook; 0, or 1 with one message."""
    parser = argparse.ArgumentParser(prog="python -m fer_utils.study.execute", description=__doc__)
    parser.add_argument("notebook")
    parser.add_argument("output")
    parser.add_argument("--failed", required=True, help="where a failed copy is kept")
    parser.add_argument("--name", required=True, help="what to call this job")
    parser.add_argument("--parameters", default="{}", help="JSON object")
    options = parser.parse_args()
    # on a cluster the study's process lives on another machine and is not followed
    if os.environ.get("FER_STUDY_HOST") == socket.gethostname():
        study = int(os.environ["FER_STUDY_PID"])
        if not alive(study):
            return 1
        threading.Thread(target=_follow, args=[study], daemon=True).start()
    _announce(options.name)
    try:
        values = json.loads(options.parameters)
        several = os.environ.get("FER_STUDY_JOBS", "1") != "1"
        progress = _Progress(
            f"{options.name.partition(' ')[2] or options.name}  " if several else ""
        )
        run(options.notebook, options.output, values, options.failed, progress)
    except (NotebookError, ValueError, RuntimeError) as error:
        print(f"\nFAILED  {options.name}\n{error}\n", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
