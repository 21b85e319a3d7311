"""Packs: rows that run together. Planned from the rows and the budget alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

logger = logging.getLogger(__name__)
Row = TypeVar("Row")
Result = TypeVar("Result")


def plan_packs(
    lengths: Sequence[int], budget: int, kinds: Sequence[Any] | None = None
) -> list[list[int]]:
    """Return packs of row numbers whose padded size (rows x longest) stays within `budget`.

    Rows of like length stand together; where `kinds` (sortable, one a row) are given, rows of one
    kind do, and those of like length within it. A row longer than the budget has a pack of its own.
    """
    packs: list[list[int]] = []
    longest = 0
    for row in sorted(
        range(len(lengths)), key=lambda row: (kinds and kinds[row], lengths[row], row)
    ):
        longest = max(longest, lengths[row])
        if packs and (len(packs[-1]) + 1) * longest <= budget:
            packs[-1].append(row)
        else:
            packs.append([row])
            longest = lengths[row]
    return packs


def run_packs(
    rows: Sequence[Row],
    lengths: Sequence[int],
    budget: int,
    run: Callable[[list[Row]], list[Result]],
    refuse: Callable[[Row], Result],
    kinds: Sequence[Any] | None = None,
) -> tuple[list[Result], int]:
    """Run `run` on every pack; return results in the order of `rows`, and how many packs split.

    Packs are those of `plan_packs`.
    A pack that does not fit into the device's memory is halved and tried again; a single row that
    does not fit is handed to `refuse`.
    """
    results: dict[int, Result] = {}
    splits = 0
    waiting = plan_packs(lengths, budget, kinds)
    while waiting:
        pack = waiting.pop()
        try:
            answers = run([rows[i] for i in pack])
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            splits += 1
            if len(pack) == 1:
                logger.warning("one row alone does not fit into memory: %s", rows[pack[0]])
                results[pack[0]] = refuse(rows[pack[0]])
                continue
            half = len(pack) // 2
            waiting += [pack[:half], pack[half:]]
            continue
        results.update(zip(pack, answers, strict=True))
    return [results[i] for i in range(len(rows))], splits
