"""What holds of every objective, over all of them."""

import math

import pytest
import torch

from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import PlackettLuce
from mbpo_core.objectives.preference import PreferenceLosses
from mbpo_core.objectives.protocol import Counts, ScoredGroup
from mbpo_core.objectives.sft import SFT
from tasks.train_tables import TRAIN_STEPS

OBJECTIVES = {
    "hybrid": HybridGRPO(),
    "hybrid-raw-token": HybridGRPO(advantages="raw", aggregate="token"),
    "dpo": PreferenceLosses(),
    "mfpo": PreferenceLosses(image=1, margin=1, eta=0.2),
    "adavip-fixed": PreferenceLosses(image=1),
    "image-alone": PreferenceLosses(text=0, image=1),
    "margin-alone": PreferenceLosses(text=0, margin=1),
    "adavip": PlackettLuce(),
    "sft": SFT(),
}
PREFERENCES = [name for name in OBJECTIVES if not name.startswith("hybrid")]
every = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
preference = pytest.mark.parametrize("objective", [OBJECTIVES[n] for n in PREFERENCES],
                                     ids=PREFERENCES)  # fmt: skip


def batch(objective, groups=4, seed=0, scale=1.0):
    """Groups of rows of 1 to 7 tokens, with a reference beside them."""
    generator = torch.Generator().manual_seed(seed)
    size = groups * len(objective.roles)
    lengths = torch.randint(1, 8, (size,), generator=generator).tolist()
    logps = [-scale * torch.rand(n, generator=generator) for n in lengths]
    reference = [-scale * torch.rand(n, generator=generator) for n in lengths]
    scored = [ScoredGroup(f"g{i}", "offline", objective.roles) for i in range(groups)]
    return [row.requires_grad_() for row in logps], reference, scored


def counts_of(groups, logps):
    return Counts(len(groups), len(logps), sum(map(len, logps)))


@every
def test_roles_begin_with_the_chosen_one_and_repr_tells_the_settings(objective):
    assert objective.roles[0] == "chosen"
    assert eval(repr(objective)) == objective
    assert len({repr(other) for other in OBJECTIVES.values()}) == len(OBJECTIVES)


@every
def test_every_row_has_a_finite_gradient_and_the_reference_has_none(objective):
    logps, reference, groups = batch(objective)
    reference = [row.requires_grad_() for row in reference]
    output = objective(logps, reference, groups, counts_of(groups, logps))
    assert output.offline.shape == output.online.shape == ()
    assert output.offline.dtype == torch.float32
    output.loss.backward()
    for row in logps:
        assert bool(row.grad.isfinite().all())
    assert any(bool(row.grad.any()) for row in logps)
    assert all(row.grad is None for row in reference)
    assert all(math.isfinite(v) for v in output.metrics.values().values() if v is not None)


@every
def test_a_batch_is_the_sum_of_its_micro_batches_and_their_order_does_not_count(objective):
    logps, reference, groups = batch(objective)
    counts, width = counts_of(groups, logps), len(objective.roles)
    whole = objective(logps, reference, groups, counts)
    parts = []
    for index in (2, 0, 3, 1):
        rows = slice(index * width, (index + 1) * width)
        parts.append(objective(logps[rows], reference[rows], [groups[index]], counts))
    torch.testing.assert_close(sum(part.offline for part in parts), whole.offline)
    merged = parts[0].metrics
    for part in parts[1:]:
        assert part.metrics.values().keys() == merged.values().keys()
        merged.merge(part.metrics)
    for name, value in whole.metrics.values().items():
        found = merged.values()[name]
        assert found is value is None or found == pytest.approx(value, rel=1e-5, abs=1e-6), name


@every
def test_the_log_of_training_has_a_column_for_every_figure(objective):
    logps, reference, groups = batch(objective, groups=1)
    output = objective(logps, reference, groups, counts_of(groups, logps))
    assert output.metrics.values().keys() <= set(TRAIN_STEPS.schema.names)


@preference
@pytest.mark.parametrize("lost", [True, False], ids=["lost", "won"])
def test_extreme_margins_stay_finite_and_lost_ones_keep_their_pull(objective, lost):
    """The chosen one 4000 nats of reward behind all others, or before them."""
    far = torch.tensor([-40_000.0 if lost else -1.0])
    near = torch.tensor([-1.0 if lost else -40_000.0])
    logps = [(far if role == "chosen" else near).clone() for role in objective.roles]
    logps = [row.requires_grad_() for row in logps]
    group = ScoredGroup("g", "offline", objective.roles)
    reference = [torch.tensor([-20_000.0])] * len(logps)
    output = objective(logps, reference, [group], Counts(1, len(logps), len(logps)))
    output.loss.backward()
    assert math.isfinite(output.loss.item())
    assert all(bool(row.grad.isfinite().all()) for row in logps)
    pull = -logps[0].grad.item()
    if isinstance(objective, SFT):
        assert pull == 1  # a likelihood does not saturate
    elif lost:
        assert pull >= objective.beta * (1 - 1e-6)
    else:
        assert pull == pytest.approx(0, abs=1e-12)


@preference
def test_what_it_cannot_read_is_refused_with_the_group_named(objective):
    logps, reference, groups = batch(objective, groups=1)
    counts = counts_of(groups, logps)
    online = ScoredGroup("prompt", "online", ("rollout",) * len(logps), (1.0,) * len(logps))
    with pytest.raises(ValueError, match="group prompt: this objective has no loss for rollouts"):
        objective(logps, reference, [online], counts)
    other = ScoredGroup("odd", "offline", (*objective.roles[:-1], "best"))
    with pytest.raises(ValueError, match=r"group odd: expected rows of \['chosen'.*'best'\]"):
        objective(logps, reference, [other], counts)
    with pytest.raises(ValueError, match=rf"{len(logps)} rows in groups, {len(logps) + 1} scored"):
        objective([*logps, logps[0]], [*reference, reference[0]], groups, counts)


@preference
def test_its_share_of_rollouts_is_a_zero_without_gradient(objective):
    logps, reference, groups = batch(objective, groups=2)
    output = objective(logps, reference, groups, counts_of(groups, logps))
    assert output.online.item() == 0 and not output.online.requires_grad
    assert output.offline.requires_grad


@pytest.mark.parametrize("name", ["dpo", "mfpo", "adavip"])
def test_half_precision_rows_are_summed_and_subtracted_in_float32(name):
    """In bfloat16 a token of -0.01 vanishes beside -300, and so does their difference."""
    objective = OBJECTIVES[name]
    rows = [torch.tensor([-300.0, -0.01 * (i + 1)]).bfloat16() for i in range(len(objective.roles))]
    reference = [torch.tensor([-300.0, 0.0]).bfloat16()] * len(rows)
    groups, counts = [ScoredGroup("g", "offline", objective.roles)], Counts(1, len(rows), 4)
    half = objective(rows, reference, groups, counts)
    whole = objective([r.float() for r in rows], [r.float() for r in reference], groups, counts)
    assert half.loss.dtype == torch.float32
    assert torch.equal(half.loss, whole.loss)
    assert half.metrics.values()["reward_chosen"] == pytest.approx(-0.01 * objective.beta, rel=0.01)
