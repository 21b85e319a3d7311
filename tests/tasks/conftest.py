import shutil

import pytest

from tests.pipelines import run, runtime, small_recipe


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """Root, recipe and results of one whole run on one worker; nobody runs anything more in it."""
    root = tmp_path_factory.mktemp("whole") / "store"
    recipe = small_recipe()
    return root, recipe, run(recipe, runtime(root))


@pytest.fixture(scope="module")
def finished(whole_run, tmp_path_factory):
    """The whole run in a store of the module's own: further runs in it are seen by no other."""
    root, recipe, made = whole_run
    return shutil.copytree(root, tmp_path_factory.mktemp("own") / "store"), recipe, made
