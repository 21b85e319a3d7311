"""Which samples are mined: random pre-selection of open-ended ones, then top k by what they gain.

`storage/sql/selection.sql` is the same rule for DuckDB.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

SelectionKey = Literal["iig_mean", "iig_sum", "low_iig_mean"]


class NotChosen(StrEnum):
    """Why a sample was not chosen."""

    CLOSED_ENDED = "closed_ended"
    NOT_PRESAMPLED = "not_presampled"
    NO_SCORE = "no_score"
    BELOW_TOP_K = "below_top_k"


@dataclass(frozen=True)
class Scored:
    """A sample with its image information gain (eq. 4)."""

    sample_id: str
    """Unique among the rows."""
    closed: bool
    """Multiple choice or yes/no: such samples make the online set."""
    iig_mean: float | None
    """Nats per token; None or not finite where the sample could not be scored."""
    iig_sum: float | None
    """Nats; as above."""


@dataclass(frozen=True)
class Selection:
    """What became of one sample."""

    sample_id: str
    """As in `Scored`."""
    rank: int | None
    """Place by score among all that were ranked, from 1; None where there was nothing to rank."""
    chosen: bool
    """Whether rank <= k."""
    reason: NotChosen | None
    """None for a chosen sample."""


def sample_order(seed: int, sample_id: str) -> str:
    """Return a text that sorts samples in an order drawn by the seed: sha256 of `seed:id`.

    The order does not depend on position, so it stays when samples are added or taken away.
    """
    return hashlib.sha256(f"{seed}:{sample_id}".encode()).hexdigest()


def select(
    rows: Sequence[Scored],
    *,
    seed: int,
    presample: int | None,
    k: int | None,
    key: SelectionKey | None = "iig_mean",
) -> list[Selection]:
    """Choose samples for mining (paper App. A.1).

    Closed-ended samples are left out; of the rest the first `presample` in `sample_order` are
    ranked by score, largest first, equal scores by id; the first k are chosen.

    Args:
        rows: all samples, in any order.
        seed: draws the pre-selection.
        presample: how many are drawn (unknown in the paper); None = all.
        k: how many are chosen (unknown in the paper); None = all that are ranked.
        key: mean per token (default, assumed) or sum, which favours long responses; `low_iig_mean`
            ranks by the mean, smallest first (a control); None = ranked in `sample_order`, scored
            or not.

    Returns:
        One row for every input row, in the order of the input.

    Raises:
        ValueError: negative sizes, another key, or an id that stands twice.
    """
    _check(rows, presample, k, key)
    drawn = sorted(
        (row.sample_id for row in rows if not row.closed),
        key=lambda sample_id: (sample_order(seed, sample_id), sample_id),
    )[:presample]
    ranked = drawn
    if key is not None:
        ranked = _by_score(drawn, {row.sample_id: _score(row, key) for row in rows})
    ranks = {sample_id: rank for rank, sample_id in enumerate(ranked, start=1)}
    presampled = set(drawn)
    most = len(rows) if k is None else k
    return [_selection(row, row.sample_id in presampled, ranks, most) for row in rows]


def _score(row: Scored, key: SelectionKey) -> float | None:
    if key == "low_iig_mean":
        return None if row.iig_mean is None else -row.iig_mean
    return getattr(row, key)


def _by_score(drawn: Sequence[str], scores: dict[str, float | None]) -> list[str]:
    """Order what has a finite score, largest first, equal scores by id."""
    finite = {i: s for i in drawn if (s := scores[i]) is not None and math.isfinite(s)}
    return sorted(finite, key=lambda sample_id: (-finite[sample_id], sample_id))


def _selection(row: Scored, presampled: bool, ranks: dict[str, int], k: int) -> Selection:
    rank = ranks.get(row.sample_id)
    reason: NotChosen | None = None
    if row.closed:
        reason = NotChosen.CLOSED_ENDED
    elif not presampled:
        reason = NotChosen.NOT_PRESAMPLED
    elif rank is None:
        reason = NotChosen.NO_SCORE
    elif rank > k:
        reason = NotChosen.BELOW_TOP_K
    return Selection(row.sample_id, rank, reason is None, reason)


def _check(rows: Sequence[Scored], presample: int | None, k: int | None, key: str | None) -> None:
    if key is not None and key not in get_args(SelectionKey):
        raise ValueError(f"key must be one of {get_args(SelectionKey)} or None, got {key!r}")
    if any(size is not None and size < 0 for size in (k, presample)):
        raise ValueError(f"k and presample must not be negative, got {k} and {presample}")
    seen: set[str] = set()
    for row in rows:
        if row.sample_id in seen:
            raise ValueError(f"sample_id {row.sample_id!r} stands twice")
        seen.add(row.sample_id)
