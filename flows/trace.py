"""`mbpo trace`: the whole life of a sample, from its record to gradients and evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from flows.completion import complete_run
from flows.console import ROOT, AsJson, Root, errors_in_words, out, print_json
from storage.store import ArtifactStore
from tasks.trace import trace as trace_of

Row = Mapping[str, Any]
_STEPS = 6
"""Steps and rollouts that are printed; --json has all."""


def trace(
    sample_id: Annotated[
        str, typer.Argument(help="Its id or the beginning of it, or the id of its record.")
    ],
    run: Annotated[
        str | None,
        typer.Option(
            help="A run or its tag; default: the one that got furthest.",
            autocompletion=complete_run,
        ),
    ] = None,
    root: Root = ROOT,
    as_json: AsJson = False,
) -> None:
    """Tell the whole life of a sample: record, score, attack, responses, groups, steps, answers."""
    with errors_in_words():
        found = trace_of(ArtifactStore(root), sample_id, run)
    if as_json:
        print_json(found)
        return
    out.print(f"sample {found['sample_id']}", style="bold", markup=False, soft_wrap=True)
    out.print(f"run {found['run_id']} of {found['recipe']}", markup=False)
    for stage, lines in _SECTIONS.items():
        ref = found["refs"].get(stage)
        out.print(ref or f"{stage}: not in this run", style="bold" if ref else "")
        for line in lines(found) if ref else ():
            out.print(f"  {line}", markup=False, soft_wrap=True)


def _source(found: Row) -> Iterator[str]:
    row, source = found["source"], found["source"]["from"]
    place = source.get("path") or " ".join(f"{name}={value}" for name, value in source.items())
    yield f"record {row['source_index']}, turn {row['turn']} of {place} (id {row['source_id']})"
    if row["image"]:
        yield (f"image {row['width']} x {row['height']}, {row['image']['bytes']} bytes, "
               f"{row['image_id'][:16]}")  # fmt: skip
    yield f"kind: {row['closed_kind'] or 'open-ended'}"
    yield f"question: {row['question']}"
    yield f"response: {row['response']}"
    if row["reason"]:
        yield f"not used: {row['reason']}; {row['detail']}"


def _score(found: Row) -> Iterator[str]:
    row = found["score"]
    if row is None and found["entropy"] is None:
        yield "not scored"
    elif row and row["reason"]:
        yield f"no score: {row['reason']}"
    elif row:
        yield (f"information gain {row['iig_sum']:.4f} nats, {row['iig_mean']:.4f} a token "
               f"({row['n_tokens']} tokens)")  # fmt: skip
    if found["entropy"]:
        yield f"entropy of its own answer: {_number(found['entropy']['entropy_mean'])} a token"


def _selection(found: Row) -> Iterator[str]:
    row = found["selection"]
    if row is None:
        yield "had no score to be selected by"
        return
    rank = "" if row["rank"] is None else f", rank {row['rank']} by {row['key'] or 'the draw'}"
    yield f"{'selected' if row['chosen'] else 'not selected: ' + str(row['reason'])}{rank}"


def _attack(found: Row) -> Iterator[str]:
    row = found["negative"]
    if row is None:
        yield "not mined"
        return
    settings = row["settings"]
    named = [name for name in ("steps", "step_size", "epsilon") if settings.get(name) is not None]
    said = ", ".join(f"{name} {_number(settings[name])}" for name in named)
    yield f"{settings.get('kind')}: {said or 'no settings of an attack'}"
    if row["reason"]:
        yield f"no negative image: {row['reason']}"
        return
    yield (f"log-probability of the chosen response {_number(row['logp_clean'])} -> "
           f"{_number(row['logp_reread'])} as read back; under a blank image "
           f"{_number(row['logp_blank'])}")  # fmt: skip
    used = row["linf"]
    if used is not None:
        yield f"largest change of a pixel {used * 255:.0f} / 255"
    if row["best_step"] is not None:
        yield f"step {row['best_step']} was kept; tried again: {'yes' if row['retried'] else 'no'}"
    if row["recovered"] is not None:
        yield f"share of the way to the prior: {row['recovered']:.3f}"
    elif row["recovered_reason"]:
        yield f"share of the way to the prior: none, {row['recovered_reason']}"


def _responses(found: Row) -> Iterator[str]:
    for row in found["responses"] or ():
        if row["reason"]:
            yield f"from {row['source']}: refused, {row['reason']}"
            continue
        yield f"from {row['source']}: {row['text']}"
        yield (
            f"  log-probability under the clean image {_number(row['clean_logp'])}, "
            f"the negative {_number(row['negative_logp'])}, a blank {_number(row['blank_logp'])}"
        )
        refused = ", ".join(row["refused_attempts"] or ()) or "none"
        yield f"  draws refused before: {refused}"
    if not found["responses"]:
        yield "no response was asked for"


def _groups(found: Row) -> Iterator[str]:
    for row in found["groups"] or ():
        none = "rollouts" if row["stream"] == "online" else "no candidates"
        roles = ", ".join(each["role"] for each in row["candidates"] or ()) or none
        reason = f"; not used: {row['reason']}" if row["reason"] else ""
        yield f"{row['group_id']} {row['stream']}: {roles}{reason}"
    if not found["groups"]:
        yield "in no group"


def _training(found: Row) -> Iterator[str]:
    for row in found["training"] or ():
        yield f"{row['group_id']}: {_used(row)}"
        for each in row["fixed"] or ():
            yield f"  {each['role']}: reward {each['reward']:g}, advantage {each['advantage']:+.4f}"
        for step in (row["steps"] or ())[:_STEPS]:
            stream = step.get(f"loss_{row['stream']}")
            yield (f"  step {step['step']}: loss {_number(step['loss'])} "
                   f"({row['stream']} {_number(stream)}), rate {_number(step['learning_rate'])}"
                   + _rewards(row, step["step"]))  # fmt: skip
        if row["steps"] and len(row["steps"]) > _STEPS:
            yield f"  and {len(row['steps']) - _STEPS} steps more: --json has all"
        for role, probes in _by_role(row["probes"]).items():
            gains = [f"{each['step']}: {_number(each['logp_image'])}" for each in probes[:_STEPS]]
            yield f"  measured, {role}, log-probability by step {', '.join(gains)}"
    if not found["training"]:
        yield "no group of it came here"


def _used(row: Row) -> str:
    if row["reason"]:
        return f"used {row['uses']} times: {row['reason']}"
    level = "" if row["level"] is None else f", level {row['level']}"
    steps = "; this version did not record in which steps" if row["steps"] is None else ""
    return f"used {row['uses']} times{level}{steps}"


def _rewards(row: Row, step: int) -> str:
    drawn = [each for each in row["rollouts"] if each["step"] == step]
    pairs = (f"{each['reward']:g} ({each['advantage']:+.2f})" for each in drawn)
    return f"; rewards (advantages) {' '.join(pairs)}" if drawn else ""


def _by_role(probes: list[Row]) -> dict[str, list[Row]]:
    return {role: [each for each in probes if each["role"] == role]
            for role in dict.fromkeys(each["role"] for each in probes)}  # fmt: skip


def _questions(found: Row) -> Iterator[str]:
    for row in found["questions"] or ():
        yield f"{row['asked_id']}: {row['text']}"
        for each in row["predictions"]:
            right = {True: "right", False: "wrong", None: f"points {_number(each['points'])}"}
            yield f"  {each['model']}: {each['response']} ({right[each['correct']]})"
    if not found["questions"]:
        yield "no question stems from it or from its image"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


_SECTIONS = {
    "ingest": _source,
    "score": _score,
    "select": _selection,
    "mine": _attack,
    "respond": _responses,
    "pair": _groups,
    "train": _training,
    "evaluate": _questions,
}
"""What is printed below each stage's artifact, in the order of the stages."""
