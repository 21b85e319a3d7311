"""A store that tests of several commands look at."""

import shutil

import pytest

from tasks.pipeline import Choice
from tests.pipelines import run, runtime, small_recipe

STAGES = ("ingest", "score", "select", "mine", "respond", "pair")


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """Two runs: the second mines with other steps, and reads the same samples."""
    root = tmp_path_factory.mktemp("versions") / "store"
    how = runtime(root)
    first = run(small_recipe(), how, Choice(only=STAGES))
    return root, first, run(small_recipe(mine__steps=3), how, Choice(only=STAGES))


@pytest.fixture
def two_runs(filled):
    """The store itself: to be read only."""
    return filled[0]


@pytest.fixture
def copy(filled, tmp_path):
    """A store of one's own."""
    return shutil.copytree(filled[0], tmp_path / "store")
