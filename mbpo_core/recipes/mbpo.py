"""MBPO (arXiv 2506.08022) and its ablations as recipes.

The ablation of Table 3 is a setting: `--set mine.steps=5 --set mine.step_size=4/255`.
"""

from __future__ import annotations

from mbpo_core.config import Recipe
from mbpo_core.config.mining import NoMiner, UniformNoiseMiner
from mbpo_core.recipes.worlds import World


def mbpo(world: World) -> Recipe:
    """The whole method: adversarial pairs and verified online questions in one loss (eq. 7)."""
    return world.recipe(
        "mbpo",
        mine=world.pgd,
        sources=("negative",),
        objective=world.rollouts,
        offline_epochs=world.pairs_epochs,
    )


def mbpo_offline_random(world: World) -> Recipe:
    """Ablation `offline random` (paper, Table 2): answers to a randomly noised image, no rollouts.

    The noise's range is unknown; 64/255 is assumed.
    """
    noise = UniformNoiseMiner(shard_rows=world.pgd.shard_rows)
    return _offline("mbpo-offline-random", world, noise)


def mbpo_offline_adversarial(world: World) -> Recipe:
    """Ablation `offline adversarial` (paper, Table 2): the pairs of MBPO without rollouts."""
    return _offline("mbpo-offline-adversarial", world, world.pgd)


def _offline(name: str, world: World, miner: object) -> Recipe:
    return world.recipe(
        name,
        mine=miner,
        sources=("negative",),
        objective=world.rollouts,
        offline_epochs=world.pairs_epochs,
        online_epochs=0,
    )


def mbpo_online(world: World) -> Recipe:
    """Ablation `online` (paper, Table 2): verified questions alone, one epoch (paper)."""
    return world.recipe(
        "mbpo-online",
        mine=NoMiner(),
        sources=(),
        pair={"max_online": None},
        objective=world.rollouts,
        offline_epochs=0,
    )
