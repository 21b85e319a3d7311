"""AdaViP (arXiv 2504.15619) as recipes."""

from __future__ import annotations

from mbpo_core.config import Recipe
from mbpo_core.config.mining import RemovalMiner
from mbpo_core.config.training import Objective, PlackettLuce, Preference
from mbpo_core.recipes.worlds import World


def adavip(world: World) -> Recipe:
    """One object removed, three-way softmax with adaptive weights (eq. 11), beta 0.1 (paper).

    Differs from the paper: text pairs are those of the world, not RLAIF-V; tags are nouns of the
    response, candidates are scored by the policy unless a CLIP checkpoint is given (`mine.ranker`);
    see `docs/recipes.md`.
    """
    return _removal("adavip", world, PlackettLuce())


def adavip_fixed(world: World) -> Recipe:
    """Ablation `+Vision` (paper, Table 2): both losses at equal weights, not adaptive ones."""
    return _removal("adavip-fixed", world, Preference(image=1.0))


def _removal(name: str, world: World, objective: Objective) -> Recipe:
    return world.recipe(
        name,
        score={"signals": ()},
        select=world.unranked,
        mine=RemovalMiner(
            finder=world.finder, inpainter=world.inpainter, shard_rows=world.pgd.shard_rows
        ),
        sources=(world.text,),
        objective=objective,
        online_epochs=0,
        **_length(world),
    )


def _length(world: World) -> dict[str, int]:
    """5000 steps of 32 pairs, full fine-tuning (paper): seven passes over its 22K pairs."""
    if world.published:
        return {"offline_epochs": 8, "max_steps": 5000}
    return {"offline_epochs": world.pairs_epochs}
