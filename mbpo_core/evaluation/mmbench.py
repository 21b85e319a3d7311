"""MMBench (Liu et al. 2023, arXiv 2307.06281): circular evaluation.

A question is asked once for each rotation of its options; the copies have index + k * 1,000,000.
`circular`, MMBench's score, is the share of questions all of whose copies are answered right;
`vanilla` is the accuracy on the questions as first written and `vanilla_all` that over all copies,
as VLMEvalKit prints them. The rule is VLMEvalKit's `can_infer` (`choice_rules.vlmevalkit`), as with
its judge `exact_matching`: it and lmms-eval may ask a model about answers that the rule cannot
read, which are wrong here and counted as `unread`.

In a table without rotations every question is a circle of one, and `circular` equals `vanilla`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mbpo_core.evaluation import choice_rules
from mbpo_core.evaluation.choice_files import (
    LETTER_SUFFIX,
    gold_letter,
    hint_of,
    lines,
    numbered,
    options_of,
)
from mbpo_core.evaluation.choices import MultipleChoice
from mbpo_core.evaluation.groups import all_right
from mbpo_core.evaluation.join import Record, same_text, usual_fields
from mbpo_core.evaluation.pictures import pictures
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Join, Question, SourceFile
from mbpo_core.evaluation.statistics import Block, Figure, block, quotient
from mbpo_core.records import Options

KEYS = (("question_id",),)
COPIES = 1_000_000
"""Distance of the indices of a question's copies."""


def load(files: Sequence[SourceFile]) -> MultipleChoice:
    """Return the benchmark.

    Args:
        files: TSV or Parquet records with index, question, A to D (fewer where empty), answer as
            letter, hint, category, l2-category (or L2-category) and image; in the TSV a copy's
            image is the index of the row that has it.

    Raises:
        BenchmarkError: no questions, no index, an unknown or hidden answer, an index twice, a copy
            without its first question.
    """
    rows, found = list(numbered(files)), []
    images = pictures([record for _, _, record in rows])
    for (file, _, record), image in zip(rows, images, strict=True):
        index, options = str(record.get("index")), options_of(record)
        if not index.isdecimal() or len(options) < 2 or not record.get("question"):
            raise BenchmarkError(
                f"{file.name}: expected index, question, columns A to D, answer and category, got "
                f"{ {name: record[name] for name in record if name != 'image'} }"
            )
        question, hint = str(record["question"]), hint_of(record)
        letter = gold_letter(file, record, options)
        text = "\n".join(part for part in (hint, question, lines(options)) if part)
        said = f"{hint} {question}" if hint else question
        group = str(int(index) % COPIES)
        coarse = str(record.get("l2-category", record.get("L2-category")) or "")
        found.append(Question(
            question_id=index, benchmark="mmbench", kind=str(record.get("category") or "none"),
            text=text, answer=letter, image=image, unit=group, options=options,
            prompt=f"{said} There are several options:\n{lines(options)}\n{LETTER_SUFFIX}",
            closed_kind="multiple_choice", closed_answer=letter,
            join={"question_id": index, **_content(question, options)},
            facts={"group": group, "first": group == index, "l2": coarse},
        ))  # fmt: skip
    _check(found)
    return MultipleChoice(tuple(found), choice_rules.vlmevalkit)


def _content(question: str | None, options: Options) -> dict[str, str]:
    """Return what tells questions of another release apart; the hint stands in some files only."""
    found = {"options": same_text(lines(options))} if options else {}
    if question and options:
        found["text"] = same_text(f"{question}\n{lines(options)}")
    return found


def fields(record: Record) -> Join:
    """Return the fields of an answer: the index and what the file repeats of the question."""
    usual = usual_fields({name: record[name] for name in record if name != "prompt"})
    question = record.get("question")
    found = _content(question if isinstance(question, str) else None, options_of(record))
    return {**found, **{name: usual[name] for name in ("question_id",) if name in usual}}


def _check(questions: Sequence[Question]) -> None:
    if not questions:
        raise BenchmarkError("mmbench needs records with index, question, A to D and answer")
    ids = {q.question_id for q in questions}
    if len(ids) < len(questions):
        raise BenchmarkError("mmbench: an index stands twice")
    if lone := [q.question_id for q in questions if q.facts["group"] not in ids]:
        raise BenchmarkError(
            f"mmbench: {len(lone)} copies without their first question (index {lone[0]})"
        )


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """`circular`, `vanilla`, `vanilla_all` of all, by category and by `l2/` category. Fractions.

    A question's category is that of its first row. As in VLMEvalKit, which scores the rows that a
    file has, a question of a partial file needs only the copies that are answered to be right.
    """
    firsts = {a.score.facts["group"]: a for a in answers if a.score.facts["first"]}
    known = [a for a in answers if a.score.facts["group"] in firsts]
    kinds: dict[str, list[Answer]] = {"all": known}
    for answer in known:
        kinds.setdefault(firsts[answer.score.facts["group"]].kind, []).append(answer)
    for answer in known:
        if l2 := firsts[answer.score.facts["group"]].score.facts["l2"]:
            kinds.setdefault(f"l2/{l2}", []).append(answer)
    return [_block(kind, members) for kind, members in kinds.items()]


def _block(kind: str, answers: Sequence[Answer]) -> Block:
    groups = all_right(answers, lambda a: a.score.facts["group"])
    rows = []
    for answer, group in zip(answers, groups, strict=True):
        first, right = answer.score.facts["first"], bool(answer.score.correct)
        rows.append((*group, first and right, first, right, 1, answer.score.extracted is None))
    return block(kind, [a.unit for a in answers], rows, FIGURES)


FIGURES = (
    Figure("circular", quotient(0, 1)),
    Figure("vanilla", quotient(2, 3)),
    Figure("vanilla_all", quotient(4, 5)),
    Figure("unread", quotient(6, 5), better=-1),
)
