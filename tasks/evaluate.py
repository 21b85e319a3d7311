"""evaluate -> metrics: the base and the trained model on the recipe's benchmarks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mbpo_core.config import EmbeddedBenchmark, Model, Recipe
from mbpo_core.data.images import decode_png
from mbpo_core.evaluation import embedded, held_out
from mbpo_core.evaluation.protocol import Answer, Item, Score, Scorer, metrics
from mbpo_core.information_gain import GainQuery, information_gain
from mbpo_core.models.qwen_vl import QwenVL
from storage.refs import ArtifactRef
from storage.store import ArtifactStore, Coverage
from storage.tables import TableSpec
from tasks.models import open_policy
from tasks.packs import run_packs
from tasks.rows import fetch, read
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
MODELS = ("base", "trained")


class Evaluate(Stage):
    """Greedy answers and their scores; metrics with n and a confidence interval."""

    name = "evaluate"
    inputs = ("ingest", "pair", "train")
    tables = (METRICS, PREDICTIONS)
    finishing = True

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the base model; the trained one is an input."""
        return {"policy": recipe.policy}

    def shards(self, job: Job) -> int:
        """Return the shards of the base model and as many of the trained one."""
        return len(MODELS) * _shards_per_model(job)

    def run(self, job: Job, shard: int) -> ShardRows:
        """Answer one run of questions with one model."""
        which, part = divmod(shard, _shards_per_model(job))
        config = job.recipe.evaluate
        found = slices(len(items(job)), config.shard_rows)[part]
        rows = items(job)[found.start : found.stop]
        folder = None
        if MODELS[which] == "trained":
            folder = job.store.path(job.inputs["train"]) / "files" / "model"
        policy = open_policy(job.recipe.policy, job.device, folder)
        lengths = [_length(policy, item, config.max_new_tokens) for item in rows]
        answers, splits = run_packs(
            rows,
            lengths,
            config.batch_tokens,
            lambda pack: _answer(policy, pack, MODELS[which], config.max_new_tokens),
            lambda item: _row(item, MODELS[which]) | {"reason": "out_of_memory"},
        )
        return ShardRows({"predictions": answers}, facts={"packs_split": splits})

    def finish(self, job: Job) -> ShardRows:
        """Sum up the predictions of all shards."""
        questions = {item.question_id: item for item in items(job)}
        answers = []
        for path in job.store.staged_parts(self.name, job.key, "predictions"):
            for row in pq.read_table(path).to_pylist():
                if row["reason"] is None:
                    fields = {name: row[name] for name in Score.__dataclass_fields__}
                    item = questions[row["question_id"]]
                    answers.append(
                        Answer(row["model"], item, row["response"], Score(**fields), row["iig_mean"])
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
        ids = [f"{model}:{item.question_id}" for model in MODELS for item in items(job)]
        return [Coverage("predictions", "prediction_id", ids, unique=True)]


def items(job: Job) -> tuple[Item, ...]:
    """Return the questions of all benchmarks."""
    inputs = tuple(sorted(job.inputs.items()))
    return _items(job.recipe, job.store.root, inputs)


@lru_cache(maxsize=2)
def _items(recipe: Recipe, root: Any, inputs: tuple[tuple[str, ArtifactRef], ...]) -> tuple[Item, ...]:
    found: list[Item] = []
    for benchmark in recipe.evaluate.benchmarks:
        if isinstance(benchmark, EmbeddedBenchmark):
            new = embedded.items(benchmark.part, benchmark.split, benchmark.scenes)
        else:
            unused = _unused(ArtifactStore(root), dict(inputs), benchmark.closed, benchmark.open)
            new = held_out.items(unused)
        found += new[: recipe.evaluate.limit]
    return tuple(found)


def _unused(
    store: ArtifactStore, inputs: dict[str, ArtifactRef], closed: int, opened: int
) -> list[dict[str, Any]]:
    """Return samples that no group uses: the first closed-ended and the first open-ended ones."""
    groups = read(store, inputs["pair"], "groups", ["sample_id", "reason"])
    used = {row["sample_id"] for row in groups if row["reason"] is None}
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


def _length(policy: QwenVL, item: Item, max_new_tokens: int) -> int:
    height, width = decode_png(item.image_png).shape[:2]
    return len(policy.prompt_ids(item.question, height, width)) + max_new_tokens


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
    policy: QwenVL, pack: list[Item], model: str, max_new_tokens: int
) -> list[dict[str, Any]]:
    images = [torch.from_numpy(decode_png(i.image_png).copy()).permute(2, 0, 1) for i in pack]
    prompts = [policy.prompt_ids(i.question, *p.shape[1:]) for i, p in zip(pack, images, strict=True)]
    sampled = policy.sample(
        prompts, [p / 255 for p in images], [0] * len(pack),
        temperature=0.0, top_p=1.0, max_new_tokens=max_new_tokens,
    )  # fmt: skip
    gains = information_gain(
        policy,
        [
            GainQuery(prompt, policy.response_ids(item.answer), image)
            for prompt, item, image in zip(prompts, pack, images, strict=True)
        ],
    )
    rows = []
    for item, answer, gain in zip(pack, sampled, gains, strict=True):
        text = policy.decode(answer.ids)
        score = _scorer(item)(item, text)
        rows.append(
            _row(item, model)
            | {"response": text, "finished": answer.finished, "iig_mean": gain.iig_mean}
            | vars(score)
        )
    return rows
