"""PGD through the model: sample-steps a second, ours against three other ways, and the floor.

    python -m benchmarks.bench_attack

On a Qwen2-VL of a quarter of the 2B's width and on the embedded model. The other ways: (a) as
public scripts have it, (b) the same loop frozen and batched, (b+) that with logits of the responses
only, as one who knows the forward of transformers would write it, (c) torchattacks around the
frozen model. The floor is two forwards a step: what the forward and the backward to the input cost
where nothing else does.

Ours knows the log-probability of the last iterate too, by one forward more; it is no step and is
taken off: 1 forward in 41 for an attack of 20 steps. Every way but (a) runs at its best batch size.
"""

import argparse
import importlib.util
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks import baselines
from benchmarks.measure import (
    Way,
    best_batch,
    clock,
    in_turn,
    medians,
    peak_memory_mib,
    print_figures,
    print_ratio,
    ratio,
    require_equal,
)
from benchmarks.models import QUARTER, describe, embedded_policy, random_policy
from benchmarks.rows import embedded_rows, lengths_of, made_rows
from mbpo_core.mining.attack import logp_of
from mbpo_core.mining.pgd import PGD, pgd
from mbpo_core.models.preprocessing import to_unit
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL

EPSILON, STEP_SIZE = 16 / 255, 4 / 255
LOGP_TOLERANCE = 1e-4
"""Nats a response token."""
GRADIENT_TOLERANCE = 1e-3
"""Of the gradient's norm."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    print_figures("machine", threads=options.threads, torch=torch.__version__)
    policy = random_policy(options.shape.shallower(options.depth_share))
    print_figures("model quarter", sizes=describe(policy))
    rows = made_rows(policy, images=options.images, turns=1, side=options.side, lengths=(59,))
    compare("attack", policy, rows, options.steps, options.rounds)
    print_figures("memory", peak_mib=peak_memory_mib())
    small = embedded_policy()
    print_figures("model embedded", sizes=describe(small))
    rows = embedded_rows(small, images=options.embedded_images, turns=1)
    compare("embedded_attack", small, rows, options.embedded_steps, options.rounds)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--steps", type=int, default=1)
    found.add_argument("--images", type=int, default=1, help="of the quarter-width model")
    found.add_argument("--embedded-images", type=int, default=16)
    found.add_argument("--embedded-steps", type=int, default=5)
    found.add_argument("--side", type=int, default=448, help="of an image, in pixels")
    found.add_argument("--depth-share", type=float, default=1.0, help="below 1: a quick look")
    found.add_argument("--threads", type=int, default=1)
    found.set_defaults(shape=QUARTER)
    return found


def compare(
    name: str, policy: QwenVL, rows: list[PromptedResponse], steps: int, rounds: int
) -> None:
    """Check that all ways go the same way, then time them in turn."""
    agree(name, policy, rows)
    now = clock(policy.device)
    ways: dict[str, Way] = {"script": lambda: script(policy, rows, steps)}
    runs = {"ours": ours, "batched": batched, "careful": careful, "torchattacks": library}
    if importlib.util.find_spec("torchattacks") is None:
        print_figures(name, torchattacks="not installed: left out")
        del runs["torchattacks"]
    best = {}
    for way, attack in runs.items():
        run = partial(in_batches, attack, policy, rows, steps)
        best[way] = best_batch(run, sorted({1, len(rows)}), now)
        ways[way] = partial(run, best[way])
    ways["forward"] = partial(forward, policy, rows, best["ours"])
    taken = in_turn(ways, rounds, now, warm=False)
    # One forward of ours is no step (it scores the last iterate).
    taken["ours"] = [own - last for own, last in zip(taken["ours"], taken["forward"], strict=True)]
    report(name, policy, rows, steps, taken, best)


def report(
    name: str,
    policy: QwenVL,
    rows: list[PromptedResponse],
    steps: int,
    taken: dict[str, list[float]],
    best: dict[str, int],
) -> None:
    """Figures and ratios."""
    work = len(rows) * steps
    found = medians(taken)
    speeds = {f"{way}_sample_steps_per_s": work / found[way] for way in taken if way != "forward"}
    print_figures(
        name, **lengths_of(policy, rows), steps=steps, rounds=len(taken["ours"]), **speeds,
        forward_samples_per_s=len(rows) / found["forward"],
        **{f"{way}_batch": size for way, size in best.items()},
    )  # fmt: skip
    for way in ("script", "batched", "careful", "torchattacks"):
        if way in taken:
            print_ratio(f"{name}_{way}", ratio(taken, way, "ours"))
    pairs = zip(taken["forward"], taken["ours"], strict=True)
    share = statistics.median(2 * steps * bare / own for bare, own in pairs)
    print_ratio(f"{name}_share_of_floor", share)


Attack = Callable[[QwenVL, list[PromptedResponse], int], list[Tensor]]


def in_batches(
    attack: Attack, policy: QwenVL, rows: list[PromptedResponse], steps: int, size: int
) -> list[Tensor]:
    """Adversarial images in [0, 1], the parameters frozen."""
    found: dict[int, Tensor] = {}
    with policy.frozen():
        for batch in baselines.batches(rows, size):
            images = attack(policy, [rows[index] for index in batch], steps)
            found.update(zip(batch, images, strict=True))
    return [found[index] for index in range(len(rows))]


def ours(policy: QwenVL, rows: list[PromptedResponse], steps: int) -> list[Tensor]:
    """The attack of this project on one pack."""
    config = PGD(steps=steps, step_size=STEP_SIZE, epsilon=EPSILON)
    results = pgd(logp_of(policy, rows), [row.image for row in rows], config)
    return [to_unit(result.adversarial) for result in results]


def script(policy: QwenVL, rows: list[PromptedResponse], steps: int) -> list[Tensor]:
    """(a): parameters as they were loaded."""
    return baselines.script_pgd(policy, rows, steps, STEP_SIZE, EPSILON)


def batched(policy: QwenVL, rows: list[PromptedResponse], steps: int) -> list[Tensor]:
    """(b): the same loop, logits at every position included."""
    return baselines.frozen_pgd(policy, rows, steps, STEP_SIZE, EPSILON, all_logits=True)


def careful(policy: QwenVL, rows: list[PromptedResponse], steps: int) -> list[Tensor]:
    """(b+): with `logits_to_keep`."""
    return baselines.frozen_pgd(policy, rows, steps, STEP_SIZE, EPSILON)


def library(policy: QwenVL, rows: list[PromptedResponse], steps: int) -> list[Tensor]:
    """(c): torchattacks."""
    return baselines.library_pgd(policy, rows, steps, STEP_SIZE, EPSILON)


@torch.no_grad()
def forward(policy: QwenVL, rows: list[PromptedResponse], size: int) -> None:
    """One forward of our own without gradients, in ours' batches: half the floor of a step."""
    for batch in baselines.batches(rows, size):
        own = [rows[index] for index in batch]
        logp_of(policy, own)([to_unit(row.image) for row in own])


def agree(name: str, policy: QwenVL, rows: list[PromptedResponse]) -> None:
    """Value and gradient of the objective, ours against the transformers forward.

    Errors: ValueError beyond the tolerances.
    """
    found = []
    with policy.frozen():
        for logp in (logp_of(policy, rows), baselines.logp_of(policy, rows)):
            points = [to_unit(row.image).requires_grad_() for row in rows]
            values = logp(points)
            gradients = torch.autograd.grad(values.sum(), points)
            found.append((values.detach().cpu(), gradients))
    longest = max(len(row.response) for row in rows)
    require_equal(f"{name} logp", [found[0][0]], [found[1][0]], LOGP_TOLERANCE * longest)
    units = [theirs.norm() for theirs in found[1][1]]
    mine, theirs = (
        [gradient / unit for gradient, unit in zip(pair[1], units, strict=True)] for pair in found
    )
    require_equal(f"{name} gradient", mine, theirs, GRADIENT_TOLERANCE)


if __name__ == "__main__":
    main()
