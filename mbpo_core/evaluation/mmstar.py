"""MMStar (Chen et al. 2024, arXiv 2403.20330): six categories of three axes each.

Rule (`choice_rules.mmstar`) and figures are those of its own `eval/vlmeval/evaluate/mmstar.py`.
**Two averages are about.** `accuracy` of `all` is the official "final score": right answers over
all answers (micro). `average_l2` is lmms-eval's "average": the mean over the 18 axes of their
accuracies (macro); on one file of answers they differed by 0.65 points. lmms-eval had the official
rule until April 2026 (0.7.1) and reads letters more freely since.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mbpo_core.evaluation import choice_rules
from mbpo_core.evaluation.choice_files import (
    choice_fields,
    gold_letter,
    lines,
    numbered,
    options_of,
)
from mbpo_core.evaluation.choices import INDEPENDENT, MultipleChoice, accuracy
from mbpo_core.evaluation.groups import side_by_side
from mbpo_core.evaluation.join import Record, same_text
from mbpo_core.evaluation.pictures import pictures
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Join, Question, SourceFile
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, divide
from mbpo_core.records import Options

KEYS = (("question_id",),)
SUFFIX = "\nAnswer with the option's letter from the given choices directly"
"""lmms-eval's, which ends without a full stop here."""
FOUR: Options = tuple((letter, "") for letter in "ABCD")
"""Options whose texts stand within the question."""
_STEM = re.compile(r"^(?:Hint:.*?\nQuestion:)?(.*?)(?:\n?\s*(?:Options|Choices):.*)?$", re.DOTALL)


def load(files: Sequence[SourceFile]) -> MultipleChoice:
    """Return the benchmark.

    Args:
        files: Parquet or TSV records with index, question (most with the options in its text),
            answer as letter, category, l2_category and image; columns A to D, if there are any,
            hold the options.

    Raises:
        BenchmarkError: no questions, a field that is missing, an unknown answer, an index twice.
    """
    rows, found = list(numbered(files)), []
    images = pictures([record for _, _, record in rows])
    for (file, _, record), image in zip(rows, images, strict=True):
        needed = ("index", "question", "answer", "category", "l2_category")
        if absent := [name for name in needed if record.get(name) is None]:
            raise BenchmarkError(f"{file.name}: an MMStar record without {', '.join(absent)}")
        options = options_of(record) or FOUR
        text = str(record["question"])
        letter = gold_letter(file, record, options)
        listed = f"\nOptions:\n{lines(options)}" if options is not FOUR else ""
        found.append(Question(
            question_id=str(record["index"]), benchmark="mmstar", kind=record["category"],
            text=text, prompt=text.strip() + listed + SUFFIX, answer=letter, image=image,
            closed_kind="multiple_choice", closed_answer=letter, options=options,
            join={"question_id": str(record["index"]), "text": stem(text)},
            facts={"l2": str(record["l2_category"])},
        ))  # fmt: skip
    if not found:
        raise BenchmarkError("mmstar needs records with index, question, answer and category")
    if len({q.question_id for q in found}) < len(found):
        raise BenchmarkError("mmstar: an index stands twice")
    return MultipleChoice(tuple(found), choice_rules.mmstar)


def stem(text: str) -> str:
    """Return a question without hint and options: some releases have them in other columns."""
    match = _STEM.match(text)
    return same_text(match[1] if match else text)


def fields(record: Record) -> Join:
    """Return the fields of an answer: the index and the question without its options."""
    found = {name: value for name, value in choice_fields(record).items() if name != "text"}
    for name in ("question", "prompt", "input"):
        if isinstance(record.get(name), str):
            return {**found, "text": stem(record[name])}
    return found


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy of all, of each category and of each `category(axis)`; `average_l2`. Fractions.

    The official script divides by 250 and 1500, here it is by the answers that there are: the same
    for a complete file. `average_l2` is over the axes that there are.
    """
    categories: dict[str, list[Answer]] = {}
    axes: dict[str, list[Answer]] = {}
    for answer in answers:
        l2 = answer.score.facts["l2"]
        categories.setdefault(answer.kind, []).append(answer)
        axes.setdefault(f"{answer.kind}({l2})", []).append(answer)
    groups = {**categories, **axes}
    found = [accuracy(kind, members, INDEPENDENT) for kind, members in groups.items()]
    parts = [[(float(bool(a.score.correct)), 1.0) for a in members] for members in axes.values()]
    units = [a.unit for members in axes.values() for a in members]
    macro = block("all", units, side_by_side(parts), [Figure("average_l2", _mean)])
    return [*found, accuracy("all", answers, INDEPENDENT), macro]


def _mean(sums: Sums) -> Sums:
    each = sums.reshape(*sums.shape[:-1], -1, 2)
    return divide(each[..., 0], each[..., 1]).mean(-1)
