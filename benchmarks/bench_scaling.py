"""Seconds against the number of rows, for score and attack: the fitted exponent (1: linear).

    python -m benchmarks.bench_scaling

On the embedded model, rows in packs of the same size as the pipeline's, so that more rows mean more
packs. The exponent is the slope of log seconds over log rows.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from benchmarks.measure import clock, print_figures, print_ratio, seconds
from benchmarks.models import embedded_policy
from benchmarks.rows import embedded_rows
from mbpo_core.information_gain import information_gain
from mbpo_core.mining.attack import mine_pgd
from mbpo_core.mining.pgd import PGD
from mbpo_core.models.protocol import PromptedResponse

Packs = Callable[[list[PromptedResponse]], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    policy = embedded_policy()
    attack = PGD(steps=options.steps)
    rows = embedded_rows(policy, images=max(options.sizes), turns=1)
    measure("score", lambda pack: information_gain(policy, pack), rows, options)
    measure("attack", lambda pack: mine_pgd(policy, pack, attack), rows, options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    found.add_argument("--pack", type=int, default=32, help="rows at once")
    found.add_argument("--steps", type=int, default=3, help="of the attack")
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--threads", type=int, default=1)
    return found


def measure(
    name: str, run: Packs, rows: list[PromptedResponse], options: argparse.Namespace
) -> None:
    """Time every size in every round, fit, print."""
    now = clock(torch.device("cpu"))
    run(rows[: options.pack])

    def once(count: int) -> None:
        for start in range(0, count, options.pack):
            run(rows[start : min(start + options.pack, count)])

    taken = {
        count: statistics.median(seconds(partial(once, count), now) for _ in range(options.rounds))
        for count in options.sizes
    }
    shown = {f"n{count}_s": value for count, value in taken.items()}
    print_figures(f"scaling_{name}", pack=options.pack, rounds=options.rounds, **shown)
    print_ratio(f"scaling_{name}_exponent", exponent(taken))


def exponent(taken: dict[int, float]) -> float:
    """Least-squares slope of log seconds over log n."""
    counts, values = np.log(list(taken)), np.log(list(taken.values()))
    return float(np.polyfit(counts, values, 1)[0])


if __name__ == "__main__":
    main()
