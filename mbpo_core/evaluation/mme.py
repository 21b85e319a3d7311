"""MME (Fu et al. 2023, arXiv 2306.13394): two questions an image, 14 categories, yes or no.

Rule and figures are those of its `eval_tool/calculation.py`: the first four characters of the
lower-cased answer hold "yes", else "no", else the answer is "other" and wrong. ("Know" says no, "Y"
is other; lmms-eval also drops spaces and full stops before and takes "y" and "n".) A category's
score is 100 acc + 100 acc+, with acc over questions and acc+ over images both of whose questions
are right; perception sums ten categories (of 2000), cognition four (of 800).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from mbpo_core.evaluation.groups import all_right, side_by_side
from mbpo_core.evaluation.join import Record, same_image, same_text, usual_fields
from mbpo_core.evaluation.pictures import picture_name, pictures
from mbpo_core.evaluation.protocol import (
    Answer,
    BenchmarkError,
    Join,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, divide

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark",
    "artwork", "OCR",
)  # fmt: skip
COGNITION = (
    "commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning",
)  # fmt: skip
CATEGORIES = PERCEPTION + COGNITION
KEYS = (("split", "image", "text"), ("question_id",))
REQUEST = "Please answer yes or no."
SUFFIX = "\nAnswer the question using a single word or phrase."
"""LLaVA-1.5's and lmms-eval's, in place of `REQUEST`; the official tool asks nothing."""


@dataclass(frozen=True)
class Mme:
    """The questions of one to fourteen categories, two an image."""

    questions: Sequence[Question]

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Read yes, no or other by the official rule and compare it with the label."""
        said = read(response)
        right = said == question.answer
        return Score(
            correct=right, points=float(right), extracted=said, facts={"gold": question.answer},
            rule="first_four_characters" if said else "other",
            said_yes=None if said is None else said == "yes",
        )  # fmt: skip


def read(response: str) -> str | None:
    """Return `yes`, `no`, or None for what the official script calls other."""
    start = response.lower()[:4]
    return next((word for word in ("yes", "no") if word in start), None)


def table(file: SourceFile) -> list[dict[str, Any]]:
    """Return the records of a file; those of a category's text file have its name as `category`.

    Lines of `eval_tool` files are image, question, answer and, in an answer file, response, parted
    by tabs.

    Raises:
        BenchmarkError: a line of another form.
    """
    if isinstance(file.content, list):
        return file.content
    if not isinstance(file.content, str):
        raise BenchmarkError(f"{file.name}: mme needs records, or lines of a category's text file")
    names, found = ("image", "question", "answer", "response"), []
    for number, line in enumerate(file.content.split("\n"), start=1):
        cells = line.rstrip("\r").split("\t")
        if line.strip() and len(cells) not in (3, 4):
            raise BenchmarkError(
                f"{file.name}, line {number}: expected image, question, answer and perhaps "
                f"response, parted by tabs, got {len(cells)} cells"
            )
        if line.strip():
            # LLaVA's converter writes the name of the image's text file.
            cells[0] = cells[0].removesuffix(".txt")
            found.append({"category": PurePosixPath(file.name).stem,
                          **dict(zip(names, cells, strict=False))})  # fmt: skip
    return found


def load(files: Sequence[SourceFile]) -> Mme:
    """Return the benchmark of its labels.

    Args:
        files: text files of `eval_tool` (`existence.txt` ...), lmms-eval's Parquet records,
            VLMEvalKit's TSV records, or any records with category, image, question and answer.
            LLaVA's `llava_mme.jsonl` has no labels, but the paths of the images (some categories
            keep theirs in a folder `images`).

    Raises:
        BenchmarkError: no labels, an unknown category, a label that is neither yes nor no, an image
            without exactly two questions, or a question file of another release.
    """
    questions: dict[str, Question] = {}
    unlabelled: list[tuple[SourceFile, Record]] = []
    for file in files:
        records = table(file)
        for record, picture in zip(records, pictures(records), strict=True):
            if "answer" not in record:
                unlabelled.append((file, record))
                continue
            question = _question(file, record, picture)
            if question.question_id in questions:
                raise BenchmarkError(f"{file.name}: mme question twice: {question.question_id}")
            questions[question.question_id] = question
    if not questions:
        raise BenchmarkError(
            "mme needs labels: <category>.txt of eval_tool (image, question, answer), or records "
            "with category, image, question and answer"
        )
    for unit, count in Counter(q.unit for q in questions.values()).items():
        if count != 2:
            raise BenchmarkError(f"mme has two questions an image, {unit} has {count}")
    for file, record in unlabelled:
        # With an answer beside it, `text` is the question.
        name = "/".join(_content(fields({**record, "answer": None})))
        if name not in questions:
            raise BenchmarkError(f"{file.name}: {name} is not in the files with labels")
        if isinstance(questions[name].image, str):
            questions[name] = replace(questions[name], image=record.get("image"))
    return Mme(tuple(questions.values()))


def _content(join: Join) -> tuple[str, ...]:
    return tuple(join.get(name, "") for name in ("split", "image", "text"))


def _question(file: SourceFile, record: Record, picture: str | bytes | None) -> Question:
    text, label = str(record.get("question") or ""), str(record["answer"]).strip().lower()
    named = fields({name: record[name] for name in record if name != "image"})
    join = {
        "split": named.get("split", ""), "text": same_text(text),
        "image": named.get("image") or picture_name(record, picture),
    }  # fmt: skip
    if label not in ("yes", "no") or not all(join.values()):
        raise BenchmarkError(
            f"{file.name}: no mme question with category, image, question and answer yes or no: "
            f"{str(record)[:200]}"
        )
    if join["split"] not in CATEGORIES:
        raise BenchmarkError(
            f"{file.name}: unknown mme category {join['split']!r}, known: {', '.join(CATEGORIES)}"
        )
    if "question_id" in named:
        join["question_id"] = named["question_id"]
    asked = text.strip().removesuffix(REQUEST).rstrip()
    return Question(
        question_id="/".join(_content(join)), benchmark="mme", kind=join["split"], text=text,
        prompt=asked + SUFFIX, answer=label, join=join, unit=f"{join['split']}/{join['image']}",
        image=_placed(picture, join["split"]), closed_kind="yes_no", closed_answer=label,
    )  # fmt: skip


def _placed(picture: str | bytes | None, category: str) -> str | bytes | None:
    """Return a path in the folder of all categories for one in a category's folder."""
    if isinstance(picture, str) and not PurePosixPath(picture).is_relative_to(category):
        return f"{category}/{picture}"
    return picture


def fields(record: Record) -> Join:
    """Return the fields of an answer. Ids as `count/images/0001.png` name category and image.

    Such an id stands for two questions, so it is no `question_id`.
    """
    found: dict[str, str] = dict(usual_fields(record))
    parts = PurePosixPath(str(record.get("question_id", ""))).parts
    if len(parts) > 1:
        del found["question_id"]
        found["split"], found["image"] = parts[0], same_image(parts[-1])
    elif isinstance(path := record.get("image_path"), str) and path:
        found["image"] = same_image(path)
    return found


TERMS = ("right", "n", "pairs_right", "pairs", "tp", "fp", "fn", "other")


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """Score, acc, acc+ of each category; the scores of perception and cognition.

    `acc` and `acc_plus` are fractions, `score` = 100 acc + 100 acc+ as the official tool prints it.
    An image with one answer (of a partial file) is in acc, not in acc+. Scores of perception and
    cognition sum the categories that there are, which are those with a figure of their own; `score`
    of `all` sums both. `precision` and `recall` (of yes) leave "other" answers out, as the official
    tool computes them; it counts 0 where they are undefined. `other` is the share of such answers.
    """
    found, rows = [], {}
    for category in CATEGORIES:
        members = [a for a in answers if a.kind == category]
        if members:
            rows[category] = list(_rows(members))
            found.append(block(category, [a.unit for a in members], rows[category], FIGURES))
    for name, categories in (("perception", PERCEPTION), ("cognition", COGNITION),
                             ("all", CATEGORIES)):  # fmt: skip
        present = [c for c in categories if c in rows]
        units = [a.unit for c in present for a in answers if a.kind == c]
        if present:
            figures = [Figure("score", _total)]
            found.append(block(name, units, side_by_side([rows[c] for c in present]), figures))
    pooled = [row for category in rows for row in rows[category]]
    units = [a.unit for category in rows for a in answers if a.kind == category]
    return [*found, block("all", units, pooled, FIGURES[1:])]


def _rows(answers: Sequence[Answer]) -> Iterator[tuple[float, ...]]:
    pairs = all_right(answers, lambda a: a.unit, size=2)
    for answer, pair in zip(answers, pairs, strict=True):
        said, gold = answer.score.said_yes, answer.score.facts["gold"] == "yes"
        confusion = (said is True and gold, said is True and not gold, said is False and gold)
        yield (bool(answer.score.correct), 1, *pair, *confusion, said is None)


def _score(sums: Sums) -> Sums:
    acc, plus = divide(sums[..., 0], sums[..., 1]), divide(sums[..., 2], sums[..., 3])
    return 100 * acc + 100 * plus


def _total(sums: Sums) -> Sums:
    return _score(sums.reshape(*sums.shape[:-1], -1, len(TERMS))).sum(-1)


FIGURES = (
    Figure("score", _score),
    Figure("acc", lambda s: divide(s[..., 0], s[..., 1])),
    Figure("acc_plus", lambda s: divide(s[..., 2], s[..., 3])),
    Figure("precision", lambda s: divide(s[..., 4], s[..., 4] + s[..., 5])),
    Figure("recall", lambda s: divide(s[..., 4], s[..., 4] + s[..., 6])),
    Figure("other", lambda s: divide(s[..., 7], s[..., 1]), better=-1),
)
"""Of sums over `TERMS`."""
