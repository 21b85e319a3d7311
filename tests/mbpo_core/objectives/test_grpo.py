import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.objectives.grpo import HybridGRPO, group_advantages
from mbpo_core.objectives.protocol import Counts, ScoredGroup

PAIR = ScoredGroup("pair", "offline", ("chosen", "rejected"))
PROMPT = ScoredGroup("prompt", "online", ("rollout",) * 3, (1.0, 0.0, 0.0))
EQUAL = ScoredGroup("equal", "online", ("rollout",) * 3, (1.0, 1.0, 1.0))
rewards = st.lists(st.integers(-8, 8), min_size=2, max_size=8).filter(lambda r: len(set(r)) > 1)


def random_rows(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [-torch.rand(length, generator=generator) - 0.1 for length in lengths]


def counts_of(groups, lengths):
    return Counts(len(groups), len(lengths), sum(lengths))


def gradients(objective, groups, lengths, *, counts=None, shift=0.2, old=None):
    """d loss / d lp of every row, with a reference that is `shift` lower."""
    logps = [row.requires_grad_() for row in random_rows(lengths)]
    reference = [row.detach() - shift for row in logps]
    output = objective(logps, reference, groups, counts or counts_of(groups, lengths), old)
    output.loss.backward()
    return [row.grad for row in logps], output


# --- advantages -----------------------------------------------------------------------------------


@given(rewards)
def test_advantages_have_mean_zero_and_the_order_of_rewards(values):
    advantages = group_advantages(torch.tensor(values))
    assert advantages.sum().item() == pytest.approx(0, abs=1e-4)
    for r1, a1 in zip(values, advantages, strict=True):
        for r2, a2 in zip(values, advantages, strict=True):
            assert (r1 < r2) == (a1.item() < a2.item())


@given(rewards, st.integers(-99, 99))
def test_a_shift_of_the_rewards_changes_no_bit_of_the_advantages(values, shift):
    shifted = torch.tensor(values) + shift
    assert torch.equal(group_advantages(torch.tensor(values)), group_advantages(shifted))


@given(rewards, st.integers(1, 50))
def test_a_scale_of_the_rewards_acts_through_the_constant_under_the_line_alone(values, scale):
    """A(c r; e) = A(r; e / c), so the relative change is at most e / std r."""
    rewards = torch.tensor(values).float()
    scaled = group_advantages(scale * rewards, eps=1e-4)
    torch.testing.assert_close(scaled, group_advantages(rewards, eps=1e-4 / scale))
    before = group_advantages(rewards, eps=1e-4)
    bound = before.abs() * 1e-4 / rewards.std()
    assert bool(((scaled - before).abs() <= bound + 1e-6).all())


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_equal_rewards_have_exactly_no_advantage(value, size):
    assert group_advantages(torch.full((size,), value)).tolist() == [0.0] * size


def test_a_pair_has_plus_and_minus_one_over_root_two_by_the_sample_deviation():
    expected = 1 / (math.sqrt(2) + 1e-4)  # rewards 2 and 0: mean 1, sample deviation sqrt 2
    assert HybridGRPO().group_advantages(PAIR).tolist() == pytest.approx([expected, -expected])
    assert HybridGRPO(advantages="raw").group_advantages(PAIR).tolist() == [2.0, 0.0]


# --- the loss by closed form ----------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", ["sample", "sequence", "token"])
def test_gradient_of_each_aggregation_by_closed_form(aggregate):
    """d l_t / d lp_t = -A + beta (1 - exp(ref - lp)), times what the token weighs."""
    groups, lengths, beta = [PAIR, PROMPT], [4, 2, 1, 3, 2], 0.04
    objective = HybridGRPO(beta=beta, aggregate=aggregate)
    grads, _ = gradients(objective, groups, lengths)
    advantages = torch.cat([objective.group_advantages(g) for g in groups])
    sizes = [2, 2, 3, 3, 3]
    weight = {
        "sample": lambda i: 1 / (len(groups) * sizes[i] * lengths[i]),
        "sequence": lambda i: 1 / (len(lengths) * lengths[i]),
        "token": lambda i: 1 / sum(lengths),
    }[aggregate]
    for i, grad in enumerate(grads):
        slope = -advantages[i].item() + beta * (1 - math.exp(-0.2))
        torch.testing.assert_close(grad, torch.full((lengths[i],), slope * weight(i)))


@pytest.mark.parametrize("aggregate", ["sample", "sequence", "token"])
def test_value_splits_into_streams(aggregate):
    """With ratio 1 the gains of a group with mean advantage 0 and equal lengths vanish."""
    groups, lengths = [PAIR, PROMPT], [3] * 5
    _, output = gradients(HybridGRPO(beta=0.5, aggregate=aggregate), groups, lengths)
    kl = math.exp(-0.2) + 0.2 - 1
    share = {"sample": (1 / 2, 1 / 2), "sequence": (2 / 5, 3 / 5), "token": (2 / 5, 3 / 5)}
    offline, online = share[aggregate]
    assert output.offline.item() == pytest.approx(0.5 * kl * offline, rel=1e-4)
    assert output.online.item() == pytest.approx(0.5 * kl * online, rel=1e-4)
    assert output.loss.item() == pytest.approx(0.5 * kl, rel=1e-4)


@pytest.mark.parametrize("aggregate", ["sample", "sequence", "token"])
def test_micro_batches_add_up_to_the_batch(aggregate):
    """One batch of two groups = the sum of two batches of one, per stream, if counts are shared."""
    objective, counts = HybridGRPO(aggregate=aggregate), Counts(2, 5, 12)
    rows = random_rows([4, 2, 1, 3, 2])
    reference = [row - 0.1 for row in rows]
    whole = objective(rows, reference, [PAIR, PROMPT], counts)
    first = objective(rows[:2], reference[:2], [PAIR], counts)
    second = objective(rows[2:], reference[2:], [PROMPT], counts)
    torch.testing.assert_close(whole.offline, first.offline)
    torch.testing.assert_close(whole.online, second.online)
    assert first.online.item() == second.offline.item() == 0
    first.metrics.merge(second.metrics)
    assert first.metrics.values() == pytest.approx(whole.metrics.values())


def test_equal_rewards_leave_only_the_pull_to_the_reference():
    grads, output = gradients(HybridGRPO(beta=0.04), [EQUAL], [2, 2, 2])
    for grad in grads:
        torch.testing.assert_close(grad, torch.full((2,), 0.04 * (1 - math.exp(-0.2)) / 6))
    still, _ = gradients(HybridGRPO(beta=0.0), [EQUAL], [2, 2, 2])
    assert all(bool((grad == 0).all()) for grad in still)
    assert output.metrics.values()["degenerate_share"] == 1.0


def test_raw_rewards_leave_the_rejected_response_only_the_pull_to_the_reference():
    objective = HybridGRPO(advantages="raw", beta=0.0)
    (chosen, rejected), _ = gradients(objective, [PAIR], [3, 3])
    torch.testing.assert_close(chosen, torch.full((3,), -2.0 / 6))
    assert bool((rejected == 0).all())
    (_, pulled), _ = gradients(HybridGRPO(advantages="raw", beta=0.04), [PAIR], [3, 3])
    torch.testing.assert_close(pulled, torch.full((3,), 0.04 * (1 - math.exp(-0.2)) / 6))


def test_kl_is_zero_and_the_loss_has_a_gradient_where_policy_and_reference_agree():
    grads, output = gradients(HybridGRPO(), [PAIR], [2, 2], shift=0.0)
    figures = output.metrics.values()
    assert figures["kl_offline"] == 0.0
    assert figures["max_reference_ratio_offline"] == 1.0
    assert figures["kl_online"] is None
    assert grads[0].sum() < 0 < grads[1].sum()


# --- the clipped ratio ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "clipped_rows"), [(0.3, [True, False]), (-0.3, [False, True]), (0.1, [False, False])]
)
def test_clip_stops_a_ratio_that_has_moved_the_right_way_far_enough(shift, clipped_rows):
    """exp(0.3) > 1.2 stops raising the good response, exp(-0.3) < 0.8 lowering the bad one."""
    group = ScoredGroup("g", "online", ("rollout", "rollout"), (1.0, 0.0))
    old = [row - shift for row in random_rows([2, 2])]
    objective = HybridGRPO(beta=0.0, clip=0.2)
    grads, output = gradients(objective, [group], [2, 2], old=old)
    advantage = objective.group_advantages(group)[0].item()
    for grad, sign, clipped in zip(grads, (1, -1), clipped_rows, strict=True):
        slope = 0.0 if clipped else -sign * advantage * math.exp(shift) / 4
        torch.testing.assert_close(grad, torch.full((2,), slope))
    assert output.metrics.values()["clip_share_online"] == sum(clipped_rows) / 2


def test_an_old_policy_that_is_the_current_one_changes_nothing():
    plain, _ = gradients(HybridGRPO(), [PAIR, PROMPT], [4, 2, 1, 3, 2])
    old = random_rows([4, 2, 1, 3, 2])
    same, _ = gradients(HybridGRPO(), [PAIR, PROMPT], [4, 2, 1, 3, 2], old=[None, None, *old[2:]])
    for a, b in zip(plain, same, strict=True):
        torch.testing.assert_close(a, b)


# --- a tabular policy -----------------------------------------------------------------------------


@pytest.mark.parametrize("advantages", ["pair", "raw"])
@pytest.mark.parametrize("aggregate", ["sample", "sequence", "token"])
def test_a_small_step_lowers_the_surrogate_and_raises_the_margin(advantages, aggregate):
    """Tabular policy over 5 tokens and 4 positions; the ratio is to where it stood."""
    torch.manual_seed(0)
    table = torch.randn(2, 4, 5, requires_grad=True)
    tokens = torch.randint(5, (2, 4))
    objective = HybridGRPO(advantages=advantages, aggregate=aggregate)

    def logps():
        return list(table.log_softmax(-1).gather(-1, tokens[..., None])[..., 0])

    start = [row.detach() for row in logps()]
    before = objective(logps(), start, [PAIR], Counts(1, 2, 8), start)
    before.loss.backward()
    with torch.no_grad():
        table -= 0.05 * table.grad
    after = objective(logps(), start, [PAIR], Counts(1, 2, 8), start)
    assert after.loss.item() < before.loss.item()
    assert after.metrics.values()["margin_sum"] > before.metrics.values()["margin_sum"]


def test_metrics_tell_length_from_preference():
    """Every token at -0.01 nat: a margin in the sum, none per token."""
    rows = [torch.full((8,), -0.01), torch.full((120,), -0.01)]
    figures = HybridGRPO()(rows, rows, [PAIR], Counts(1, 2, 128)).metrics.values()
    assert figures["margin_sum"] == pytest.approx(1.12, rel=1e-4)
    assert figures["margin_mean"] == pytest.approx(0.0, abs=1e-6)
    assert (figures["length_chosen"], figures["length_rejected"]) == (8, 120)


def test_what_it_refuses():
    rows = random_rows([2, 2])
    counts = Counts(1, 2, 4)
    with pytest.raises(ValueError, match=r"2 rows in groups, 1 scored"):
        HybridGRPO()(rows[:1], rows, [PAIR], counts)
    with pytest.raises(ValueError, match="3 rollouts, 0 rewards"):
        group = ScoredGroup("g", "online", ("rollout",) * 3)
        HybridGRPO()(random_rows([1] * 3), random_rows([1] * 3), [group], counts)
    with pytest.raises(ValueError, match="got rejected_image"):
        HybridGRPO()(
            rows, rows, [ScoredGroup("g", "offline", ("chosen", "rejected_image"))], counts
        )
    for bad in ({"beta": -1}, {"clip": 0}, {"aggregate": "batch"}, {"advantages": "z"}):
        with pytest.raises(ValueError, match=r"expected|must be"):
            HybridGRPO(**bad)


def test_raw_rewards_are_a_reading_of_pairs_and_leave_prompts_alone():
    raw, pair = (HybridGRPO(advantages=reading) for reading in ("raw", "pair"))
    assert torch.equal(raw.group_advantages(PROMPT), pair.group_advantages(PROMPT))
