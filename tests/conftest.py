"""Shared fixtures: a cache folder of the session's own, the real data where it is given."""

import os
from pathlib import Path

import pytest
from browser import launched

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items):
    """The long files first, so that none of them is left to one process at the end."""
    items.sort(key=lambda item: item.get_closest_marker("study") is None)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests neither read nor fill the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("FER_CACHE")
    os.environ["FER_CACHE"] = str(folder)
    yield folder
    os.environ.pop("FER_CACHE") if before is None else os.environ.update(FER_CACHE=before)


@pytest.fixture(scope="session")
def fer2013_path():
    """Path of the user's FER2013, from FER2013_PATH."""
    path = os.environ.get("FER2013_PATH")
    if not path:
        pytest.skip("FER2013_PATH is not set: no copy of FER2013 to test with")
    return path


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser
