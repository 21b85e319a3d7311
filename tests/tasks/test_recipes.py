"""Every embedded recipe, and every ablation that is a setting, from scenes to metrics in small.

The first step is taken where policy and reference are one model, so all implicit rewards are 0 and
each loss is a constant: log 2 for a logistic loss, log 3 for the three-way softmax, and for GRPO
the advantages of a group, which cancel.
"""

import math

import pytest

from benchmarks.stages import run_inline
from mbpo_core.recipes import METHODS
from storage.store import ArtifactStore
from tasks.registry import ORDER
from tests.pipelines import small

NAMES = tuple(method.__name__.replace("_", "-") for method in METHODS)
FAST = {
    "select.k": 14,
    "respond.temperature": 1.5,
    "pair.max_online": 9,
    "train.stream_norm_every": 0,
    "train.probe_every": 3,
    "evaluate.limit": 2,
    "train.groups_per_step": 3,
    "train.micro_batch_groups": 3,
    "train.max_steps": 3,
}
LOG2, LOG3 = math.log(2), math.log(3)
FIRST_LOSS = {
    "mbpo": 0, "mbpo-offline-random": 0, "mbpo-offline-adversarial": 0, "mbpo-online": 0,
    "mfpo": 3 * LOG2, "mdpo": 3 * LOG2, "adavip": LOG3, "adavip-fixed": 2 * LOG2,
    "dpo": LOG2, "povid": LOG2, "bpo": LOG2,
}  # fmt: skip
TEXT = {"loss_text", "reward_chosen", "reward_rejected", "accuracy_text"}
IMAGE = {"loss_image", "reward_rejected_image", "accuracy_image"}
WEIGHTS = {"weight_text", "weight_image"}
ROLLOUTS = {"reward", "degenerate_share", "kl_online"}
PAIRS = {"kl_offline"}
OWN = {
    "mbpo": PAIRS | ROLLOUTS,
    "mbpo-offline-random": PAIRS,
    "mbpo-offline-adversarial": PAIRS,
    "mbpo-online": ROLLOUTS,
    "mfpo": TEXT | IMAGE | {"loss_margin"},
    "mdpo": TEXT | IMAGE | {"loss_margin"},
    "adavip": TEXT - {"loss_text"} | IMAGE - {"loss_image"} | WEIGHTS,
    "adavip-fixed": TEXT | IMAGE,
    "dpo": TEXT, "povid": TEXT, "bpo": TEXT,
    "sft": set(),
}  # fmt: skip
ALL = set().union(*OWN.values())
SOURCES = {
    "mbpo": {"negative"}, "mbpo-offline-random": {"negative"},
    "mbpo-offline-adversarial": {"negative"}, "mbpo-online": set(), "sft": set(),
    "povid": {"negative", "injected"}, "bpo": {"negative", "injected"},
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all recipes, so that they share the stages that they have in common."""
    return tmp_path_factory.mktemp("recipes") / "store"


@pytest.fixture(scope="module")
def made(store):
    """A function that runs a recipe, as far as a stage, and returns its tables by name."""
    kept = {}

    def make(name, until=ORDER[-1], **changes):
        changes = {key.replace("__", "."): value for key, value in changes.items()}
        asked = (name, until, repr(changes))
        if asked not in kept:
            recipe = small(name, FAST | changes)
            stages = ORDER[: ORDER.index(until) + 1]
            kept[asked] = recipe, Tables(store, run_inline(recipe, store, stages))
        return kept[asked]

    return make


class Tables:
    """The tables of one run, by name."""

    def __init__(self, root, results):
        self.store = ArtifactStore(root)
        self.results = results
        self.refs = {stage: made.ref for stage, made in results.items()}

    def __getitem__(self, table):
        (ref,) = [r for r in self.refs.values() if table in self.store.manifest(r).tables]
        return self.store.table(ref, table).to_pylist()

    def groups(self):
        """Offline groups that can be trained on."""
        return [g for g in self["groups"] if g["stream"] == "offline" and g["reason"] is None]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_runs_to_its_metrics(made, name):
    recipe, tables = made(name)
    assert tuple(tables.results) == ORDER
    steps = tables["train_steps"]
    assert [row["step"] for row in steps] == [1, 2, 3]
    for row in steps:
        assert math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])
        assert {key for key in ALL if row[key] is not None} >= OWN[name]
        assert not {key for key in ALL - OWN[name] if row[key] is not None}
    missing = {row["section"] for row in tables["page"] if row["reason"] is not None}
    without = {"attack": not recipe.mine.makes_images, "gain": not recipe.score.signals}
    assert missing == {section for section, lacks in without.items() if lacks}
    assert any(row["grad_norm"] > 0 for row in steps)
    metrics = tables["metrics"]
    assert {row["model"] for row in metrics} == {"base", "trained"}
    assert {"accuracy", "chair_i", "chair_s", "iig_mean"} <= {row["metric"] for row in metrics}
    assert all(row["value"] is None or math.isfinite(row["value"]) for row in metrics)
    used = {row["stream"] for row in tables["train_groups"] if row["uses"]}
    epochs = {"offline": recipe.train.offline_epochs, "online": recipe.train.online_epochs}
    assert used == {stream for stream, number in epochs.items() if number}


@pytest.mark.parametrize("name", NAMES)
def test_groups_have_the_candidates_that_the_objective_reads(made, name):
    recipe, tables = made(name)
    negatives = {row["sample_id"]: row["negative_id"] for row in tables["negatives"]}
    groups = tables.groups()
    assert groups
    for group in groups:
        candidates = {one["role"]: one for one in group["candidates"]}
        if recipe.train.offline_epochs:
            assert set(recipe.train.objective.roles) <= set(candidates)
        chosen = candidates.pop("chosen")
        assert chosen["image_id"] == group["image_id"] and chosen["text"]
        if rejected := candidates.pop("rejected", None):
            assert rejected["text"] != chosen["text"] and rejected["image_id"] == group["image_id"]
            generated = negatives[group["sample_id"]] if group["source"] == "negative" else None
            assert rejected["generated_from"] == generated
        if image := candidates.pop("rejected_image", None):
            assert image["text"] == chosen["text"]
            assert image["image_id"] == negatives[group["sample_id"]] != group["image_id"]
        assert not candidates
    sources = SOURCES.get(name, {"clean"})
    assert {group["source"] for group in groups} == (sources or {None})
    roles = {one["role"] for group in groups for one in group["candidates"]}
    assert ("rejected" in roles) == bool(sources)


@pytest.mark.parametrize("name", FIRST_LOSS)
def test_the_first_loss_is_the_constant_of_equal_models(made, name):
    _, tables = made(name)
    assert tables["train_steps"][0]["loss"] == pytest.approx(FIRST_LOSS[name], abs=1e-5)


def test_the_loss_of_sft_is_the_likelihood_of_the_chosen_responses(made):
    _, tables = made("sft")
    for row in tables["train_steps"]:
        per_token = row["logp_chosen_sum"] / row["length_chosen"]
        assert row["loss"] == pytest.approx(-per_token, rel=1e-4)
        assert row["logp_rejected_sum"] is None and row["sequences"] == row["groups_offline"]


@pytest.mark.parametrize("name", ["adavip"])
def test_the_adaptive_weights_of_the_two_rejected_add_up_to_one(made, name):
    steps = made(name)[1]["train_steps"]
    for row in steps:
        assert row["weight_text"] + row["weight_image"] == pytest.approx(1)
    assert steps[0]["weight_text"] == pytest.approx(0.5)
    assert any(abs(row["weight_text"] - 0.5) > 1e-6 for row in steps[1:])


@pytest.mark.parametrize("name", ["povid", "bpo"])
def test_two_sources_give_each_sample_two_pairs(made, name):
    _, tables = made(name)
    pairs = {}
    for group in tables.groups():
        pairs.setdefault(group["sample_id"], set()).add(group["source"])
    assert {"negative", "injected"} in pairs.values()
    assert len({group["group_id"] for group in tables["groups"]}) == len(tables["groups"])


def test_online_alone_trains_on_rollouts_of_the_verified_questions(made):
    _, tables = made("mbpo-online")
    assert all(row["groups_offline"] == 0 < row["groups_online"] for row in tables["train_steps"])
    online = {g["group_id"]: g for g in tables["groups"] if g["stream"] == "online"}
    rollouts = tables["train_rollouts"]
    assert {row["group_id"] for row in rollouts} <= set(online)
    assert all(online[row["group_id"]]["closed_kind"] for row in rollouts)
    assert tables["responses"] == []


def test_difficulty_is_the_answer_entropy_and_levels_rise_with_it(made):
    _, tables = made("mfpo")
    entropy = {row["sample_id"]: row["entropy_mean"] for row in tables["entropies"]}
    groups = {group["group_id"]: group for group in tables.groups()}
    levels = {row["group_id"]: row["level"] for row in tables["train_groups"] if row["uses"]}
    assert all(g["difficulty"] == entropy[g["sample_id"]] for g in groups.values())
    bounds = [
        [groups[one]["difficulty"] for one, level in levels.items() if level == wanted]
        for wanted in (0, 1, 2)
    ]
    assert all(bounds)
    assert max(bounds[0]) <= min(bounds[1]) and max(bounds[1]) <= min(bounds[2])


@pytest.mark.parametrize("name", ["mfpo", "adavip", "adavip-fixed"])
def test_what_was_looked_for_stands_in_the_table_of_regions(made, name):
    _, tables = made(name)
    negatives = {row["sample_id"]: row for row in tables["negatives"]}
    regions = tables["regions"]
    assert {row["sample_id"] for row in regions} <= set(negatives) and regions
    for row in regions:
        if row["found"]:
            assert 0 <= row["left"] < row["right"] and 0 <= row["top"] < row["bottom"]
            assert 0 < row["area"] < 0.5
        assert row["used"] or row["reason"]
    for sample, negative in negatives.items():
        used = [row for row in regions if row["sample_id"] == sample and row["used"]]
        assert bool(used) == (negative["scope"] == "regions" and negative["reason"] is None)


def test_every_removed_object_is_kept_with_its_score_and_the_lowest_is_the_negative(made):
    _, tables = made("adavip")
    negatives = {row["sample_id"]: row for row in tables["negatives"]}
    tried = {}
    for row in tables["regions"]:
        if row["image"] is not None:
            tried.setdefault(row["sample_id"], []).append(row)
    assert max(len(rows) for rows in tried.values()) > 1, "no sample had a choice"
    for sample, rows in tried.items():
        assert all(math.isfinite(row["image_score"]) for row in rows)
        (winner,) = [row for row in rows if row["used"]]
        assert winner["image_score"] == min(row["image_score"] for row in rows)
        assert winner["image"]["bytes"] == negatives[sample]["image"]["bytes"]
        assert winner["image_score"] == pytest.approx(negatives[sample]["logp_reread"], abs=1e-4)
        assert len({row["image"]["bytes"] for row in rows}) == len(rows)


def test_recipes_share_the_stages_that_they_have_in_common(made):
    def keys(name):
        return {stage: ref.key for stage, ref in made(name)[1].refs.items()}

    assert len({keys(name)["ingest"] for name in NAMES}) == 1
    mbpo, offline = keys("mbpo"), keys("mbpo-offline-adversarial")
    trained = {"train", "answer", "evaluate", "report"}
    assert {stage for stage in ORDER if mbpo[stage] != offline[stage]} == trained
    adaptive, fixed = keys("adavip"), keys("adavip-fixed")
    assert {stage for stage in ORDER if adaptive[stage] != fixed[stage]} == trained


SCOPES = {
    "global": ("whole", 1, 1),
    "random-20": ("random", 0.15, 0.3),
    "regions": ("regions", 0.01, 0.5),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_ablation_of_the_scope_of_the_noise(made, scope):
    _, tables = made("mfpo", until="train", mine__scope=scope)
    kind, least, most = SCOPES[scope]
    rows = [row for row in tables["negatives"] if row["scope"] == kind]
    assert rows and all(least <= row["area"] <= most for row in rows)
    if scope != "regions":
        assert len(rows) == len(tables["negatives"]) and tables["regions"] == []
    assert tables["train_steps"][0]["loss"] == pytest.approx(3 * LOG2, abs=1e-5)


LOSSES = {
    "eta 0.2": ({"train.objective.eta": 0.2}, 2 * LOG2 + math.log1p(math.exp(0.2))),
    "eta 0.4": ({"train.objective.eta": 0.4}, 2 * LOG2 + math.log1p(math.exp(0.4))),
    "1:5:1": ({"train.objective.image": 5}, 7 * LOG2),
    "text alone": ({"train.objective.image": 0, "train.objective.margin": 0}, LOG2),
    "image alone": ({"train.objective.text": 0, "train.objective.margin": 0}, LOG2),
    "no margin": ({"train.objective.margin": 0}, 2 * LOG2),
    "end to end": ({"train.curriculum": {"kind": "shuffled"}}, 3 * LOG2),
}
LIKE = ("eta 0.4", "1:5:1", "image alone")
"""Those that another one of them stands for where slow tests are left out."""


@pytest.mark.parametrize(
    "ablation", [pytest.param(a, marks=pytest.mark.slow if a in LIKE else ()) for a in LOSSES]
)
def test_ablations_of_the_losses_are_settings_and_cost_no_earlier_stage(made, ablation):
    _, whole = made("mfpo")
    changes, first = LOSSES[ablation]
    _, tables = made("mfpo", until="train", **changes)
    assert tables["train_steps"][0]["loss"] == pytest.approx(first, abs=1e-5)
    earlier = ORDER[: ORDER.index("train")]
    assert all(tables.refs[stage] == whole.refs[stage] for stage in earlier)
    assert tables.refs["train"].key != whole.refs["train"].key
    logged = {key for key in ("loss_text", "loss_image", "loss_margin")
              if tables["train_steps"][0][key] is not None}  # fmt: skip
    objective = made("mfpo", until="train", **changes)[0].train.objective
    assert logged == {
        f"loss_{key}" for key in ("text", "image", "margin") if getattr(objective, key)
    }
    levels = {row["level"] for row in tables["train_groups"] if row["uses"]}
    assert levels == ({None} if ablation == "end to end" else {0, 1, 2})


@pytest.mark.parametrize("name", ["mfpo", "adavip"])
def test_the_defaults_that_need_no_weights_run_in_the_embedded_world(made, name):
    changes = {"mine.finder": {"kind": "cells"}}
    if name == "adavip":
        changes |= {"mine.inpainter": {"kind": "opencv"}}
    recipe, tables = made(name, until="train", **changes)
    assert name == "mfpo" or recipe.mine.ranker.kind == "policy"
    found = [row for row in tables["regions"] if row["found"]]
    assert found and all(0 < row["finder_score"] <= 1 for row in found)
    assert any(row["scope"] == "regions" and not row["reason"] for row in tables["negatives"])
    assert tables["train_steps"][0]["loss"] == pytest.approx(FIRST_LOSS[name], abs=1e-5)
