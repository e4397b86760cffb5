"""One lock for pip, uv and conda, and a fresh machine that gets exactly it."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from clones import Clone
from conftest import ROOT

from fer_utils.study import environment

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINNED = re.findall(r"^([a-z0-9.-]+)==(\S+?)(?: ;.*?)? \\$", LOCK, flags=re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_package_is_pinned_with_hashes_and_no_address():
    blocks = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINNED) > 100
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK and "index" not in LOCK.split("==")[0]


def test_lock_meets_every_requirement_of_the_project():
    pinned = {}
    for name, version in PINNED:
        pinned.setdefault(name, []).append(environment.numbers(version))
    for requirement in PROJECT["dependencies"]:
        name, lowest = re.match(r"([a-z0-9-]+)>=([\d.]+)", requirement).groups()
        assert all(version >= environment.numbers(lowest) for version in pinned[name]), name


def test_conda_users_get_the_same_lock():
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, *rest = content["dependencies"]
    assert re.fullmatch(r"python=3\.1[123]", python)
    # nothing but pip comes from conda, and pip is given the lock and nothing else
    assert rest == ["pip", {"pip": ["--require-hashes -r requirements.lock"]}]


def test_running_environment_is_accepted():
    script = ROOT / "fer_utils" / "study" / "environment.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("requirement", "met"),
    [
        ("numpy>=1.0", True),
        ("numpy>=99", False),
        ("numpy>=1.0,<99", True),
        ("numpy>=1.0,<2", False),
        ("no-such-package-xyz>=1", False),
    ],
)
def test_missing_names_what_is_not_met(tmp_path, requirement, met):
    path = tmp_path / "pyproject.toml"
    path.write_text(f'[project]\ndependencies = ["{requirement}"]\n')
    assert environment.missing(path) == ([] if met else [requirement])


def test_importing_the_package_imports_no_backend():
    paths = sorted((ROOT / "fer_utils").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    modules = [name for name in names if not name.endswith("__main__")]
    code = (
        "import sys\n"
        + "".join(f"import {name}\n" for name in modules)
        + "print([m for m in ('tensorflow', 'keras', 'torch', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_one_s_own_venv_serves_without_being_activated(tmp_path):
    clone = Clone(tmp_path, "tiny")
    own = clone.root / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    own.chmod(0o755)
    bare = tmp_path / "bin"  # where no Python has the packages
    bare.mkdir()
    for name in ("python", "python3"):
        (bare / name).write_text("#!/bin/sh\nexit 1\n")
        (bare / name).chmod(0o755)
    path = os.pathsep.join([str(bare), "/usr/bin", "/bin"])
    done = subprocess.run(
        ["./run_all.sh", "--list"], cwd=clone.root, env=os.environ | {"PATH": path},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "basic_cnn" in done.stdout, done.stdout + done.stderr
