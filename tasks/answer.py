"""answer -> answers: greedy answers of the base and the trained model, or those of a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from mbpo_core.information_gain import information_gain
from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.protocol import PromptedResponse, Sampled, Sampler
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.responses import NONFINITE_LOGP
from storage.errors import StoreError
from storage.store import Coverage
from storage.tables import TableSpec
from tasks.benchmark_files import fingerprint_answers
from tasks.clock import around_the_model
from tasks.given_answers import given_answers
from tasks.models import open_policy
from tasks.packs import PackLog, run_packs
from tasks.queries import prompted_all
from tasks.rows import chunk, fetch, read
from tasks.runtime import Runtime
from tasks.samplers import drawn_ahead, open_sampler
from tasks.stage import Job, ShardRows, Stage, slices

ANSWERS = TableSpec(
    "answers",
    pa.schema(
        [
            ("answer_id", pa.string()),
            ("asked_id", pa.string()),
            ("model", pa.string()),
            ("benchmark", pa.string()),
            ("question_id", pa.string()),
            ("response", pa.string()),
            ("finished", pa.bool_()),
            ("iig_mean", pa.float64()),
            ("reason", pa.string()),
        ]
    ),
)
OWN = ("embedded", "held_out")
"""Benchmarks whose gold answers have their gain measured: two more forward passes a question."""
_COLUMNS = ("asked_id", "benchmark", "question_id", "prompt", "answer", "max_new_tokens",
            "image_id", "height", "width", "reason")  # fmt: skip
Row = dict[str, Any]


class Answer(Stage):
    """Greedy answers, kept apart from their scores: scoring again needs no GPU."""

    name = "answer"
    inputs = ("ask", "train")
    seeded = False
    tables = (ANSWERS,)

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return how it is answered; where a file of answers lies does not matter."""
        return {"answer": recipe.answer.model_dump(mode="json", exclude={"responses": {"path"}})}

    def upstream(self, recipe: Recipe) -> tuple[str, ...]:
        """Return `ask`, and `train` where the trained model answers."""
        return ("ask", "train") if "trained" in models_of(recipe) else ("ask",)

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the base model; the trained one is an input."""
        return {"policy": recipe.policy} if recipe.answer.responses is None else {}

    def draws_responses(self, recipe: Recipe) -> bool:
        """Return whether models answer."""
        return recipe.answer.responses is None

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the content of the file of answers, if there is one."""
        given = recipe.answer.responses
        return {} if given is None else {"responses": fingerprint_answers(given)}

    def unused_code(self, recipe: Recipe) -> tuple[str, ...]:
        """Return what joins a file's answers, unless there is one: models do not depend on it."""
        return ("tasks.given_answers",) if recipe.answer.responses is None else ()

    def shards(self, job: Job) -> int:
        """Return the shards of each model, one after the other; a file is one piece."""
        if job.recipe.answer.responses is not None:
            return 1
        return len(job.recipe.answer.models) * _shards_per_model(job)

    def run(self, job: Job, shard: int) -> ShardRows:
        """Answer one run of questions with one model."""
        config = job.recipe.answer
        if config.responses is not None:
            return ShardRows({"answers": given_answers(job, config.responses)})
        which, part = divmod(shard, _shards_per_model(job))
        model = config.models[which]
        questions = chunk(_questions(job), config.shard_rows, part)
        name = config.policy_name if model == "base" else model
        known = self._known(job, name, questions) if model == "base" and not job.fresh else None
        if known is not None:
            return ShardRows({"answers": known}, facts={"taken_from_the_store": len(known)})
        folder = None
        if model == "trained":
            folder = job.store.files(job.inputs["train"]) / "model"
        policy = open_policy(job.recipe.policy, job.device, folder)
        sampler = open_sampler(job.recipe.policy, policy, job.runtime, job.device, folder)
        log = PackLog(f"{self.name} {job.device}")
        found = _answered(job, policy, sampler, questions, log)
        answers = [
            answer_row(name, question) | found[question["asked_id"]] for question in questions
        ]
        return ShardRows({"answers": answers}, facts=log.facts())

    @around_the_model()
    def _known(self, job: Job, name: str, questions: Sequence[Row]) -> list[Row] | None:
        """Return the base model's answers of a version that differs in what was trained alone.

        It answers the same questions in every run of a recipe, and they are half of all answers.
        """
        mine = _but_for_training(self.identity(job.recipe, job.runtime, job.inputs).to_dict())
        for listed, manifest in reversed(job.store.refs(self.name)):
            if _but_for_training(manifest.identity) != mine:
                continue
            if ref := job.store.find(self.name, listed.key):  # none where it is damaged
                ids = [f"{name}:{question['asked_id']}" for question in questions]
                columns = ANSWERS.schema.names
                try:
                    found = fetch(job.store, ref, ANSWERS.name, ids, columns, "answer_id")
                except StoreError:
                    if job.store.is_there(ref):
                        raise
                    continue  # collected in this moment: no run of ours holds it
                return [found[i] for i in ids]
        return None

    def coverage(self, job: Job) -> list[Coverage]:
        """Every question has one answer of each model."""
        asked = read(job.store, job.inputs["ask"], "questions", ["asked_id"])
        ids = [f"{name}:{row['asked_id']}" for name in names_of(job.recipe) for row in asked]
        return [Coverage("answers", "answer_id", ids, unique=True)]


def _but_for_training(identity: Mapping[str, Any]) -> Row:
    inputs = {name: value for name, value in identity["inputs"].items() if name != "train"}
    return {**identity, "inputs": inputs}


def models_of(recipe: Recipe) -> tuple[str, ...]:
    """Return which models answer; none where a file does."""
    return recipe.answer.models if recipe.answer.responses is None else ()


def names_of(recipe: Recipe) -> tuple[str, ...]:
    """Return what the models are called in tables."""
    answer = recipe.answer
    if answer.responses is not None:
        return (answer.responses.name,)
    return tuple(answer.policy_name if model == "base" else model for model in answer.models)


def answer_row(model: str, question: Row) -> Row:
    """Return what an answer's row says of its question."""
    same = {name: question[name] for name in ("asked_id", "benchmark", "question_id")}
    return {"answer_id": f"{model}:{question['asked_id']}", "model": model} | same


def _questions(job: Job) -> list[Row]:
    return read(job.store, job.inputs["ask"], "questions", _COLUMNS)


def _shards_per_model(job: Job) -> int:
    return len(slices(len(_questions(job)), job.recipe.answer.shard_rows))


def _answered(
    job: Job, policy: QwenVL, sampler: Sampler, questions: list[Row], log: PackLog
) -> dict[str, Row]:
    """Return answer, gain or reason of each question."""
    config = job.recipe.answer
    rows = {q["asked_id"]: {"reason": q["reason"]} for q in questions if q["reason"]}
    usable = [q for q in questions if not q["reason"]]
    images = fetch(
        job.store, job.inputs["ask"], "question_images", {q["image_id"] for q in usable},
        ["image"], "image_id",
    )  # fmt: skip
    samples = {
        q["asked_id"]: {"sample_id": q["asked_id"], "question": q["prompt"], "height": q["height"],
                        "width": q["width"], "image": images[q["image_id"]]["image"],
                        "response": q["answer"] if _measured(q) else ""}
        for q in usable
    }  # fmt: skip
    listed = prompted_all(policy, list(samples), samples)
    rows |= {name: {"reason": row} for name, row in listed if isinstance(row, str)}
    limits = {q["asked_id"]: config.max_new_tokens or q["max_new_tokens"] for q in usable}
    by_limit: dict[int, list[PromptedResponse]] = defaultdict(list)
    for name, row in listed:
        if not isinstance(row, str):
            room = min(limits[name], policy.max_length - len(row.prompt))
            by_limit[room].append(row)
    rows |= {row.sample_id: {"reason": "too_long"} for n, those in by_limit.items() if n < 1
             for row in those}  # fmt: skip
    measured = {q["asked_id"] for q in usable if _measured(q)}
    for limit, those in sorted(by_limit.items()):
        if limit >= 1:
            rows |= dict(_run(policy, sampler, those, measured, limit, config.batch_tokens, log))
    return rows


def _run(
    policy: QwenVL, sampler: Sampler, rows: list[PromptedResponse], measured: set[str], limit: int,
    budget: int, log: PackLog,
) -> list[tuple[str, Row]]:  # fmt: skip
    """Answer rows of one length limit in packs."""
    numbers = {row.sample_id: number for number, row in enumerate(rows)}  # greedy: nothing is drawn
    settings = {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": limit}
    sampler = drawn_ahead(
        sampler, policy, [row.prompt for row in rows], [row.image for row in rows],
        list(numbers.values()), settings,
    )  # fmt: skip

    def answers(pack: list[PromptedResponse]) -> list[Sampled]:
        images = to_units([row.image for row in pack], policy.device)
        seeds = [numbers[row.sample_id] for row in pack]
        return sampler.sample([row.prompt for row in pack], images, seeds, **settings)

    return run_packs(
        rows,
        [len(row.prompt) + limit for row in rows],
        budget,
        lambda pack: _answer(policy, pack, answers(pack), measured),
        lambda row, reason: (row.sample_id, {"reason": reason}),
        log,
    )


def _measured(question: Row) -> bool:
    """Whether the gold answer's gain is measured."""
    return bool(question["answer"]) and question["benchmark"].startswith(OWN)


def _answer(
    policy: QwenVL, pack: list[PromptedResponse], sampled: list[Sampled], measured: set[str]
) -> list[tuple[str, Row]]:
    with_gold = [row for row in pack if row.sample_id in measured]
    gains = information_gain(policy, with_gold) if with_gold else []
    gain_of = {row.sample_id: gain for row, gain in zip(with_gold, gains, strict=True)}
    return [
        (
            row.sample_id,
            {
                "response": policy.decode(answer.ids),
                "finished": answer.finished,
                "iig_mean": gain_of[row.sample_id].iig_mean if row.sample_id in gain_of else None,
            }
            if answer.finite
            else {"reason": NONFINITE_LOGP},
        )
        for row, answer in zip(pack, sampled, strict=True)
    ]
