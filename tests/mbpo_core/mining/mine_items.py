"""Items for miners that need no model."""

from mbpo_core.mining.protocol import MineItem
from mbpo_core.models.protocol import PromptedResponse
from tests.mbpo_core.tiny_models import random_image

SIZES = ((56, 84), (84, 56), (84, 84))


def mine_item(image, sample_id="row-0", chosen="a red bird"):
    row = PromptedResponse(sample_id, prompt=[0], response=[0], image=image)
    return MineItem(row, question="What is it?", chosen=chosen)


def mine_items(sizes=SIZES):
    return [mine_item(random_image(i, *size), f"row-{i}") for i, size in enumerate(sizes)]
