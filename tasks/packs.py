"""Packs: rows that run together. Planned from the rows and the budget alone."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from storage.errors import StoreError

logger = logging.getLogger(__name__)
Row = TypeVar("Row")
Result = TypeVar("Result")

OUT_OF_MEMORY = "out_of_memory"
_NOT_OF_A_ROW = (OSError, MemoryError, StoreError, torch.AcceleratorError)
"""Trouble with the machine, the device or the store; smaller packs would not help."""
_HOPELESS = 10
"""So many rows fell and not one came through: that is a bug, and no row's fault."""
_ceilings: dict[str, int] = {}
"""Least padded size (rows x longest) that did not fit into memory, by purpose, in this process."""


@dataclass
class PackLog:
    """What became of the packs of one shard."""

    purpose: str
    """What is run, with which model, on which device: what fits differs by it."""
    split: int = 0
    """Packs that were halved."""

    @property
    def ceiling(self) -> int | None:
        """Least padded size that did not fit so far in this process; None where all did."""
        return _ceilings.get(self.purpose)

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says of a shard."""
        return {"packs_split": self.split, "memory_ceiling": self.ceiling}


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
    refuse: Callable[[Row, str], Result],
    log: PackLog,
    kinds: Sequence[Any] | None = None,
) -> list[Result]:
    """Run `run` on every pack; return results in the order of `rows`.

    Packs are those of `plan_packs`. A pack that does not fit into the device's memory, or in which
    a row makes `run` raise, is halved and tried again, until a single row is left: it is handed to
    `refuse` with its reason, `out_of_memory` or `error:<name>`. A size that once did not fit is
    not tried again in this process: such packs are halved beforehand.

    Raises what is no row's fault: see `_NOT_OF_A_ROW`, an error that says of itself
    `concerns_all_rows`, and any error where `_HOPELESS` rows raise
    and none comes through.
    """
    results: dict[int, Result] = {}
    waiting = plan_packs(lengths, budget, kinds)
    errors, whole = 0, 0
    while waiting:
        pack = waiting.pop()
        size = len(pack) * max(lengths[i] for i in pack)
        if len(pack) > 1 and log.ceiling is not None and size >= log.ceiling:
            waiting += _halves(pack, log)
            continue
        answers = _attempt(run, [rows[i] for i in pack])
        if not isinstance(answers, _Fallen):
            results.update(zip(pack, answers, strict=True))
            whole += len(pack)
            continue
        if answers.error is None:
            torch.cuda.empty_cache()
            _ceilings[log.purpose] = min(size, log.ceiling or size)
        if len(pack) > 1:
            waiting += _halves(pack, log)
            continue
        errors += answers.error is not None
        if answers.error is not None and errors >= _HOPELESS and not whole:
            raise answers.error
        logger.warning("row %s: %s", _name(rows[pack[0]]), answers.reason, exc_info=answers.error)
        results[pack[0]] = refuse(rows[pack[0]], answers.reason)
    return [results[i] for i in range(len(rows))]


@dataclass(frozen=True)
class _Fallen:
    reason: str
    error: Exception | None = None


def _attempt(run: Callable[[list[Row]], list[Result]], rows: list[Row]) -> list[Result] | _Fallen:
    """Return the results, or why there are none; what the error's frames held is let go."""
    try:
        return run(rows)
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)
        return _Fallen(OUT_OF_MEMORY)
    except _NOT_OF_A_ROW:
        raise
    except Exception as error:  # whatever a row may set off
        if getattr(error, "concerns_all_rows", False):
            raise
        if "CUDA error" in str(error):  # of a library that does not say AcceleratorError
            raise
        traceback.clear_frames(error.__traceback__)
        return _Fallen(f"error:{type(error).__name__}", error)


def _halves(pack: list[int], log: PackLog) -> list[list[int]]:
    log.split += 1
    half = len(pack) // 2
    return [pack[:half], pack[half:]]


def _name(row: object) -> str:
    return str(getattr(row, "sample_id", row))
