"""The names of the stages, which are known without loading any."""

from tasks.order import ORDER
from tasks.registry import STAGES


def test_the_order_of_the_stages_is_that_of_the_registry():
    assert tuple(STAGES) == ORDER
    assert all(stage.name == name for name, stage in STAGES.items())
