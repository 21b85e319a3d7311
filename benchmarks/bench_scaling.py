"""Time against the number of rows: `python -m benchmarks.bench_scaling [STAGE ...]`.

Each stage runs at four sizes in this process on one thread, through the code that workers run, with
shards of equal size, and the CPU seconds of the process are counted. Printed are the exponent that
fits all sizes (1 = linear; what a stage costs once bends it below), and that of the last two alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import torch

from benchmarks.measure import print_figures, print_ratio
from benchmarks.pipeline_ingest import recipe_for, write_source
from benchmarks.pipeline_select import time_select
from benchmarks.stages import run_inline
from benchmarks.timing import exponent, one_of, taken
from mbpo_core.config import Recipe
from mbpo_core.recipes import configured
from mbpo_core.testbed.world import POOL_KINDS

SIZES: dict[str, tuple[int, ...]] = {
    "score": (128, 256, 512, 1024),
    "attack": (16, 32, 64, 128),
    "ingest": (1024, 2048, 4096, 8192),
    "select": (125_000, 250_000, 500_000, 1_000_000),
}
SHARD_ROWS = {"score": 64, "attack": 16, "ingest": 512}
ATTACK_STEPS = 2
SELECT_ROUNDS = 2


def time_score(folder: Path, size: int) -> float:
    """Score so many samples of the embedded world."""
    recipe = _recipe(size)
    run_inline(recipe, folder, ["ingest"])
    return _seconds(recipe, folder, "score")


def time_attack(folder: Path, size: int) -> float:
    """Attack the pictures of so many samples, two steps each."""
    recipe = _recipe(3 * size, {"select.presample": None, "select.k": size})
    run_inline(recipe, folder, ["ingest", "score", "select"])
    return _seconds(recipe, folder, "mine")


def time_ingest(folder: Path, size: int) -> float:
    """Read so many pictures with a question each."""
    recipe = recipe_for(write_source(folder / "source", size, "json"), SHARD_ROWS["ingest"])
    return _seconds(recipe, folder, "ingest")


def time_selection(folder: Path, size: int) -> float:
    """Rank so many synthetic scores."""
    rounds, _ = time_select(folder, _recipe(1), size, SELECT_ROUNDS)
    return median(each.cpu for each in rounds)


def _recipe(records: int, settings: dict[str, object] | None = None) -> Recipe:
    scenes = -(-records // len(POOL_KINDS))
    return configured("mbpo", {
        "ingest.source.scenes": scenes,
        "ingest.limit": records,
        "score.shard_rows": SHARD_ROWS["score"],
        "mine.shard_rows": SHARD_ROWS["attack"],
        "mine.steps": ATTACK_STEPS,
    } | (settings or {}), None)  # fmt: skip


def _seconds(recipe: Recipe, folder: Path, stage: str) -> float:
    with taken() as seconds:
        run_inline(recipe, folder, [stage])
    return seconds.cpu


TIMED: dict[str, Callable[[Path, int], float]] = {
    "score": time_score, "attack": time_attack, "ingest": time_ingest, "select": time_selection,
}  # fmt: skip


def bench(stage: str, sizes: Sequence[int]) -> None:
    """Print the seconds of a stage at each size, and how they grow."""
    run = partial(_in_folder, TIMED[stage])
    run(sizes[0])  # imports, caches, and the model
    found = [run(size) for size in sizes]
    figures = {f"n{size}": seconds for size, seconds in zip(sizes, found, strict=True)}
    print_figures(f"scaling {stage}", **figures)
    print_ratio(f"scaling_{stage}_exponent", exponent(sizes, found))
    print_ratio(f"scaling_{stage}_last_exponent", exponent(sizes[-2:], found[-2:]))


def _in_folder(run: Callable[[Path, int], float], size: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), size)


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="*", type=one_of(SIZES), metavar="STAGE")
    parser.add_argument("--sizes", type=int, nargs="+", help="of every stage named")
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    for stage in given.stages or SIZES:
        bench(stage, given.sizes or SIZES[stage])


if __name__ == "__main__":
    main()
