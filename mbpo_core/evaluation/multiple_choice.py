"""Multiple choice from any file in LLaVA's manner, read by the project's own rules.

Options and gold answer are found as in training (`mbpo_core.data.closed_ended`), and answers are
read by the verifier of the online reward (`mbpo_core.rewards.verify`): letters, option texts and
whatever states one of them; two different ones are wrong. Each turn of a conversation is a question
of its own, asked without the turns before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mbpo_core.data.answers import Extraction
from mbpo_core.data.choices import extract_choice
from mbpo_core.data.closed_ended import detect_closed_ended
from mbpo_core.data.messages import BadRecord, conversation, pair_up, text_of
from mbpo_core.data.texts import without_image_token
from mbpo_core.evaluation.choice_files import (
    LETTER_SUFFIX,
    choice_fields,
    gold_letter,
    hint_of,
    lines,
    numbered,
    options_of,
)
from mbpo_core.evaluation.choices import BY_UNIT, MultipleChoice, accuracy
from mbpo_core.evaluation.join import Record, same_text, usual_fields
from mbpo_core.evaluation.pictures import picture_name, pictures
from mbpo_core.evaluation.protocol import Answer, BenchmarkError, Join, Question, SourceFile
from mbpo_core.evaluation.statistics import Block
from mbpo_core.records import Options

KEYS = (("question_id",), ("image", "text"), ("text",))


def rule(response: str, options: Options) -> Extraction:
    """Read one option as the verifier does."""
    return extract_choice(response, options)


def load(files: Sequence[SourceFile]) -> MultipleChoice:
    """Return the benchmark.

    Args:
        files: records with a conversation (`conversations`, `messages`) or question and answer,
            the options in the question's text, in `options` or `choices`, or in columns A, B, ...;
            the answer is a letter, the place in a list, or an option's text. An `id` (or
            `question_id`, `index`) is used where there is one, else the place from 0; turns of one
            record add `#1`, `#2`, ... `category`, if there is one, is the question's kind.

    Raises:
        BenchmarkError: no questions, a turn that is no multiple choice, an id twice.
    """
    rows, found = list(numbered(files)), []
    images = pictures([record for _, _, record in rows])
    for (file, place, record), image in zip(rows, images, strict=True):
        number = next(
            (str(record[n]) for n in ("question_id", "id", "index") if record.get(n) is not None),
            str(place),
        )
        unit = picture_name(record, image) or number
        for turn, (text, letter, options) in enumerate(_turns(file, record)):
            name = f"{number}#{turn}" if turn else number
            join = {"question_id": name, "text": same_text(text), "image": unit}
            found.append(Question(
                question_id=name, benchmark="multiple_choice", image=image, text=text,
                kind=str(record.get("category") or "test"), answer=letter, unit=unit,
                prompt=text if _asks_for_letter(text) else text + LETTER_SUFFIX, options=options,
                closed_kind="multiple_choice", closed_answer=letter,
                join={key: value for key, value in join.items() if image or key != "image"},
            ))  # fmt: skip
    if not found:
        raise BenchmarkError("multiple_choice needs records with conversations, or with question, "
                             "options and answer")  # fmt: skip
    if len({q.question_id for q in found}) < len(found):
        raise BenchmarkError("multiple_choice: an id stands twice")
    return MultipleChoice(tuple(found), rule)


def _turns(file: SourceFile, record: Record) -> Iterator[tuple[str, str, Options]]:
    """Yield text, letter and options of each question of a record."""
    options = options_of(record)
    if options and isinstance(record.get("question"), str):
        hint = hint_of(record)
        text = "\n".join(part for part in (hint, record["question"], lines(options)) if part)
        yield without_image_token(text), gold_letter(file, record, options), options
        return
    for question, answer in _said(file, record):
        closed = detect_closed_ended(question, answer)
        if closed is None or closed.kind != "multiple_choice":
            raise BenchmarkError(
                f"{file.name}: no multiple choice with its answer among the options: "
                f"{question[:200]!r}, answer {answer[:80]!r}"
            )
        yield question, closed.answer, closed.options


def _said(file: SourceFile, record: Record) -> Iterator[tuple[str, str]]:
    try:
        said = conversation(record)
        if said is None:
            said = [("question", record.get("question", record.get("text"))),
                    ("answer", record.get("answer"))]  # fmt: skip
        for turn in pair_up(said):
            yield without_image_token(text_of(turn.question)), text_of(turn.answer).strip()
    except BadRecord as error:
        raise BenchmarkError(f"{file.name}: {error}: {str(record)[:200]}") from error


def _asks_for_letter(text: str) -> bool:
    return "letter" in text.rstrip().rpartition("\n")[2].casefold()


def fields(record: Record) -> Join:
    """Return the fields of an answer: id, text with the options, image.

    A question that is repeated without its options is not compared: the texts here have them.
    """
    usual = usual_fields(record)
    image = {"image": usual["image"]} if "image" in usual else {}
    return {**image, **choice_fields(record)}


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Accuracy of all and, where the file tells categories, of each, as fractions."""
    found = [accuracy("all", answers, BY_UNIT)]
    kinds: dict[str, list[Answer]] = {}
    for answer in answers:
        kinds.setdefault(answer.kind, []).append(answer)
    if len(kinds) > 1:
        found += [accuracy(kind, members, BY_UNIT) for kind, members in kinds.items()]
    return found
