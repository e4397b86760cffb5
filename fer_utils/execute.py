"""Strict execution of one notebook by papermill: checked parameters, no half-written results."""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fer_utils.parameters import ROOT, ParameterError
from fer_utils.results import replacing

PROGRESS = ("epoch", "resumed", "finished run")


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
    with replacing(output) as temporary:
        try:
            papermill.execute_notebook(
                notebook.absolute(),
                temporary,
                parameters=values,
                kernel_name="python3",
                cwd=notebook.parent,
                progress_bar=False,
                coalesce_streams=True,
                stdout_file=stream,
                request_save_on_cell_execute=False,
            )
        except papermill.PapermillExecutionError as error:
            failed.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(temporary, failed)
            raise NotebookError(
                f"{notebook.name}, cell {error.cell_index + 1}: {error.ename}: {error.evalue}\n"
                f"the executed copy is {failed}"
            ) from None
    failed.unlink(missing_ok=True)


class _Progress:
    """Passes on the lines of a notebook's output that tell how training goes."""

    def __init__(self) -> None:
        self.rest = ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.startswith(PROGRESS):
                print(f"        {line}", flush=True)

    def flush(self) -> None:
        pass


def _follow(pid: int) -> None:
    """End this process when the study that started it is gone, so that a new one can take over."""
    while True:
        time.sleep(1)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            os._exit(1)


def elapsed(seconds: float) -> str:
    """Minutes and seconds, as 2:05."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


def main() -> int:
    """Command line that the Snakefile calls for each notebook; 0, or 1 with one message."""
    parser = argparse.ArgumentParser(prog="python -m fer_utils.execute", description=__doc__)
    parser.add_argument("notebook")
    parser.add_argument("output")
    parser.add_argument("--failed", required=True, help="where a failed copy is kept")
    parser.add_argument("--name", required=True, help="what to call this job")
    parser.add_argument("--parameters", default="{}", help="JSON object")
    options = parser.parse_args()
    started = float(os.environ.get("FER_STUDY_STARTED", time.time()))
    if "FER_STUDY_PID" in os.environ:
        study = int(os.environ["FER_STUDY_PID"])
        threading.Thread(target=_follow, args=[study], daemon=True).start()
    place = ""
    if "FER_STUDY_COUNTER" in os.environ:
        with open(os.environ["FER_STUDY_COUNTER"], "a+") as counter:
            counter.write(f"{options.name}\n")
            counter.seek(0)
            place = f"[{len(counter.readlines())}/{os.environ['FER_STUDY_TOTAL']}] "
    print(f"{elapsed(time.time() - started):>6}  {place}{options.name}", flush=True)
    try:
        values = json.loads(options.parameters)
        run(options.notebook, options.output, values, options.failed, _Progress())
    except (NotebookError, ValueError, RuntimeError) as error:
        print(f"\nFAILED  {options.name}\n{error}\n", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
