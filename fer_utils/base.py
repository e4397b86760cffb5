"""What every room shares: names of FER2013, errors and exit status, paths, atomic writing."""

from __future__ import annotations

import copy
import glob
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
SIDE = 48  # pixels
ROOT = Path(__file__).resolve().parent.parent
PARAMS = ROOT / "params"
# jsonschema, of nbformat, imports it to check URLs: seconds for what no notebook needs
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
AFTER_EPOCH = "interrupted; the same command goes on after the last epoch"


class StudyError(Exception):
    """Input or results that cannot be used; the message says what, where and the remedy."""


class DataError(StudyError, ValueError):
    """Data that cannot be used: one line that names the file, the row or key, what is right."""

    def __init__(self, message: str):
        text = " ".join(message.split())
        if len(text) > 800:  # a hostile name can be long
            text = f"{text[:400]} ... {text[-400:]}"
        super().__init__("".join(c if c.isprintable() else "?" for c in text))


class ParameterError(StudyError, ValueError):
    """A parameter file or value is wrong; the message names file, key, value and remedy."""


class ResultError(StudyError, RuntimeError):
    """A result file is missing, damaged or cannot be written; the message names it."""


def status(work: Callable[[], None], interrupted: str = "interrupted") -> int:
    """Exit status of some work: 0, 1 (diverged), 2 (bad input) or 130, with one message."""
    try:
        work()
    except (StudyError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, StudyError) else 1
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
    return 0


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder that replaces `path` only if the block succeeds."""
    path = Path(path)
    # not the process' number: machines that share a home have the same ones
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.stem)}.*.partial{path.suffix}"):
            with suppress(OSError):  # of a process that was killed, a day ago or more
                if left.stat().st_mtime < time.time() - 24 * 3600:
                    left.unlink()
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ResultError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "make room or name another folder with --results"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that a mapping has twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep)  # refuses a key that is a list
        keys = [key for key, _ in node.value]
        for place, key in enumerate(keys):
            if key.value in [other.value for other in keys[:place]]:
                told = f"`{key.value}` is given twice"
                raise yaml.constructor.ConstructorError(problem=told, problem_mark=key.start_mark)
        return content


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping; ParameterError names file and line."""
    try:
        path = Path(path)
        return copy.deepcopy(_read(path, path.stat().st_mtime_ns))
    except FileNotFoundError:
        raise ParameterError(f"{path}: there is no such parameter file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ParameterError(f"{path}{line}: {problem}") from None


@cache
def _read(path: Path, modified: int) -> dict[str, Any]:
    content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    if not isinstance(content, dict):
        raise ParameterError(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    return content
