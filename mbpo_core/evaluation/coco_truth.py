"""The objects that COCO's annotations know in an image: the truth of CHAIR and Object HalBench.

An object is in an image if one of its instance masks is of that category or one of its five
captions names it, by the same rules as in the captions that are judged. The images are those of
COCO 2014 (train and val), by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mbpo_core.evaluation.coco_objects import Vocabulary, mentions
from mbpo_core.evaluation.join import same_image, same_text
from mbpo_core.evaluation.lemmatisers import Lemmatiser
from mbpo_core.evaluation.pictures import picture_of
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile

FILES = (
    "coco2014_imid_to_objects.json (image number to its objects), or COCO's instances_*2014.json "
    "and captions_*2014.json"
)
_TRUTH_COLUMN = "gt_object"
"""Of the questions that lmms-eval asks: they bring their objects along."""


@dataclass(frozen=True)
class Asked:
    """One image that is asked about, and how."""

    image: str
    """COCO's number."""
    text: str | None = None
    """The question, where the file has one."""
    picture: str | bytes | None = None
    """Path or bytes."""
    question_id: str | None = None
    """Under which answers may name it."""
    objects: Sequence[str] | None = None
    """The truth, where it stands beside the question."""


@dataclass(frozen=True)
class Truth:
    """What is known and what is asked."""

    objects: Mapping[str, frozenset[str]]
    """By image."""
    asked: Sequence[Asked]
    names: Mapping[str, str] = field(default_factory=dict)
    """File names of COCO by image."""


def objects_from_coco(
    instances: Sequence[Mapping[str, Any]],
    captions: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    lemmatiser: Lemmatiser,
    images: Iterable[str] | None = None,
) -> dict[str, frozenset[str]]:
    """Return the objects of each image, as `get_annotations` of the official scripts.

    Args:
        instances: values of `instances_*.json`.
        captions: values of `captions_*.json`.
        vocabulary: words for objects.
        lemmatiser: the one that judges the captions of models too.
        images: those that are wanted; None for all.

    Raises:
        BenchmarkError: a category that the vocabulary does not know, images that only one of the
            two kinds of file knows, data of the lemmatiser is missing.
    """
    known = [{_number(i["id"]) for file in kind for i in file.get("images", ())}
             for kind in (instances, captions)]  # fmt: skip
    if known[0] != known[1]:
        odd = sorted(known[0] ^ known[1], key=int)
        raise BenchmarkError(
            f"{len(odd)} images, as {odd[0]}, are in instances_*.json or in captions_*.json but "
            "not in both: the truth of CHAIR needs both of each part of COCO"
        )
    wanted = known[0] if images is None else known[0] & set(images)
    found: dict[str, set[str]] = {image: set() for image in wanted}
    for file in instances:
        names = {c["id"]: c["name"] for c in file["categories"]}
        if strange := sorted(set(names.values()) - set(vocabulary.nodes)):
            raise BenchmarkError(f"instances_*.json: {strange} are not in the list of synonyms")
        for annotation in file["annotations"]:
            if (image := _number(annotation["image_id"])) in found:
                found[image].add(vocabulary.nodes[names[annotation["category_id"]]])
    for annotation in (a for file in captions for a in file["annotations"]):
        if (image := _number(annotation["image_id"])) in found:
            found[image].update(mentions(annotation["caption"], vocabulary, lemmatiser).nodes)
    return {image: frozenset(objects) for image, objects in found.items()}


def read_truth(
    files: Sequence[SourceFile], benchmark: str, vocabulary: Vocabulary, lemmatiser: Lemmatiser
) -> Truth:
    """Return objects by image and the questions, if a file has them.

    Raises:
        BenchmarkError: no truth or two, objects that the vocabulary does not know, a question
            about an image without truth.
    """
    every = [_asked(f, r) for f in files if isinstance(f.content, list) for r in f.content]
    asked = list({(a.image, same_text(a.text or "")): a for a in every}.values())
    values = [f for f in files if isinstance(f.content, dict)]
    coco = [f.content for f in values if "annotations" in f.content]
    instances = [content for content in coco if "categories" in content]
    captions = [content for content in coco if "categories" not in content]
    tables = [f for f in values if _is_table(f.content)]
    beside = {a.image: frozenset(a.objects) for a in asked if a.objects is not None}
    if sum((bool(instances or captions), bool(tables), bool(beside))) != 1 or len(tables) > 1:
        raise BenchmarkError(f"{benchmark} needs one truth: {FILES}")
    images = {a.image for a in asked} or None
    if beside:
        objects: Mapping[str, frozenset[str]] = beside
    elif tables:
        objects = {_number(image): frozenset(o) for image, o in tables[0].content.items()}
    else:
        try:
            objects = objects_from_coco(instances, captions, vocabulary, lemmatiser, images)
        except (KeyError, TypeError) as error:
            raise BenchmarkError(f"{benchmark}: COCO's files lack {error}; {FILES}") from error
    if strange := sorted(frozenset().union(*objects.values()) - set(vocabulary.nodes.values())):
        raise BenchmarkError(
            f"{benchmark}: {', '.join(strange[:5])} in the truth head no line of the synonyms"
        )
    if images and (without := sorted(images - set(objects))):
        raise BenchmarkError(f"{benchmark}: nothing is known of image {without[0]} "
                             f"({len(without)} such): the truth is of other images")  # fmt: skip
    names = {_number(i["id"]): i["file_name"] for f in instances for i in f.get("images", ())
             if "file_name" in i}  # fmt: skip
    return Truth(objects, asked or [Asked(image) for image in objects], names)


def _is_table(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(
        str(image).isdigit() and isinstance(words, list) and all(isinstance(w, str) for w in words)
        for image, words in value.items()
    )


def _asked(file: SourceFile, record: Any) -> Asked:
    if not isinstance(record, Mapping):
        raise BenchmarkError(f"{file.name}: no question with image or image_id: {record!r:.80}")
    picture = picture_of(record)
    path = picture if isinstance(picture, str) else _path(record)
    # A path names its image; only where there is none is `question_id` the number (lmms-eval).
    name = next((record[n] for n in ("image_id", "image_source") if _given(record.get(n))), path)
    asked = record.get("question_id")
    image = _number(name if name is not None else asked)
    if not image.isdigit():
        raise BenchmarkError(
            f"{file.name}: a question names no image by COCO's number: {dict(record)!r:.120}"
        )
    text = next((record[n] for n in ("question", "prompt", "text") if record.get(n)), None)
    return Asked(
        image, text=text, picture=picture, objects=record.get(_TRUTH_COLUMN),
        question_id=None if asked is None or name is None else str(asked),
    )  # fmt: skip


def _path(record: Mapping[str, Any]) -> str | None:
    """Return the path beside the bytes of a Parquet image, if it is named by COCO's number."""
    path = record["image"].get("path") if isinstance(record.get("image"), Mapping) else None
    return path if path and _number(path).isdigit() else None


def _given(value: Any) -> bool:
    return value is not None and value != ""


def _number(image: Any) -> str:
    return same_image(image)
