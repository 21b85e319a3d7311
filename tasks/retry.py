"""Rows tried again because of what became of them, without computing the rest of their stage.

A shard is what is computed again: its other rows come out as they were, since seeds depend on no
position. The version that there was stays; what follows has to be made again only where the bytes
have changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from storage.refs import ArtifactRef
from storage.reopen import drop_staged, restage, shards_with, staged_reasons
from tasks.failures import FAILURES, is_failure
from tasks.stage import Job, Stage

STATUSES = {
    "oom": ("out_of_memory",),
    "bad_image": ("missing_file", "outside_root", "unreadable", "truncated"),
    "nonfinite": ("nonfinite_logp", "nonfinite_loss", "nonfinite_gradient"),
}
"""Short words for several reasons."""
Counts = Mapping[str, Mapping[str, int]]
"""Rows by table and reason."""


def matches(reason: str, statuses: Collection[str]) -> bool:
    """Return whether a status means this reason: by its name, what is before its colon, a word."""
    wanted = {reason for status in statuses for reason in STATUSES.get(status, (status,))}
    return reason in wanted or reason.split(":")[0] in wanted


def set_aside(
    stage: Stage, job: Job, found: ArtifactRef | None, statuses: Collection[str]
) -> ArtifactRef | None:
    """Leave to make the shards with rows that are to be tried again; return None if there are any.

    Of an artifact the other shards are staged as they are, but where it has files beside its
    tables, or a last shard that sums up the others: these are computed again. Of a stage that was
    not committed, the staged shards with such rows go. Only reasons that arose in the stage count,
    not those that it passes on. For the holder of the key's lock.
    """
    store = job.store
    passed_on = [store.manifest(ref).reasons for ref in job.inputs.values()]
    counts = [staged_reasons(store, stage.name, job.key)]
    if found:
        counts.append(store.manifest(found).reasons)
    reasons = set(_own(stage.name, counts, passed_on, statuses))
    again = shards_with(store, found, reasons) if found else set()
    if not reasons or (found and not again):
        return found
    planned = stage.shards(job)
    drop_staged(store, stage.name, job.key, reasons, range(planned, planned + stage.finishing))
    if found and not store.manifest(found).files:
        restage(store, found, sorted(set(range(planned)) - again))
    return None


def _own(
    stage: str, counts: Iterable[Counts], passed_on: Iterable[Counts], statuses: Collection[str]
) -> Iterator[str]:
    """Yield the reasons that match and arose in this stage."""
    earlier = set(reasons_of(passed_on))
    for reason in set(reasons_of(counts)):
        failed = stage in FAILURES and is_failure(reason, FAILURES[stage])
        if matches(reason, statuses) and (failed or reason not in earlier):
            yield reason


def reasons_of(counted: Iterable[Counts]) -> Iterator[str]:
    """Yield the reasons that are counted, some of them several times."""
    return (reason for tables in counted for table in tables.values() for reason in table)
