"""Image information gain: samples a second, ours against plain transformers.

    python -m benchmarks.bench_score

One question an image, then four turns an image, on a Qwen2-VL of a quarter of the 2B's width and
on the embedded model. Time is that of both passes, image and blank.
"""

import argparse
from collections.abc import Sequence

import torch

from benchmarks.baselines import Score, scores
from benchmarks.measure import (
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
from mbpo_core.information_gain import GainRow, information_gain
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL

TOLERANCE = 1e-4
"""Nats a token."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    print_figures("machine", threads=options.threads, torch=torch.__version__)
    policy = random_policy(options.shape.shallower(options.depth_share))
    print_figures("model quarter", sizes=describe(policy))
    side, few = options.side, options.images
    one = made_rows(policy, images=few, turns=1, side=side)
    four = made_rows(policy, images=max(1, few // 4), turns=4, side=side)
    compare("score_one_question", policy, one, options)
    compare("score_four_turns", policy, four, options)
    print_figures("memory", peak_mib=peak_memory_mib())
    small = embedded_policy()
    print_figures("model embedded", sizes=describe(small))
    many = options.embedded_images
    compare("embedded_one_question", small, embedded_rows(small, images=many, turns=1), options)
    compare(
        "embedded_four_turns", small,
        embedded_rows(small, images=max(1, many // 4), turns=4), options,
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--images", type=int, default=4, help="of the quarter-width model")
    found.add_argument("--embedded-images", type=int, default=32)
    found.add_argument("--side", type=int, default=448, help="of an image, in pixels")
    found.add_argument("--depth-share", type=float, default=1.0, help="below 1: a quick look")
    found.add_argument("--threads", type=int, default=1)
    found.set_defaults(shape=QUARTER)
    return found


def compare(
    name: str, policy: QwenVL, rows: list[PromptedResponse], options: argparse.Namespace
) -> None:
    """Check that both ways agree, then time them in turn."""
    now = clock(policy.device)
    gains = information_gain(policy, rows)
    found: dict[int, list[Score]] = {}

    def plain(size: int) -> None:
        found[size] = scores(policy, rows, size)

    sizes = sorted({1, max(1, len(rows) // 4), len(rows)})
    size = best_batch(plain, sizes, now)
    agree(name, gains, found[size])
    taken = in_turn(
        {
            "ours": lambda: information_gain(policy, rows),
            "plain": lambda: plain(size),
        },
        options.rounds,
        now,
        warm=False,
    )
    median = medians(taken)
    print_figures(
        name,
        **lengths_of(policy, rows),
        rounds=options.rounds,
        ours_samples_per_s=len(rows) / median["ours"],
        plain_samples_per_s=len(rows) / median["plain"],
        plain_batch=f"{size} of {sizes}",
    )
    print_ratio(name, ratio(taken, "plain", "ours"))


def agree(
    name: str, gains: list[GainRow], baseline: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Both terms of every row, token by token."""
    for term, part in (("image", 0), ("blank", 1)):
        ours = [torch.tensor(getattr(gain, f"{term}_token_logps")) for gain in gains]
        require_equal(f"{name} {term}", ours, [pair[part] for pair in baseline], TOLERANCE)


if __name__ == "__main__":
    main()
