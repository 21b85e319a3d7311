import pytest

from tests.pipelines import run, runtime, small_recipe


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Root, recipe and results of one whole run on one worker."""
    root = tmp_path_factory.mktemp("whole") / "store"
    recipe = small_recipe()
    return root, recipe, run(recipe, runtime(root))
