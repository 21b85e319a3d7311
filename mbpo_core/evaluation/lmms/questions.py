"""Questions of our own tasks in the one form that their lmms-eval documents have.

A document is flat and all text, because `datasets` wants one type per column: `question_id`,
`image` (relative to the image root), `question`, and `details`, JSON with what the scorer needs.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mbpo_core.evaluation import embedded
from mbpo_core.evaluation.protocol import Question
from mbpo_core.testbed.scenes import Flavour

_LONGEST_FILE_NAME: Final = 255


@dataclass(frozen=True)
class Document:
    """One question as lmms-eval gets it."""

    question_id: str
    image: str
    question: str
    details: str


def document(question_id: str, image: str, question: str, details: dict[str, Any]) -> Document:
    """Make a document; equal details give equal text."""
    return Document(question_id, image, question, json.dumps(details, ensure_ascii=False))


def write_documents(path: Path, documents: list[Document]) -> None:
    """Write one JSON object a line.

    Raises:
        ValueError: none at all, or two with the same id.
    """
    ids = [found.question_id for found in documents]
    if not ids or len(set(ids)) != len(ids):
        raise ValueError(f"{path.name}: expected questions with different ids, got {len(ids)}")
    lines = [json.dumps(asdict(found), ensure_ascii=False) for found in documents]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def embedded_documents(flavour: Flavour, n_scenes: int, images: Path) -> list[Document]:
    """Write the pictures of test scenes and return one question of every kind for each.

    The same questions, in the same order, as `mbpo_core.evaluation.embedded.load`.

    Args:
        flavour: `counter` (scenes break the prior) or `consistent`.
        n_scenes: how many, at least 1.
        images: folder for the PNGs, made if missing.

    Raises:
        ValueError: as `mbpo_core.testbed.world.scenes`.
    """
    images.mkdir(parents=True, exist_ok=True)
    found = []
    for question in embedded.load("test", flavour, n_scenes).questions:
        name = f"{flavour}-{question.unit}.png"
        (images / name).write_bytes(question.image)
        facts = asdict(question) | {"image": name}
        found.append(document(question.question_id, name, question.prompt, facts))
    return found


def embedded_question(details: str) -> Question:
    """Return the question that a document of the embedded world was made of.

    Raises:
        KeyError, TypeError: the details are of another task.
    """
    facts = json.loads(details)
    facts["options"] = tuple((letter, text) for letter, text in facts["options"])
    return Question(**facts)


def amber_documents(queries: Path, annotations: Path) -> list[Document]:
    """Join AMBER's discriminative queries with their annotations, by id.

    Args:
        queries: `query_all.json` or `query_discriminative.json`, also gzipped; generative queries
            are left out, as they are another task.
        annotations: `annotations.json`.

    Raises:
        ValueError: a file of another form, or a query without annotation.
    """
    known = {row["id"]: row for row in _records(annotations, ("id", "type", "truth"))}
    found = []
    for query in _records(queries, ("id", "image", "query")):
        truth = known.get(query["id"])
        if truth is None:
            raise ValueError(f"{queries}: no annotation for query {query['id']} in {annotations}")
        if truth["type"] != "generative":
            facts = {"id": query["id"], "type": truth["type"], "truth": truth["truth"]}
            found.append(document(str(query["id"]), query["image"], query["query"], facts))
    if not found:
        raise ValueError(f"{queries} has no discriminative query")
    return found


def mmhal_documents(template: Path) -> list[Document]:
    """Return the questions of MMHal-Bench in the order of its answer template.

    The order is part of the benchmark: a question's type is its position modulo 8. Images are
    expected under the last part of their address, as a download by address names them.

    Raises:
        ValueError: a file of another form.
    """
    fields = ("image_id", "image_src", "question", "gt_answer")
    found = []
    for number, row in enumerate(_records(template, fields)):
        image = row["image_src"].rpartition("/")[2]
        found.append(document(f"{number:03d}", image, row["question"], row))
    return found


def object_halbench_documents(questions: Path, unpacked: Path) -> list[Document]:
    """Return the prompts of Object HalBench: JSON list or lines with image_id, image, question.

    `image` is a file name, or the picture itself in base64 as in the published
    `obj_halbench_300_with_image.jsonl`. An id may occur more than once, as the benchmark asks
    several wordings for each image.

    Args:
        questions: the file.
        unpacked: folder for pictures that the file holds, made if there are any.

    Raises:
        ValueError: a file of another form, or a picture that is no base64.
    """
    found = []
    for number, row in enumerate(_records(questions, ("image_id", "image", "question"))):
        image = row["image"]
        if len(image) > _LONGEST_FILE_NAME:
            image = str(_unpack(image, unpacked / f"{number:05d}", f"{questions}, {number}"))
        facts = {"image_id": row["image_id"], "question": row["question"]}
        found.append(document(f"{number:05d}", image, row["question"], facts))
    return found


def _unpack(picture: str, path: Path, where: str) -> Path:
    try:
        data = base64.b64decode(picture, validate=True)
    except ValueError as error:
        raise ValueError(f"{where}: the image is neither a file name nor base64: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path.absolute()


def _records(path: Path, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(_rows(path)):
        lacking = [name for name in fields if not isinstance(row, dict) or name not in row]
        if lacking:
            raise ValueError(f"{path}, record {number}: expected {', '.join(lacking)} in it")
        yield row


def _rows(path: Path) -> list[Any]:
    """Read a JSON list or JSON lines, gzipped or not."""
    if not path.is_file():
        raise FileNotFoundError(f"no question file: {path}")
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        if text.lstrip().startswith("["):
            return json.loads(text)
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is neither a JSON list nor JSON lines: {error}") from None
