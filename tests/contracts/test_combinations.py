"""Every miner with every source, objective and curriculum: it runs, or is refused with a reason."""

import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from benchmarks.stages import run_inline
from flows.cli import app
from mbpo_core.config import EmbeddedModel, FileSource, Recipe, mining, responses, training
from mbpo_core.recipes import configured
from tasks.models import open_policy
from tasks.registry import ORDER
from tests.contracts.unions import members
from tests.pipelines import rows, small_recipe

MINERS = {member.model_fields["kind"].default: member() for member in members(mining.AnyMiner)} | {
    "pgd": mining.PGDMiner(steps=1),
    "removal": mining.RemovalMiner(finder=mining.CellFinder(share=0.05)),
}
OBJECTIVES = {
    "hybrid": training.HybridGRPO(generations=2, max_new_tokens=6),
    "dpo": training.Preference(),
    "image-alone": training.Preference(text=0, image=1),
    "margin-alone": training.Preference(text=0, margin=1),
    "mfpo": training.Preference(image=1, margin=1),
    "plackett_luce": training.PlackettLuce(),
    "sft": training.SFT(),
}
NEEDS = {
    "hybrid": {"rejected"}, "dpo": {"rejected"}, "image-alone": {"rejected_image"},
    "margin-alone": set(), "mfpo": {"rejected", "rejected_image"},
    "plackett_luce": {"rejected", "rejected_image"}, "sft": set(),
}  # fmt: skip
"""By hand, as the papers have it: what an objective reads besides the chosen response."""
CURRICULA = {"shuffled": training.Shuffled(), "easy_to_hard": training.EasyToHard()}
SOURCES = [
    chosen
    for size in range(len(get_args(responses.ResponseSource)) + 1)
    for chosen in itertools.combinations(get_args(responses.ResponseSource), size)
]
WORLDS = {
    "embedded": responses.RuleInjector(),
    "files": responses.EndpointInjector(base_url="http://host/v1", model="m"),
}
"""Each with the injector that it can have."""
SEED, RUNS, ALWAYS = 8, 12, 8
"""Of the runs, those that together have everything are not slow."""


@dataclass(frozen=True)
class Combination:
    """One value of each axis, by name."""

    miner: str
    sources: tuple[str, ...]
    objective: str
    curriculum: str
    online: int

    def __str__(self) -> str:
        parts = (self.miner, "+".join(self.sources) or "no texts", self.objective, self.curriculum)
        return " ".join((*parts, *(["rollouts"] if self.online else [])))

    def values(self) -> set[Any]:
        """What it has of each axis."""
        return {self.miner, *self.sources, self.objective, self.curriculum, bool(self.online)}

    def recipe(self, world: str = "embedded") -> Recipe:
        """The recipe in small; ValidationError where it is refused."""
        injector = WORLDS[world] if "injected" in self.sources else None
        respond = {"sources": self.sources, "injector": injector}
        train = {
            "objective": OBJECTIVES[self.objective],
            "curriculum": CURRICULA[self.curriculum],
            "online_epochs": self.online,
        }
        fields = dict(BASE) | {
            "mine": MINERS[self.miner],
            "respond": BASE.respond.model_copy(update=respond),
            "train": BASE.train.model_copy(update=train),
        }
        if world == "files":
            source = FileSource(path="pairs.json")
            fields["ingest"] = BASE.ingest.model_copy(update={"source": source})
        return Recipe.model_validate(fields)

    def refusals(self, world: str) -> Iterator[tuple[str, str]]:
        """Why it cannot run: the two sides that each sentence has to name."""
        kind = OBJECTIVES[self.objective].kind
        if "negative" in self.sources and self.miner == "none":
            yield "`negative`", "miner none"
        if "dataset" in self.sources and world == "embedded":
            yield "`dataset`", "embedded world"
        if "rejected" in NEEDS[self.objective] and not self.sources:
            yield f"objective {kind} needs rejected ", "respond.sources"
        if "rejected_image" in NEEDS[self.objective] and self.miner == "none":
            yield f"objective {kind} needs rejected_image ", "miner none"
        if self.online and self.objective != "hybrid":
            yield f"objective {kind}", "train.online_epochs"
        if self.online and self.curriculum == "easy_to_hard":
            yield "curriculum easy_to_hard", "train.online_epochs"


BASE = small_recipe(
    score__signals=["information_gain", "answer_entropy"], score__answer_tokens=6,
    ingest__source__scenes=3, select__k=6, pair__max_online=4, respond__max_new_tokens=8,
    train__max_steps=3, train__groups_per_step=2, evaluate__limit=2, answer__max_new_tokens=6,
    evaluate__benchmarks=[{"kind": "embedded", "split": "counter", "scenes": 2}],
    evaluate__bootstrap=100, train__stream_norm_every=0, respond__shard_rows=20,
)  # fmt: skip
ALL = [
    Combination(*axes) for axes in itertools.product(MINERS, SOURCES, OBJECTIVES, CURRICULA, (0, 1))
]
ALLOWED = [one for one in ALL if not list(one.refusals("embedded"))]


def drawn() -> list[Combination]:
    """Combinations that run, in a drawn order, each the one with the most that is new."""
    order, chosen = random.Random(SEED).sample(ALLOWED, len(ALLOWED)), []
    seen: set[Any] = set()
    for _ in range(RUNS):
        chosen.append(max(order, key=lambda one: len(one.values() - seen)))
        order.remove(chosen[-1])
        seen |= chosen[-1].values()
    return chosen


def test_every_member_of_every_axis_takes_part():
    assert {type(one) for one in OBJECTIVES.values()} == set(members(training.Objective))
    assert {type(one) for one in CURRICULA.values()} == set(members(training.Curriculum))
    assert {type(one) for one in WORLDS.values()} == set(members(responses.Injector))
    runs = drawn()[:ALWAYS]
    assert {one.miner for one in runs} == set(MINERS)
    assert {one.objective for one in runs} == set(OBJECTIVES)
    assert {one.curriculum for one in runs} == set(CURRICULA)
    assert {source for one in runs for source in one.sources} == {"negative", "clean", "injected"}
    assert {one.online for one in runs} == {0, 1}
    assert len(set(drawn())) == RUNS


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("miner", MINERS)
def test_a_combination_is_a_recipe_or_each_sentence_names_two_sides(miner, world):
    counted = {True: 0, False: 0}
    for one in (one for one in ALL if one.miner == miner):
        expected = list(one.refusals(world))
        counted[not expected] += 1
        if not expected:
            recipe = one.recipe(world)
            assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
            continue
        with pytest.raises(ValidationError) as refused:
            one.recipe(world)
        (problem,) = refused.value.errors()
        sentences = problem["msg"].removeprefix("Value error, ").split("; ")
        assert len(sentences) == len(expected), f"{one}: {sentences}"
        for sides in expected:
            assert any(all(side in sentence for side in sides) for sentence in sentences), one
    assert all(counted.values())


PARTS = {
    "text pairs of a world without any": (
        "dpo", {"respond.sources": ["dataset"]}, ("`dataset`", "embedded world")),
    "an objective and no images": (
        "adavip", {"mine": {"kind": "none"}}, ("plackett_luce", "rejected_image", "miner none")),
    "an objective and no texts": (
        "mfpo", {"respond.sources": []}, ("preference", "respond.sources is empty")),
    "answers to negatives that are not made": (
        "mbpo", {"mine": {"kind": "none"}}, ("`negative`", "miner none")),
    "rollouts and no loss for them": (
        "dpo", {"train.online_epochs": 1}, ("preference", "train.online_epochs=0")),
    "rollouts in order of difficulty": (
        "mbpo", {"train.curriculum": {"kind": "easy_to_hard"},
                 "score.signals": ["information_gain", "answer_entropy"]},
        ("easy_to_hard", "train.online_epochs=0")),
    "difficulty that is not measured": (
        "mfpo", {"score.signals": []}, ("easy_to_hard", "answer_entropy", "score.signals")),
    "a ranking by what is not measured": (
        "mbpo", {"score.signals": []}, ("select.key iig_mean", "information_gain")),
    "levels without steps": (
        "mfpo", {"train.max_steps": 2}, ("easy_to_hard has 3 levels", "train.max_steps is 2")),
    "injected errors without an injector": (
        "povid", {"respond.injector": None}, ("`injected`", "respond.injector")),
    "an injector that nobody asks": (
        "dpo", {"respond.injector": {"kind": "rules"}}, ("`injected`", "respond.injector")),
    "truth removes what something else found": (
        "adavip", {"mine.finder": {"kind": "cells"}}, ("inpainter `truth`", "`cells`")),
    "truth about photographs, finder": (
        "mfpo-qwen2-vl-7b", {"mine.finder": {"kind": "truth"}}, ("finder `truth`", "embedded")),
    "truth about photographs, inpainter": (
        "adavip-qwen2-vl-7b", {"mine.inpainter": {"kind": "truth"}},
        ("inpainter `truth`", "embedded")),
    "rules about photographs": (
        "dpo-qwen2-vl-7b", {"respond.sources": ["injected"],
                            "respond.injector": {"kind": "rules"}}, ("`rules`", "embedded")),
    "nothing to train on": (
        "dpo", {"train.offline_epochs": 0}, ("train.offline_epochs", "train.online_epochs")),
    "a source twice": ("dpo", {"respond.sources": ["clean", "clean"]}, ("twice", "clean")),
}  # fmt: skip


@pytest.mark.parametrize(("recipe", "changes", "sides"), PARTS.values(), ids=PARTS)
def test_plan_refuses_with_the_reason_and_makes_nothing(recipe, changes, sides, tmp_path):
    with pytest.raises(ValidationError):
        configured(recipe, changes)
    words = [word for name, value in changes.items()
             for word in ("--set", f"{name}={json.dumps(value)}")]  # fmt: skip
    root = tmp_path / "store"
    done = CliRunner().invoke(app, ["plan", recipe, "--root", str(root), *words])
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit)
    told = " ".join(done.output.split())
    assert all(side in told for side in sides), told
    assert not root.exists()


def lengths(root: Path) -> list[int]:
    """Tokens of each sample, as it is scored."""
    policy = open_policy(EmbeddedModel(), "cpu")
    columns = ("question", "height", "width")
    return [
        len(policy.prompt_ids(*(row[name] for name in columns)))
        + len(policy.response_ids(row["response"]))
        for row in rows(root, "ingest", "samples")
    ]


def test_what_was_too_long_to_be_ranked_is_left_out_of_an_easy_to_hard_run(root):
    run_inline(BASE, root, only=("ingest",))
    median = sorted(lengths(root))[len(lengths(root)) // 2]
    one = Combination("none", ("clean",), "margin-alone", "easy_to_hard", 0).recipe()
    recipe = one.with_overrides(
        {"score.signals": ["answer_entropy"], "score.max_length": median, "select.key": None,
         "select.k": None, "select.presample": None}
    )  # fmt: skip
    run_inline(recipe, root, only=ORDER[:-1])
    ranked = {row["sample_id"]: row["reason"] is None for row in rows(root, "score", "entropies")}
    groups = {row["group_id"]: row for row in rows(root, "pair", "groups")}
    uses = [row for row in rows(root, "train", "train_groups")
            if row["stream"] == "offline" and not groups[row["group_id"]]["reason"]]  # fmt: skip
    left_out = [row for row in uses if row["reason"] == "no_difficulty"]
    assert 0 < len(left_out) < len(uses)
    for row in uses:
        unranked = not ranked[groups[row["group_id"]]["sample_id"]]
        assert (row["reason"] == "no_difficulty") == unranked
        assert not unranked or (row["uses"], row["level"]) == (0, None)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """One store for all runs: what they have in common is made once."""
    return tmp_path_factory.mktemp("combined") / "store"


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(one, id=str(one), marks=[pytest.mark.slow] if index >= ALWAYS else [])
        for index, one in enumerate(drawn())
    ],
)
def test_a_drawn_combination_runs_from_samples_to_metrics(one, root):
    recipe = one.recipe()
    made = run_inline(recipe, root)
    groups = [row for row in rows(root, "pair", "groups") if row["stream"] == "offline"]
    whole = [row for row in groups if row["reason"] is None]
    assert whole and len(groups) == BASE.select.k * max(1, len(one.sources))
    for row in whole:
        roles = {candidate["role"] for candidate in row["candidates"]}
        assert NEEDS[one.objective] | {"chosen"} <= roles
    steps = rows(root, "train", "train_steps")
    assert steps and all(math.isfinite(row["loss"]) for row in steps)
    width = len(NEEDS[one.objective]) + 1
    for row in steps:
        rollouts = row["groups_online"] * 2
        assert row["sequences"] == row["groups_offline"] * width + rollouts
    assert bool(sum(row["groups_online"] for row in steps)) <= bool(one.online)
    uses = rows(root, "train", "train_groups")
    assert all(row["uses"] or row["reason"] for row in uses)
    levels = {row["level"] for row in uses if row["uses"]}
    trained = sum(row["reason"] is None for row in uses if row["stream"] == "offline")
    expected = set(range(min(3, trained)))  # fewer groups than levels leave levels empty
    assert levels == ({None} if one.curriculum == "shuffled" else expected)
    figures = rows(root, "evaluate", "metrics")
    assert {row["model"] for row in figures} == {"base", "trained"}
    assert tuple(made) == ORDER
