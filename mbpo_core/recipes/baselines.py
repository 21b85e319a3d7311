"""The methods that the papers compare with, as recipes of the same stages.

+BPO, +POVID, +RLAIF-V and +CSR of MBPO's Table 1 train Qwen on those published sets: `dpo` with
`--source` (the objective is not stated there; DPO is assumed). SIMA, CSR's own training, FiSAO and
DAMA are cited numbers only.
"""

from __future__ import annotations

from mbpo_core.config import Recipe
from mbpo_core.config.mining import AnyMiner, CropMiner, DiffusionNoiseMiner, NoMiner
from mbpo_core.config.responses import ResponseSource
from mbpo_core.config.training import SFT, Objective, Preference
from mbpo_core.recipes.worlds import World


def dpo(world: World) -> Recipe:
    """DPO on text pairs, beta 0.1 (assumed)."""
    return _baseline("dpo", world, NoMiner(), (world.text,), Preference())


def sft(world: World) -> Recipe:
    """Likelihood of the chosen responses alone: what of a gain is no preference learning."""
    return _baseline("sft", world, NoMiner(), (), SFT())


def mdpo(world: World) -> Recipe:
    """mDPO: DPO, a crop that keeps 1 to 20 % as rejected image, and an anchor; no weights."""
    miner = CropMiner(shard_rows=world.pgd.shard_rows)
    return _baseline("mdpo", world, miner, (world.text,), Preference(image=1.0, margin=1.0))


def povid(world: World) -> Recipe:
    """POVID: DPO against answers under diffusion noise, t = 500 (second-hand), and injected errors.

    Differs from the paper: a sampled answer to the noised image stands for the answer that the
    paper decodes from it at training time; errors come from rules or any endpoint, not GPT-4V.
    """
    return _weakened("povid", world, t=500)


def bpo(world: World) -> Recipe:
    """BPO: DPO against answers under a strongly weakened image, t = 900, and injected errors."""
    return _weakened("bpo", world, t=900)


def _weakened(name: str, world: World, t: int) -> Recipe:
    miner = DiffusionNoiseMiner(t=t, scope="global", shard_rows=world.pgd.shard_rows)
    injected: tuple[ResponseSource, ...] = ("injected",) if world.injector else ()
    return _baseline(name, world, miner, ("negative", *injected), Preference())


def _baseline(
    name: str,
    world: World,
    miner: AnyMiner,
    sources: tuple[ResponseSource, ...],
    objective: Objective,
) -> Recipe:
    return world.recipe(
        name,
        score={"signals": ()},
        select=world.unranked,
        mine=miner,
        sources=sources,
        objective=objective,
        offline_epochs=world.pairs_epochs,
        online_epochs=0,
    )
