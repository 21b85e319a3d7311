"""AI2D (Kembhavi et al. 2016), the test questions with options, as lmms-eval's `ai2d` scores it.

Prompt, rule (`choice_rules.ai2d`) and accuracy over all questions are lmms-eval's. Several
questions are about one diagram, so the interval is drawn over diagrams.
"""

from __future__ import annotations

from collections.abc import Sequence

from mbpo_core.evaluation import choice_rules
from mbpo_core.evaluation.choice_files import (
    LETTER_SUFFIX,
    gold_letter,
    lines,
    numbered,
    options_of,
)
from mbpo_core.evaluation.choices import BY_UNIT, MultipleChoice, accuracy
from mbpo_core.evaluation.join import same_text
from mbpo_core.evaluation.pictures import picture_name, pictures
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Question, SourceFile
from mbpo_core.evaluation.statistics import Block

KEYS = (("question_id",),)


def load(files: Sequence[SourceFile]) -> MultipleChoice:
    """Return the benchmark.

    Args:
        files: lmms-eval's Parquet records (question, options, answer as place from 0, image), whose
            ids are their places from 0 over the files in order; or VLMEvalKit's `AI2D_TEST.tsv`
            (index, question, A to D, answer as letter, image).

    Raises:
        BenchmarkError: no questions, a record without question or options, an unknown answer.
    """
    rows = list(numbered(files))
    found = []
    images = pictures([record for _, _, record in rows])
    for (file, place, record), image in zip(rows, images, strict=True):
        options = options_of(record)
        if len(options) < 2 or not record.get("question"):
            raise BenchmarkError(
                f"{file.name}: expected question, and options or columns A to D, got "
                f"{', '.join(map(str, record))}"
            )
        text = f"{record['question']}\n{lines(options)}"
        letter = gold_letter(file, record, options)
        number = str(record.get("index", place))
        found.append(Question(
            question_id=number, benchmark="ai2d", kind="test", text=text, answer=letter,
            prompt=text + LETTER_SUFFIX, image=image, unit=picture_name(record, image),
            closed_kind="multiple_choice", closed_answer=letter, options=options,
            join={"question_id": number, "text": same_text(text)},
        ))  # fmt: skip
    if not found:
        raise BenchmarkError("ai2d needs records with question, options, answer and image")
    return MultipleChoice(tuple(found), choice_rules.ai2d)


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy, as a fraction."""
    return [accuracy("all", answers, BY_UNIT)]
