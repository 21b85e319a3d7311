"""How much may go wrong: a stage whose rows fail in greater number than allowed is not committed.

A reason is a *failure* where something went wrong with the row, and a refusal *by design* where
the recipe or the method leaves the row out. Only failures are counted, and only by the stage where
they arose: a later one passes on a reason that was judged already.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from storage.store import ArtifactStore

ERROR = "error"
"""Begins the reason of a row that made the code raise."""
AT_LEAST = 10
"""So few failures stop nothing, whatever their share: one bad picture of a pilot is no pattern."""
_SHOWN = 5


class TooManyFailuresError(RuntimeError):
    """More rows of a stage failed than the runtime allows."""


@dataclass(frozen=True)
class Counted:
    """Where a stage's failures stand."""

    table: str
    """Whose rows are counted."""
    name: str
    """The column that names a row to a person."""
    reasons: tuple[str, ...] = ()
    """What counts, besides `error` and `error:...`."""


_FILES = ("missing_file", "outside_root", "unreadable", "truncated")
_NUMBERS = ("out_of_memory", "nonfinite_logp")
FAILURES = {
    "ingest": Counted("samples", "source_id", ("malformed_record", *_FILES)),
    "score": Counted("scores", "sample_id", _NUMBERS),
    "select": Counted("selection", "sample_id"),
    "mine": Counted("negatives", "sample_id", (*_NUMBERS, "nonfinite_gradient")),
    "respond": Counted("responses", "sample_id", _NUMBERS),
    "pair": Counted("groups", "group_id"),
    "train": Counted("train_groups", "group_id", ("nonfinite_loss", "nonfinite_gradient")),
    "ask": Counted("questions", "asked_id", _FILES),
    "answer": Counted("answers", "answer_id", _NUMBERS),
    "evaluate": Counted("predictions", "prediction_id"),
    "report": Counted("page", "section"),
}
"""By stage; docs/poison.md says of every reason on which side it stands."""


def is_failure(reason: str | None, counted: Counted) -> bool:
    """Whether something went wrong with a row of this reason."""
    if reason is None:
        return False
    return reason in counted.reasons or reason.split(":")[0] == ERROR


def check_failures(store: ArtifactStore, stage: str, key: str, allowed: float) -> None:
    """Look at the staged rows of a stage that is about to be committed.

    Raises TooManyFailuresError where more than the share `allowed` of them failed, and at least
    `AT_LEAST` or every one. Nothing is removed: with a greater share they are committed as they
    are.
    """
    counted = FAILURES.get(stage)
    if counted is None:  # a stage that no pipeline has
        return
    total, failed = 0, []
    for shard in store.staged_shards(stage, key):
        total += shard.rows[counted.table]
        failed += [row for row in _reasons(shard.table(counted.table), counted)
                   if is_failure(row["reason"], counted)]  # fmt: skip
    few = len(failed) < AT_LEAST and len(failed) < total
    if failed and not few and len(failed) > allowed * total:
        place = store.staging(stage, key) / "shard-*" / f"{counted.table}.parquet"
        raise TooManyFailuresError(_told(stage, counted, failed, total, allowed, str(place)))


def _reasons(path: Any, counted: Counted) -> list[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        columns = {counted.name, "reason", "detail"} & set(file.schema_arrow.names)
        return file.read(sorted(columns)).to_pylist()


def _told(
    stage: str,
    counted: Counted,
    failed: list[dict[str, Any]],
    total: int,
    allowed: float,
    place: str,
) -> str:
    share = len(failed) / total
    counts = Counter(row["reason"] for row in failed)
    by_reason = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    examples = "\n".join(
        f"  {row[counted.name] or 'a record without an id'}: {row['reason']}"
        + (f" ({row['detail']})" if row.get("detail") else "")
        for row in failed[:_SHOWN]
    )
    listed = ", ".join(f"'{reason}'" for reason in counts)
    enough = min(1.0, math.ceil(share * 100) / 100)
    return (
        f"{stage}: {len(failed)} of {total} rows failed ({share:.1%}, allowed are {allowed:.1%}): "
        f"{by_reason}\n{examples}\n"
        f"All of them: mbpo sql \"select * from '{place}' where reason in ({listed})\"\n"
        "Nothing is lost: mend the cause, or take the rest as it is with "
        f"--runtime max_failures={enough:g} (of a deployment: "
        f'runtime={{"max_failures": {enough:g}}}), which commits at once what is computed.'
    )
