"""One optimiser step of the hybrid training against TRL's GRPOTrainer and DPOTrainer.

    python -m benchmarks.bench_train [--tuning lora] [--streams online] [--side 448] [--tiny]

A step is everything: sampling and verifying of rollouts, reference, forward, backward, optimiser,
and what the trainer does besides. Both sides train the same random Qwen2-VL on the same groups,
each in a process of its own (so that each has a peak memory), and take steps in turn. TRL has no
trainer for both streams: a hybrid step is compared with one step of each of its two.
"""

import argparse
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.measure import print_figures, print_ratio
from benchmarks.models import TINY
from benchmarks.training.batch import Work
from benchmarks.training.workers import AS_SHIPPED, BASELINE, OURS, Figures, agree, measure

STREAMS = ("online", "offline", "hybrid")
TUNINGS = ("lora", "full")


def main(arguments: Sequence[str] | None = None) -> None:
    """Check that both sides agree, measure the cases, print figures and ratios."""
    asked = _parser().parse_args(arguments)
    if importlib.util.find_spec("trl") is None:
        sys.exit("bench_train compares with TRL, which is not installed: pip install trl==1.16.0")
    logging.basicConfig(level=logging.INFO if asked.verbose else logging.WARNING)
    os.environ["HF_HUB_OFFLINE"] = "1"  # read by the processes: nothing is fetched, nothing is told
    for tuning in asked.tuning:
        _measure(tuning, asked)


def _measure(tuning: str, asked: argparse.Namespace) -> None:
    """All streams of one way of training."""
    found: dict[str, dict[str, Figures]] = {}
    for stream in asked.streams:
        work = _work(stream, tuning, asked)
        if stream == "hybrid":
            found[stream] = measure(work, (OURS,), asked.rounds)
        else:
            if not asked.unchecked:
                agree(replace(_tiny(work), steps=1, trl_rows=work.generations))
            sides = (OURS, BASELINE, AS_SHIPPED) if asked.as_shipped else (OURS, BASELINE)
            found[stream] = measure(work, sides, asked.rounds)
        _print_sides(stream, tuning, found[stream])
        _print_ratios(stream, tuning, found)


def _print_sides(stream: str, tuning: str, sides: dict[str, Figures]) -> None:
    for side, figures in sides.items():
        print_figures(
            f"train {stream} {tuning}, {side}",
            seconds=figures.seconds,
            **figures.phases,
            peak_mib=float(figures.peak / 2**20),
        )


def _print_ratios(stream: str, tuning: str, found: dict[str, dict[str, Figures]]) -> None:
    name, ours = f"train_{stream}_{tuning}", found[stream][OURS]
    if stream == "hybrid":
        if {"online", "offline"} <= found.keys():
            theirs = [found[part][BASELINE].seconds for part in ("online", "offline")]
            print_ratio(name, sum(theirs) / ours.seconds)
        return
    theirs = found[stream][BASELINE]
    print_ratio(name, theirs.seconds / ours.seconds)
    print_ratio(f"{name}_memory", theirs.peak / ours.peak)
    if AS_SHIPPED in found[stream]:
        print_ratio(f"{name}_as_shipped", found[stream][AS_SHIPPED].seconds / ours.seconds)


def _work(stream: str, tuning: str, asked: argparse.Namespace) -> Work:
    work = Work(
        stream,
        tuning,
        steps=asked.rounds + 1,
        side=asked.side,
        generations=asked.generations,
        trl_rows=min(asked.trl_rows, asked.generations),
        threads=asked.threads,
    )
    return _tiny(work) if asked.tiny else work


def _tiny(work: Work) -> Work:
    return replace(work, shape=TINY, side=56, chosen=10, rejected=12)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_train")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS))
    parser.add_argument("--tuning", nargs="+", choices=TUNINGS, default=list(TUNINGS))
    parser.add_argument("--side", type=int, default=336, help="height and width of the images")
    parser.add_argument("--generations", type=int, default=8, help="rollouts of a prompt")
    parser.add_argument("--trl-rows", type=int, default=8, help="TRL's micro-batch of a group")
    parser.add_argument("--rounds", type=int, default=3, help="steps that count, after one warm-up")
    parser.add_argument("--threads", type=int, default=1, help="1: CPU time; more: wall time")
    parser.add_argument("--as-shipped", action="store_true", help="TRL's head on all rows too")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: is the script whole?")
    parser.add_argument("--unchecked", action="store_true", help="do not compare results before")
    parser.add_argument("--verbose", action="store_true", help="tell every step")
    return parser


if __name__ == "__main__":
    main()
