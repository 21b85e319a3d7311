"""MFPO (arXiv 2410.15334) as a recipe.

Its ablations are settings: `mine.scope` (global, random-20, regions), `train.objective.eta`, the
weights `train.objective.text`, `.image` and `.margin` (0 drops a loss), and
`train.curriculum={"kind": "shuffled"}` for training end to end.
"""

from __future__ import annotations

from mbpo_core.config import Recipe
from mbpo_core.config.mining import DiffusionNoiseMiner
from mbpo_core.config.training import EasyToHard, Preference
from mbpo_core.recipes.worlds import World


def mfpo(world: World) -> Recipe:
    """Noise in the key regions, three losses 1:1:1 (paper), easy to hard by answer entropy.

    Differs from the paper: text pairs are those of the world, not RLHF-V; without Grounding DINO
    and SAM (`mine.finder`) regions are superpixels; see `docs/recipes.md`.
    """
    return world.recipe(
        "mfpo",
        score={"signals": ("answer_entropy",)},
        select=world.unranked,
        mine=DiffusionNoiseMiner(finder=world.finder, shard_rows=world.pgd.shard_rows),
        sources=(world.text,),
        objective=Preference(image=1.0, margin=1.0),
        curriculum=EasyToHard(),
        offline_epochs=world.pairs_epochs,
        online_epochs=0,
    )
