"""Does this Python have what the study needs? Run as a script: exit status 0 or 1.

Only the standard library is used, because it answers before anything is installed.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, 2.10.1 as (2, 10, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def missing(pyproject: str | Path) -> list[str]:
    """The requirements of pyproject.toml that this Python does not meet."""
    project = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]
    unmet = []
    for requirement in project["dependencies"]:
        name, *bounds = re.split(r"(?=[<>])|,", requirement)
        try:
            found = numbers(importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            unmet.append(requirement)
            continue
        for bound in filter(None, bounds):
            low, limit = bound.startswith(">="), numbers(bound)
            if (found < limit) if low else (found[: len(limit)] >= limit):
                unmet.append(requirement)
    return unmet


if __name__ == "__main__":
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"Python {sys.version.split()[0]} is not 3.11 to 3.13")
    unmet = missing(Path(__file__).resolve().parents[2] / "pyproject.toml")
    if unmet:
        sys.exit(f"missing or too old: {', '.join(unmet)}")
