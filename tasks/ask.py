"""ask -> questions: the questions of all benchmarks, with their images as a policy reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa

from mbpo_core.config import Benchmark as BenchmarkConfig
from mbpo_core.config import HeldOutBenchmark, PublishedBenchmark, Recipe
from mbpo_core.data.images import ImagePolicy, image_id, prepare_image
from mbpo_core.data.sources import read_image
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.protocol import Question
from mbpo_core.mining.png import decode_png
from mbpo_core.records import Refusal
from storage.identity import digest
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import IMAGE, TableSpec
from tasks.benchmark_files import fingerprint_answers, fingerprint_files
from tasks.benchmarks import answered_only, asked, image_root, published
from tasks.clock import around_the_model
from tasks.ingest import FACTOR
from tasks.rows import chunk
from tasks.runtime import Runtime
from tasks.sources import file_states
from tasks.stage import Job, ShardRows, Stage, slices

QUESTIONS = TableSpec(
    "questions",
    pa.schema(
        [
            ("asked_id", pa.string()),
            ("benchmark", pa.string()),
            ("question_id", pa.string()),
            ("kind", pa.string()),
            ("unit", pa.string()),
            ("text", pa.string()),
            ("prompt", pa.string()),
            ("answer", pa.string()),
            ("max_new_tokens", pa.int32()),
            ("closed_kind", pa.string()),
            ("closed_answer", pa.string()),
            ("options", pa.list_(pa.struct([("letter", pa.string()), ("text", pa.string())]))),
            ("joined_by", pa.string()),
            ("facts", pa.string()),
            ("image_id", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("reason", pa.string()),
            ("detail", pa.string()),
        ]
    ),
)
QUESTION_IMAGES = TableSpec(
    "question_images",
    pa.schema([("image_id", pa.string()), ("image", IMAGE)]),
    image_columns=("image",),
)
OWN_TOKENS = 128
"""Length limit of answers to our own benchmarks."""
NO_IMAGE = "no_image"
"""The benchmark asks without a picture, which the policies here cannot."""
Row = dict[str, Any]
_Asked = tuple[BenchmarkConfig, Question]


class Ask(Stage):
    """Load benchmarks. Answers depend on what is asked, not on the code that scores them."""

    name = "ask"
    inputs = ("ingest", "pair")
    seeded = False
    tables = (QUESTIONS, QUESTION_IMAGES)
    libraries = ("transformers", "pillow", "pyarrow", "pandas")

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return what is asked; which images are read matters for published benchmarks alone."""
        evaluate = recipe.evaluate
        sizes = {"min_pixels": evaluate.min_pixels, "max_pixels": evaluate.max_pixels}
        streams = {"offline": recipe.train.offline_epochs > 0,
                   "online": recipe.train.online_epochs > 0}  # fmt: skip
        return {
            "benchmarks": [_identified(each) for each in evaluate.benchmarks],
            "limit": evaluate.limit,
            "images": with_images(recipe),
            **(sizes if _has(recipe, PublishedBenchmark) else {}),
            **({"trained": streams} if _has(recipe, HeldOutBenchmark) else {}),
        }

    def upstream(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the stages that hold the recipe's own samples, where they are asked about."""
        return self.inputs if _has(recipe, HeldOutBenchmark) else ()

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the content of the files of published benchmarks, and of their images."""
        given = recipe.answer.responses
        answered = "" if given is None else fingerprint_answers(given)
        return {
            each.kind: digest(
                {"files": fingerprint_files(each.questions),
                 "images": _images_state(each) if with_images(recipe) else "",
                 "answered": answered if BENCHMARKS[each.kind].subset else ""}
            )
            for each in recipe.evaluate.benchmarks if isinstance(each, PublishedBenchmark)
        }  # fmt: skip

    def shards(self, job: Job) -> int:
        """Return one shard for every `shard_rows` questions."""
        return len(slices(len(_questions(job, images=False)), job.recipe.evaluate.shard_rows))

    def run(self, job: Job, shard: int) -> ShardRows:
        """Prepare one run of questions."""
        config, seeing = job.recipe.evaluate, with_images(job.recipe)
        policy = ImagePolicy(
            factor=FACTOR, min_pixels=config.min_pixels, max_pixels=config.max_pixels,
            max_source_pixels=job.recipe.ingest.max_source_pixels,
        )  # fmt: skip
        rows, images = [], {}
        seen: dict[Any, tuple[Row, bytes | None]] = {}
        for benchmark, question in chunk(_questions(job, images=seeing), config.shard_rows, shard):
            place = (benchmark.name, question.image)
            if seeing and place not in seen:  # neighbours share an image
                seen = {place: prepared_image(benchmark, question, policy)}
            found, png = seen[place] if seeing else ({}, None)
            rows.append(_row(question) | found)
            if png is not None:
                name = found["image_id"]
                images[name] = {"image_id": name, "image": {"bytes": png, "path": f"{name}.png"}}
        return ShardRows({"questions": rows, "question_images": list(images.values())})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every question stands once."""
        ids = [asked_id(question) for _, question in _questions(job, images=False)]
        return [Coverage("questions", "asked_id", ids, unique=True)]


def with_images(recipe: Recipe) -> bool:
    """Whether questions are prepared for a model; given answers need no pictures."""
    return recipe.answer.responses is None


def asked_id(question: Question) -> str:
    """Return what names a question among those of all benchmarks."""
    return f"{question.benchmark}/{question.question_id}"


def answer_tokens(question: Question) -> int:
    """Return the length limit of an answer that the benchmark sets."""
    definition = BENCHMARKS.get(question.benchmark)
    return question.max_new_tokens or (definition.max_new_tokens if definition else OWN_TOKENS)


def question_of(row: Row) -> Question:
    """Return a stored question as its benchmark made it, but for the image."""
    same = ("question_id", "benchmark", "kind", "text", "prompt", "answer", "unit", "closed_kind",
            "closed_answer")  # fmt: skip
    return Question(
        **{name: row[name] for name in same},
        options=tuple((o["letter"], o["text"]) for o in row["options"] or ()),
        join=json.loads(row["joined_by"]),
        facts=json.loads(row["facts"]),
    )


def _has(recipe: Recipe, kind: type) -> bool:
    return any(isinstance(each, kind) for each in recipe.evaluate.benchmarks)


def _identified(config: BenchmarkConfig) -> Row:
    """Return a benchmark's settings; of files the content enters, wherever they lie."""
    return config.model_dump(mode="json", exclude={"questions", "image_root"})


def _questions(job: Job, *, images: bool) -> tuple[_Asked, ...]:
    inputs = tuple(sorted(job.inputs.items()))
    return _listed(job.recipe, job.store.root, inputs, images)


@lru_cache(maxsize=2)
@around_the_model()
def _listed(
    recipe: Recipe, root: Any, inputs: tuple[tuple[str, ArtifactRef], ...], images: bool
) -> tuple[_Asked, ...]:
    return tuple(_each(recipe, ArtifactStore(root), dict(inputs), images))


def _each(
    recipe: Recipe, store: ArtifactStore, inputs: Mapping[str, ArtifactRef], images: bool
) -> Iterator[_Asked]:
    for benchmark in recipe.evaluate.benchmarks:
        found = asked(benchmark, recipe, store, inputs, images=images).questions
        found = answered_only(benchmark, found, recipe.answer.responses)
        for question in found[: recipe.evaluate.limit]:
            yield benchmark, question


def prepared_image(
    benchmark: BenchmarkConfig, question: Question, policy: ImagePolicy
) -> tuple[Row, bytes | None]:
    """Return what a question's row says of its image, and the image; or why there is none.

    Our own images are in their final form.
    """
    if question.image is None:
        return {"reason": NO_IMAGE}, None
    if not isinstance(benchmark, PublishedBenchmark):
        assert isinstance(question.image, bytes)
        pixels = decode_png(question.image)
        _, height, width = pixels.shape
        name = image_id(pixels.permute(1, 2, 0).numpy())
        return {"image_id": name, "height": height, "width": width}, question.image
    data = read_image(question.image, image_root(benchmark))
    made = data if isinstance(data, Refusal) else prepare_image(data, policy)
    if isinstance(made, Refusal):
        return {"reason": str(made.reason), "detail": made.detail}, None
    return {"image_id": made.image_id, "height": made.height, "width": made.width}, made.png


def _images_state(config: PublishedBenchmark) -> str:
    """Return a hash of the sizes and times of the image files, as `tasks.sources` does."""
    root = image_root(config)
    names = {q.image for q in published(config).questions if isinstance(q.image, str)}
    ordered = sorted(names)
    return digest(list(zip(ordered, file_states(ordered, root), strict=True)))


def _row(question: Question) -> Row:
    return {
        "asked_id": asked_id(question),
        **{name: getattr(question, name) for name in (
            "benchmark", "question_id", "kind", "unit", "text", "prompt", "answer", "closed_kind",
            "closed_answer")},
        "unit": question.unit or question.question_id,
        "max_new_tokens": answer_tokens(question),
        "options": [{"letter": letter, "text": text} for letter, text in question.options],
        "joined_by": json.dumps(dict(question.join), ensure_ascii=False, sort_keys=True),
        "facts": json.dumps(dict(question.facts), ensure_ascii=False, sort_keys=True),
    }  # fmt: skip
