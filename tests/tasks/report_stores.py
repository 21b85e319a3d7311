"""Stores whose rows are made up, for pages that no quick run would give."""

from __future__ import annotations

from pathlib import Path

from storage.identity import Identity
from storage.store import ArtifactStore
from storage.tables import rows_to_table
from tasks.ingest import SAMPLES
from tasks.mine import NEGATIVES
from tasks.report.sources import Sources
from tasks.respond import RESPONSES
from tasks.score import SCORES
from tasks.selection import SELECTION

HOSTILE = (
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    "<svg onload=window.ran=1>",
    "\"><iframe src='https://example.invalid/'></iframe>",
    "{{ 7 * 7 }} {% raw %} ${window.ran = 1} `",
    "<!-- <script> \u2028 \u2029 & &lt;b&gt;",
    "<link rel=stylesheet href='https://example.invalid/x.css'>",
    "<style>@import 'https://example.invalid/x.css'; body { display: none }</style>",
    "\u202eright to left\u202c \x00 null",
)  # fmt: skip
"""Texts that would do something, or break the page, where they were taken for markup."""


def commit(store: ArtifactStore, stage: str, spec, rows):
    """Commit an artifact of one table."""
    made = Identity(stage, 1, spec.text, {"made": "up"})
    with store.lock(stage, made.key):
        store.write_shard(stage, made.key, 0, {spec.name: rows_to_table(rows, spec)})
        return store.commit(stage, made.key, [0], tables=(spec,), identity=made, coverage=[])


def many(root: Path, count: int, texts=("What is it?",)) -> Sources:
    """Return a run of `count` samples up to their responses; every figure follows from the number.

    Samples have no pictures. Every tenth is refused by its response, every hundredth closed-ended
    and not selected.
    """
    names = [f"{number:064x}" for number in range(count)]
    closed = [number % 100 == 99 for number in range(count)]
    mined = [n for n in range(count) if not closed[n]]
    text = [texts[n % len(texts)] for n in range(count)]
    store = ArtifactStore(root)
    refs = {
        "ingest": commit(store, "ingest", SAMPLES, [
            {"sample_id": names[n], "source_id": f"source-{n}", "question": text[n],
             "response": f"right {n} {text[n]}", "options": [],
             "closed_kind": "yes_no" if closed[n] else None}
            for n in range(count)]),
        "score": commit(store, "score", SCORES, [
            {"sample_id": names[n], "iig_mean": n / count, "iig_sum": float(n), "n_tokens": 4}
            for n in range(count)]),
        "select": commit(store, "select", SELECTION, [
            {"sample_id": names[n], "chosen": not closed[n], "rank": None if closed[n] else n,
             "key": "iig_mean", "value": n / count,
             "reason": "closed_ended" if closed[n] else None}
            for n in range(count)]),
        "mine": commit(store, "mine", NEGATIVES, [
            {"sample_id": names[n], "logp_trace": [-1.0, -2.0], "logp_clean": -1.0,
             "logp_reread": -2.0, "logp_blank": -5.0, "linf": 8 / 255, "recovered": n / count}
            for n in mined]),
        "respond": commit(store, "respond", RESPONSES, [
            {"sample_id": names[n], "source": "negative", "text": f"wrong {n} {text[n]}",
             "attempt": 1, "iig_mean": -n / count, "clean_token_logps": [-1.5, -1.5],
             "reason": f"refused {text[n]}" if n % 10 == 0 else None}
            for n in mined]),
    }  # fmt: skip
    settings = {"mine": {"kind": "pgd", "epsilon": 8 / 255}}
    return Sources(store, refs, "made-up", settings)
