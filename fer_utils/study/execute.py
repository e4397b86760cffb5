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

import psutil

from fer_utils.base import ROOT, ParameterError, replacing

PROGRESS = (  # the lines of a notebook's output that the terminal shows
    "epoch", "resumed", "finished run", "grid", "features of", "protocol", "step ", "scoring",
    "the paper's protocol is left out", "the checkpoint", "the finished run",
)  # fmt: skip


class NotebookError(RuntimeError):
    """A cell failed; the message says which notebook, which cell, the error and where it lies."""


def defaults(notebook: Path) -> dict[str, Any]:
    """Names and default values in the parameters cell of a notebook."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = next("".join(cell["source"]) for cell in cells
                  if "parameters" in cell["metadata"].get("tags", ()))  # fmt: skip
    return {line.target.id: ast.literal_eval(line.value) for line in ast.parse(source).body}


def check(notebook: str | Path, values: dict[str, Any]) -> None:
    """Compare `values` with the notebook's parameters cell; ParameterError on name or type."""
    notebook = Path(notebook)
    if not notebook.is_file():
        raise ParameterError(f"{notebook}: there is no such notebook")
    known = defaults(notebook)
    for name, value in values.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it takes {', '.join(known)}"
            raise ParameterError(f"{notebook.name}: unknown parameter `{name}`; {hint}")
        default = known[name]
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
    import nbformat
    import papermill

    check(notebook, values)
    notebook, output, failed = Path(notebook).resolve(), Path(output), Path(failed)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
    # a python3 kernel that the user registered elsewhere must not be taken for this environment's
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    failed.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            nbformat.read(notebook, as_version=4),
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
    except Exception as error:  # a dead kernel, a full disk, a missing kernel
        where, what = "", f"{type(error).__name__}: {error}"
    else:
        with replacing(output) as temporary:
            shutil.move(failed, temporary)
        return
    raise NotebookError(f"{notebook.name}{where}: {what}\nthe executed copy is {failed.absolute()}")


class _Progress:
    """Passes on the lines of a notebook's output that show how training goes."""

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
    while psutil.pid_exists(pid):
        time.sleep(1)
    os._exit(1)


def _announce(name: str, study: dict[str, Any]) -> None:
    """Print that a notebook starts: the time, which of how many it is, the training left."""
    seconds = study["seconds"]
    with open(study["counter"], "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        begun = file.read().splitlines()
        file.write(f"{name}\n")
    left = sum(spent for job, spent in seconds.items() if job not in begun) / study["parallel"]
    clock = duration(time.time() - study["started"], clock=True)
    rest = f", about {duration(left)} of training left" if left else ""
    print(f"{clock:>6}  [{len(begun) + 1}/{study['total']}] {name}{rest}", flush=True)


def duration(seconds: float, clock: bool = False) -> str:
    """Minutes or hours in words; or minutes and seconds, as 2:05."""
    if clock:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60))} min"


def main() -> int:
    """Command line that the Snakefile calls for each notebook; 0, or 1 with one message."""
    parser = argparse.ArgumentParser(prog="python -m fer_utils.study.execute", description=__doc__)
    parser.add_argument("notebook")
    parser.add_argument("output")
    parser.add_argument("--failed", required=True, help="where a failed copy is kept")
    parser.add_argument("--name", required=True, help="what to call this job")
    parser.add_argument("--parameters", default="{}", help="JSON object")
    options = parser.parse_args()
    prefix = ""
    if study := json.loads(os.environ.get("FER_STUDY", "null")):
        if study["host"] == socket.gethostname():  # on a cluster it runs on another machine
            threading.Thread(target=_follow, args=[study["pid"]], daemon=True).start()
        _announce(options.name, study)
        if study["parallel"] > 1:
            prefix = f"{options.name.partition(' ')[2] or options.name}  "
    try:
        values = json.loads(options.parameters)
        run(options.notebook, options.output, values, options.failed, _Progress(prefix))
    except (NotebookError, ValueError, RuntimeError) as error:
        print(f"\nFAILED  {options.name}\n{error}\n", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
