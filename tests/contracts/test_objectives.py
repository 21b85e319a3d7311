"""What every objective of the settings keeps to once it is built as training builds it."""

import math

import pytest
import torch
from pydantic import TypeAdapter

from mbpo_core.config import training as config
from mbpo_core.objectives.protocol import Counts, Objective, ObjectiveOutput, ScoredGroup
from tasks.train_process import objective_of, training_config
from tasks.train_tables import TRAIN_STEPS
from tests.contracts.unions import members
from tests.pipelines import small_recipe

ANY = TypeAdapter(config.Objective)
WEIGHTS = [(t, i, m) for t in (0, 1.5) for i in (0, 0.5) for m in (0, 2) if t or i or m]
CASES = {
    "hybrid": config.HybridGRPO(),
    "hybrid-raw": config.HybridGRPO(advantages="raw", aggregate="token", rejected_reward=-1),
    "hybrid-sequence": config.HybridGRPO(aggregate="sequence", beta=0),
    **{
        f"preference-{t}-{i}-{m}": config.Preference(text=t, image=i, margin=m, eta=0.2)
        for t, i, m in WEIGHTS
    },
    "plackett_luce": config.PlackettLuce(),
    "sft": config.SFT(),
}
every = pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
OTHER = {
    "beta": 0.3, "clip": 0.1, "advantages": "raw", "aggregate": "token", "chosen_reward": 3.0,
    "rejected_reward": -1.0, "generations": 5, "temperature": 0.7, "top_p": 0.9,
    "max_new_tokens": 33, "text": 0.25, "image": 0.75, "margin": 0.35, "eta": 0.4,
}  # fmt: skip
"""Another value for each setting."""


def built(settings: config.Objective) -> Objective:
    return objective_of(config.TrainConfig(objective=settings))


def scored(objective: Objective, groups: list[ScoredGroup]) -> tuple[ObjectiveOutput, list]:
    """The output on random rows of 1 to 6 tokens, and these rows."""
    generator = torch.Generator().manual_seed(len(groups))
    size = sum(len(group.roles) for group in groups)
    lengths = torch.randint(1, 7, (size,), generator=generator).tolist()
    rows = [-torch.rand(n, generator=generator) for n in lengths]
    rows = [row.requires_grad_() for row in rows]
    reference = [(row.detach() - 0.1) for row in rows] if objective.needs_reference else []
    output = objective(rows, reference, groups, Counts(len(groups), size, sum(lengths)))
    return output, rows


def prompt(name: str) -> ScoredGroup:
    return ScoredGroup(name, "online", ("rollout",) * 3, (1.0, 0.0, 0.0))


def test_every_member_has_a_case():
    assert {type(case) for case in CASES.values()} == set(members(config.Objective))


@every
def test_settings_and_objective_agree_on_roles_and_streams(settings):
    objective = built(settings)
    assert objective.roles == settings.roles
    assert objective.online == settings.online


@every
def test_a_gradient_flows_to_every_role_that_is_read(settings):
    objective = built(settings)
    groups = [ScoredGroup(f"g{i}", "offline", settings.roles) for i in range(3)]
    output, rows = scored(objective, groups)
    output.loss.backward()
    assert len(rows) == 3 * len(settings.roles)
    for row in rows:
        assert row.grad.isfinite().all() and row.grad.all()


@every
def test_rollouts_have_a_gradient_where_there_is_a_loss_for_them(settings):
    objective = built(settings)
    groups = [ScoredGroup("pair", "offline", settings.roles), prompt("prompt")]
    if not settings.online:
        with pytest.raises(ValueError, match="group prompt: this objective has no loss for roll"):
            scored(objective, groups)
        return
    output, rows = scored(objective, groups)
    output.online.backward()
    assert all(row.grad is None or not row.grad.any() for row in rows[: len(settings.roles)])
    assert all(row.grad.isfinite().all() and row.grad.all() for row in rows[-3:])


@every
def test_every_figure_is_finite_and_has_a_column(settings):
    groups = [ScoredGroup("pair", "offline", settings.roles)]
    groups += [prompt("prompt")] if settings.online else []
    output, _ = scored(built(settings), groups)
    figures = output.metrics.values()
    assert figures and math.isfinite(output.loss.item())
    assert all(math.isfinite(value) for value in figures.values() if value is not None)
    assert figures.keys() <= set(TRAIN_STEPS.schema.names)
    for role in (*settings.roles, *(["rollout"] if settings.online else [])):
        assert figures[f"logp_{role}_mean"] is not None


@every
def test_it_survives_json(settings):
    assert ANY.validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("member", "name"),
    [(m, name) for m in members(config.Objective) for name in m.model_fields if name != "kind"],
)
def test_every_setting_reaches_training(member, name):
    """Either the objective or the rollouts are others with another value."""
    recipe = small_recipe()

    def told(settings: config.Objective) -> str:
        train = recipe.train.model_copy(update={"objective": settings})
        whole = training_config(recipe.model_copy(update={"train": train}))
        return f"{built(settings)!r} {whole!r}"

    settings = member()
    assert getattr(settings, name) != OTHER[name]
    changed = ANY.validate_python(settings.model_dump() | {name: OTHER[name]})
    assert told(changed) != told(settings)
