"""evaluate -> metrics: the base and the trained model on the recipe's benchmarks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mbpo_core.config import EmbeddedBenchmark, Model, Recipe
from mbpo_core.evaluation import embedded, held_out
from mbpo_core.evaluation.protocol import Answer, Item, Score, Scorer, metrics
from mbpo_core.information_gain import information_gain
from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import TableSpec
from tasks.clock import around_the_model
from tasks.models import open_policy
from tasks.packs import run_packs
from tasks.queries import prompted
from tasks.rows import chunk, fetch, pixels, read
from tasks.stage import Job, ShardRows, Stage, slices

METRICS = TableSpec(
    "metrics",
    pa.schema(
        [
            ("model", pa.string()),
            ("benchmark", pa.string()),
            ("kind", pa.string()),
            ("metric", pa.string()),
            ("value", pa.float64()),
            ("n", pa.int32()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("method", pa.string()),
        ]
    ),
)
PREDICTIONS = TableSpec(
    "predictions",
    pa.schema(
        [
            ("prediction_id", pa.string()),
            ("model", pa.string()),
            ("benchmark", pa.string()),
            ("kind", pa.string()),
            ("question_id", pa.string()),
            ("question", pa.string()),
            ("answer", pa.string()),
            ("response", pa.string()),
            ("finished", pa.bool_()),
            ("correct", pa.bool_()),
            ("extracted", pa.string()),
            ("rule", pa.string()),
            ("said_yes", pa.bool_()),
            ("mentions", pa.int32()),
            ("hallucinated", pa.int32()),
            ("iig_mean", pa.float64()),
            ("reason", pa.string()),
        ]
    ),
)


class Evaluate(Stage):
    """Greedy answers and their scores; metrics with n and a confidence interval."""

    name = "evaluate"
    inputs = ("ingest", "pair", "train")
    seeded = False
    tables = (METRICS, PREDICTIONS)
    finishing = True
    counted = "predictions"

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the base model; the trained one is an input."""
        return {"policy": recipe.policy}

    def shards(self, job: Job) -> int:
        """Return the shards of each model, one after the other."""
        return len(job.recipe.evaluate.models) * _shards_per_model(job)

    def run(self, job: Job, shard: int) -> ShardRows:
        """Answer one run of questions with one model."""
        which, part = divmod(shard, _shards_per_model(job))
        config = job.recipe.evaluate
        model = config.models[which]
        rows = chunk(items(job), config.shard_rows, part)
        folder = None
        if model == "trained":
            folder = job.store.files(job.inputs["train"]) / "model"
        policy = open_policy(job.recipe.policy, job.device, folder)
        questions = {item.question_id: item for item in rows}
        found = [_prompted(policy, item) for item in rows]
        fits = [row for row in found if not isinstance(row, str)]
        answered, splits = run_packs(
            fits,
            [len(row.prompt) + config.max_new_tokens for row in fits],
            config.batch_tokens,
            lambda pack: _answer(policy, pack, questions, model, config.max_new_tokens),
            lambda row: _row(questions[row.sample_id], model) | {"reason": "out_of_memory"},
        )
        refused = [
            _row(item, model) | {"reason": why}
            for item, why in zip(rows, found, strict=True)
            if isinstance(why, str)
        ]
        by_id = {row["question_id"]: row for row in answered + refused}
        answers = [by_id[item.question_id] for item in rows]
        return ShardRows({"predictions": answers}, facts={"packs_split": splits})

    def finish(self, job: Job) -> ShardRows:
        """Sum up the predictions of all shards."""
        questions = {item.question_id: item for item in items(job)}
        answers = []
        for shard in job.store.staged_shards(self.name, job.key):
            for row in pq.read_table(shard.table("predictions")).to_pylist():
                if row["reason"] is None:
                    fields = {name: row[name] for name in Score.__dataclass_fields__}
                    item = questions[row["question_id"]]
                    answers.append(
                        Answer(
                            row["model"], item, row["response"], Score(**fields), row["iig_mean"]
                        )
                    )
        config = job.recipe.evaluate
        rows = [
            {"model": m.model, "benchmark": m.benchmark, "kind": m.kind, "metric": m.metric}
            | vars(m.estimate)
            for m in metrics(answers, draws=config.bootstrap, seed=config.seed)
        ]
        return ShardRows({"metrics": rows})

    def coverage(self, job: Job) -> list[Coverage]:
        """Every question has one answer of each model."""
        ids = [f"{model}:{item.question_id}" for model in job.recipe.evaluate.models
               for item in items(job)]  # fmt: skip
        return [Coverage("predictions", "prediction_id", ids, unique=True)]


def items(job: Job) -> tuple[Item, ...]:
    """Return the questions of all benchmarks."""
    inputs = tuple(sorted(job.inputs.items()))
    return _items(job.recipe, job.store.root, inputs)


@lru_cache(maxsize=2)
@around_the_model()
def _items(
    recipe: Recipe, root: Any, inputs: tuple[tuple[str, ArtifactRef], ...]
) -> tuple[Item, ...]:
    found: list[Item] = []
    for benchmark in recipe.evaluate.benchmarks:
        if isinstance(benchmark, EmbeddedBenchmark):
            new = embedded.items(
                benchmark.part, benchmark.split, benchmark.scenes, blank=benchmark.blank
            )
        else:
            streams = {"offline": recipe.train.offline_epochs, "online": recipe.train.online_epochs}
            trained = {stream for stream, epochs in streams.items() if epochs}
            unused = _unused(
                ArtifactStore(root), dict(inputs), trained, benchmark.closed, benchmark.open
            )
            new = held_out.items(unused)
        found += new[: recipe.evaluate.limit]
    return tuple(found)


def _unused(
    store: ArtifactStore,
    inputs: dict[str, ArtifactRef],
    trained: set[str],
    closed: int,
    opened: int,
) -> list[dict[str, Any]]:
    """Return samples that no trained group has: first closed-ended and first open-ended ones."""
    groups = read(store, inputs["pair"], "groups", ["sample_id", "stream", "reason"])
    used = {
        row["sample_id"] for row in groups if row["reason"] is None and row["stream"] in trained
    }
    samples = read(store, inputs["ingest"], "samples", ["sample_id", "closed_kind", "reason"])
    free = [s for s in samples if s["reason"] is None and s["sample_id"] not in used]
    free.sort(key=lambda row: row["sample_id"])
    chosen = [s for s in free if s["closed_kind"]][:closed]
    chosen += [s for s in free if not s["closed_kind"]][:opened]
    columns = ["sample_id", "image", "question", "response", "closed_kind", "closed_answer",
               "options"]  # fmt: skip
    ids = [s["sample_id"] for s in chosen]
    found = fetch(store, inputs["ingest"], "samples", ids, columns)
    return [found[i] for i in ids]


def _shards_per_model(job: Job) -> int:
    return len(slices(len(items(job)), job.recipe.evaluate.shard_rows))


def _scorer(item: Item) -> Scorer:
    return embedded.score if item.benchmark.startswith("embedded/") else held_out.score


def _prompted(policy: QwenVL, item: Item) -> PromptedResponse | str:
    """Return the gold answer as the policy reads it, or why it cannot."""
    png = {"bytes": item.image_png}
    height, width = pixels(png).shape[1:]
    sample = {"sample_id": item.question_id, "image": png, "height": height, "width": width,
              "question": item.question, "response": item.answer}  # fmt: skip
    return prompted(policy, sample, None)


def _row(item: Item, model: str) -> dict[str, Any]:
    return {
        "prediction_id": f"{model}:{item.question_id}",
        "model": model,
        "benchmark": item.benchmark,
        "kind": item.kind,
        "question_id": item.question_id,
        "question": item.question,
        "answer": item.answer,
    }


def _answer(
    policy: QwenVL,
    pack: list[PromptedResponse],
    questions: dict[str, Item],
    model: str,
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    sampled = policy.sample(
        [row.prompt for row in pack],
        to_units([row.image for row in pack], policy.device),
        [0] * len(pack),  # greedy: nothing is drawn
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
    )
    rows = []
    gains = information_gain(policy, pack)
    for row, answer, gain in zip(pack, sampled, gains, strict=True):
        item, text = questions[row.sample_id], policy.decode(answer.ids)
        score = _scorer(item)(item, text)
        rows.append(
            _row(item, model)
            | {"response": text, "finished": answer.finished, "iig_mean": gain.iig_mean}
            | vars(score)
        )
    return rows
