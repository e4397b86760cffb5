"""The rooms of the package: who may import whom, and how large they are."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fer_utils"
MAY_IMPORT = {
    "base": set(),
    "scores": set(),
    "config": {"base"},
    "data": {"base"},
    "models": {"base"},
    "plots": {"base"},
    "runs": {"config", "data", "scores", "base"},
    "training": {"runs", "models", "data", "config", "scores", "base"},
    "analysis": {"runs", "models", "data", "scores", "base"},
    "report": {"runs", "config", "plots", "base"},
}
BELOW = set(MAY_IMPORT)
MAY_IMPORT["extras"] = BELOW
MAY_IMPORT["study"] = BELOW - {"analysis"}
# larger than a module, function or class should be; each is to be rebuilt
STILL_LARGE = {
    "study/cli.py", "study/plan.py", "study/reference.py",
}  # fmt: skip
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> set[str]:
    """Rooms that a module imports anywhere, also inside of functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return {name.split(".")[1] for name in found if name.startswith("fer_utils.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    if path != PACKAGE / "__init__.py":
        own = room(path)
        assert own in MAY_IMPORT, f"{own} is not a room"
        beyond = imported(ast.parse(path.read_text())) - MAY_IMPORT[own] - {own}
        assert not beyond, f"{own} may not import {', '.join(sorted(beyond))}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_functions_and_classes_are_small(path):
    if str(path.relative_to(PACKAGE)) in STILL_LARGE:
        return
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            limit = 200 if isinstance(node, ast.ClassDef) else 60
            assert node.end_lineno - node.lineno < limit, node.name
