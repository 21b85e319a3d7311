"""HallusionBench (Guan et al. 2023, arXiv 2310.14566): yes/no questions in figures and pairs.

Figures are those of its `utils.py` and `evaluation.py`, in its percent, rounded to four decimals:
aAcc of questions, fAcc of figures all of whose questions are right (questions without a figure, VS
and figure 0, left out), qAcc of question pairs (the same question over the figures of a set), and
"easy" and "hard" aAcc, which in spite of their name are of pairs too: over the questions whose
visual input is original or none, and over those whose picture was edited.

An answer is right, wrong or unclear; unclear is right where a VS question is asked without its
figure, else wrong. `hallusion_bench` finds out offline, by VLMEvalKit's rule for yes and no against
`gt_answer`; `hallusion_bench-judge` asks a model as the official script does. VLMEvalKit scores the
951 questions with a figure, and its fAcc and qAcc group by subcategory and set alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mbpo_core.evaluation.join import Record, same_text, usual_fields
from mbpo_core.evaluation.judge import prompt_text, unjudged
from mbpo_core.evaluation.pictures import pictures
from mbpo_core.evaluation.protocol import (
    BenchmarkError,
    Join,
    JudgeRequest,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.stored_reviews import hallusion_checks, is_own, own

KEYS = (("question_id",),)
PLACE = ("category", "subcategory", "set_id", "figure_id", "question_id")
"""Fields that name a question; joined by `_` they are its id."""
JUDGEMENTS = {"1": "correct", "0": "incorrect", "2": "unclear"}


@dataclass(frozen=True)
class HallusionBench:
    """The questions, scored by their yes or no."""

    questions: Sequence[Question]

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read yes or no; neither or both is unclear."""
        said = said_yes(response)
        verdict = "2" if said is None else str(int(said == (question.answer == "yes")))
        word = None if said is None else "yes" if said else "no"
        return replace(_scored(question, verdict), extracted=word, said_yes=said,
                       rule="only_word" if word else "unknown")  # fmt: skip


@dataclass(frozen=True)
class JudgedHallusionBench:
    """The questions, scored by a model that compares an answer with the reference."""

    questions: Sequence[Question]

    def request(self, question: Question, response: str) -> JudgeRequest:
        """Return the official prompt; the script sets no temperature, which is 1 at OpenAI."""
        prompt = prompt_text("hallusion_bench").format(
            question=question.text, reference=question.facts["reference"], answer=response
        )
        return JudgeRequest(({"role": "user", "content": prompt},), temperature=1.0)

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Look for "incorrect", then "correct" in what the judge said; anything else is unclear."""
        if review is None:
            return unjudged()
        said = review.text.lower()
        verdict = "0" if "incorrect" in said else "1" if "correct" in said else "2"
        read = JUDGEMENTS[verdict] if JUDGEMENTS[verdict] in said else None
        return replace(_scored(question, verdict), extracted=read,
                       rule="judge" if read else "judge_neither")  # fmt: skip


def reviews(questions: Sequence[Question], file: SourceFile) -> dict[str, Review]:
    """Read the saved output of the official script (a field `..._gpt_check`), or our own JSONL."""
    if is_own(file):
        return own(questions, file)
    return hallusion_checks(questions, file, KEYS, fields)


def _scored(question: Question, verdict: str) -> Score:
    no_figure = question.facts["category"] == "VS" and question.facts["figure_id"] == "0"
    right = verdict == "1" or (verdict == "2" and no_figure)
    facts = {name: question.facts[name] for name in (*PLACE, "visual_input")}
    gold = {"gold": question.answer} if question.answer else {}
    return Score(correct=right, points=float(right),
                 facts={**facts, **gold, "verdict": JUDGEMENTS[verdict]})  # fmt: skip


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"(?<!\d)\.(?!\d)")
_FULL_STOPS = 32
"""VLMEvalKit passes `re.UNICODE` (32) where `re.sub` takes the greatest number of replacements."""


def said_yes(response: str) -> bool | None:
    """Return whether yes or no is among the words, as VLMEvalKit's `YOrN_Extraction`.

    None where neither or both are. A mark that touches a space is dropped, else it parts words;
    other marks ("*", ":") stay part of a word.
    """
    text = plain = response.lower()
    for mark in _MARKS:
        dropped = f"{mark} " in text or f" {mark}" in text or _DIGITS.search(text)
        plain = plain.replace(mark, "" if dropped else " ")
    words = _FULL_STOP.sub("", plain, count=_FULL_STOPS).split()
    return ("yes" in words) if ("yes" in words) != ("no" in words) else None


def load(files: Sequence[SourceFile]) -> HallusionBench:
    """Return the benchmark with yes/no read offline.

    Args:
        files: `HallusionBench.json`, lmms-lab's Parquet records of the same fields, or VLMEvalKit's
            TSV (index, category, l2-category, question, answer, image).

    Raises:
        BenchmarkError: no questions, a field that is missing, an answer that is neither yes nor no.
    """
    questions = _questions(files)
    if without := [q.question_id for q in questions if not q.answer]:
        raise BenchmarkError(
            f"{len(without)} questions have no gt_answer ({without[0]}); hallusion_bench needs it, "
            "hallusion_bench-judge does not"
        )
    return HallusionBench(questions)


def load_judged(files: Sequence[SourceFile]) -> JudgedHallusionBench:
    """Return the benchmark that is scored by a judge; files as in `load`.

    Raises:
        BenchmarkError: no questions, a field that is missing, no reference (`gt_answer_details`).
    """
    questions = tuple(replace(q, benchmark="hallusion_bench-judge") for q in _questions(files))
    if without := [q.question_id for q in questions if not q.facts["reference"]]:
        raise BenchmarkError(f"{len(without)} questions have no gt_answer_details ({without[0]})")
    return JudgedHallusionBench(questions)


def _questions(files: Sequence[SourceFile]) -> tuple[Question, ...]:
    found = []
    for file in files:
        if not isinstance(file.content, list):
            raise BenchmarkError(f"{file.name}: expected records of HallusionBench.json")
        for record, picture in zip(file.content, pictures(file.content), strict=True):
            found.append(_question(file, record, picture))
    if not found:
        raise BenchmarkError("hallusion_bench needs the records of HallusionBench.json")
    if len({q.question_id for q in found}) < len(found):
        raise BenchmarkError("hallusion_bench: a question stands twice")
    return tuple(found)


def _question(file: SourceFile, record: Record, picture: str | bytes | None) -> Question:
    place, text = _place(record), record.get("question")
    gold = str(record.get("gt_answer", record.get("answer", ""))).strip().lower()
    answer = {"1": "yes", "0": "no", "yes": "yes", "no": "no", "": ""}.get(gold)
    if place is None or not text or answer is None:
        raise BenchmarkError(
            f"{file.name}: expected {', '.join(PLACE)}, question and gt_answer, got "
            f"{str(record)[:200]}"
        )
    name = "_".join(place[field] for field in PLACE)
    if place["visual_input"] == "0":
        picture = None
    elif picture is None:
        picture = str(record.get("filename") or "").removeprefix("./") or None
    return Question(
        question_id=name, benchmark="hallusion_bench", text=text, prompt=text, answer=answer,
        kind=f"{place['category']}/{place['subcategory']}", image=picture,
        unit="_".join(place[field] for field in PLACE[:3]), closed_answer=answer or None,
        closed_kind="yes_no" if answer else None,
        join={"question_id": name, "text": same_text(text)},
        facts={**place, "reference": str(record.get("gt_answer_details") or "")},
    )  # fmt: skip


def _place(record: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the fields of `PLACE` and the visual input; None where the record does not have them.

    The index of VLMEvalKit's table ends on visual input, set, figure and question.
    """
    if all(name in record for name in PLACE):
        place = {name: str(record[name]) for name in PLACE}
        return {**place, "visual_input": str(record.get("visual_input", ""))}
    parts = str(record.get("index", "")).split("_")
    if len(parts) != 6 or "category" not in record:
        return None
    sub = str(record.get("l2-category") or parts[1]).split("_")[-1]
    rest = dict(zip(("visual_input", *PLACE[2:]), parts[2:], strict=True))
    return {"category": str(record["category"]), "subcategory": sub, **rest}


def fields(record: Record) -> Join:
    """Return the fields of an answer; the five that name a question make its id."""
    found: dict[str, str] = dict(usual_fields(record))
    if (place := _place(record)) is not None:
        found["question_id"] = "_".join(place[field] for field in PLACE)
    found.pop("split", None)  # the category, VD or VS
    return found
