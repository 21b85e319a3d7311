"""What must not depend on how rows are batched, and where a run begins and a response ends."""

import pytest
import torch

from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.sampling import cut_at_eos
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.protocol import Counts, ScoredGroup

GROUPS = tuple(
    ScoredGroup(f"pair-{i}", "offline", ("chosen", "rejected"))
    if i % 2
    else ScoredGroup(f"prompt-{i}", "online", ("rollout",) * 3, (1.0, 0.0, float(i % 4 == 0)))
    for i in range(8)
)


def rows_of(policy, rows):
    """Rows of all groups: prompts and pictures in turn, responses of 1 to 7 tokens."""
    letters = policy.response_ids("the bird is red")[:-1]
    found = []
    for index, group in enumerate(GROUPS):
        row = rows[index % len(rows)]
        lengths = [(index + k) % 6 + 1 for k in range(len(group.roles))]
        responses = [[*(letters * 7)[k : k + n], policy.eos_ids[0]] for k, n in enumerate(lengths)]
        found.append([(row.prompt, response, row.image) for response in responses])
    return found


def score(policy, groups_of_rows):
    flat = [row for group in groups_of_rows for row in group]
    prompts, responses, images = (list(column) for column in zip(*flat, strict=True))
    return policy.token_logps(prompts, responses, to_units(images))


@pytest.mark.parametrize("stream", ["offline", "online"])
@pytest.mark.parametrize("aggregate", ["sample", "sequence", "token"])
def test_eight_groups_at_once_have_the_gradient_of_eight_in_turn(policy, rows, stream, aggregate):
    grouped = rows_of(policy, rows)
    objective = HybridGRPO(beta=0.5, aggregate=aggregate)
    responses = [row[1] for group in grouped for row in group]
    counts = Counts(len(GROUPS), len(responses), sum(map(len, responses)))
    parameters = list(policy.model.parameters())

    def gradient(size):
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for start in range(0, len(GROUPS), size):
            part = slice(start, start + size)
            logps = score(policy, grouped[part])
            reference = [row.detach() - 0.2 for row in logps]
            output = objective(logps, reference, GROUPS[part], counts)
            share = getattr(output, stream)
            found = torch.autograd.grad(share, parameters, materialize_grads=True)
            total = [old + new for old, new in zip(total, found, strict=True)]
        return torch.cat([part.flatten() for part in total])

    at_once, in_turn = gradient(8), gradient(1)
    scale = at_once.abs().max()
    assert scale > 1e-3
    torch.testing.assert_close(at_once, in_turn, rtol=1e-3, atol=float(1e-5 * scale))


@pytest.mark.parametrize("size", [8, 1])
def test_a_policy_has_no_divergence_from_itself(policy, rows, size):
    """Step 0: exactly none in the same batch, none but rounding in another; no pull either."""
    grouped = rows_of(policy, rows)
    with torch.no_grad():
        logps = score(policy, grouped)
        parts = [score(policy, grouped[i : i + size]) for i in range(0, len(grouped), size)]
    reference = [row for part in parts for row in part]
    logps = [row.requires_grad_() for row in logps]
    counts = Counts(len(GROUPS), len(logps), sum(map(len, logps)))
    output = HybridGRPO(beta=0.5)(logps, reference, GROUPS, counts)
    figures = output.metrics.values()
    bound = 0.0 if size == 8 else 1e-9
    assert abs(figures["kl_offline"]) <= bound
    assert abs(figures["kl_online"]) <= bound
    assert figures["max_reference_ratio_online"] == pytest.approx(1, abs=1e-4)
    free = HybridGRPO(beta=0.0)(logps, reference, GROUPS, counts)
    pulled = torch.autograd.grad(output.loss, logps)
    for one, other in zip(pulled, torch.autograd.grad(free.loss, logps), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["embedded"])
@pytest.mark.parametrize("which", [0, 1])
def test_every_end_of_the_checkpoint_ends_a_response_and_is_scored_in_it(policy, rows, which):
    listed = policy.model.generation_config.eos_token_id
    assert set(listed) == set(policy.eos_ids)
    end = policy.eos_ids[which]
    wanted = torch.zeros(policy.model.lm_head.out_features)
    wanted[end] = 1e4
    hook = policy.model.lm_head.register_forward_hook(lambda module, given, out: out + wanted)
    images = to_units([row.image for row in rows])
    drawn = policy.sample(
        [row.prompt for row in rows],
        images,
        range(len(rows)),
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=5,
    )
    logps = policy.token_logps([r.prompt for r in rows], [found.ids for found in drawn], images)
    hook.remove()
    assert all(found.ids == [end] and found.finished for found in drawn)
    assert all(row.tolist() == [0.0] for row in logps)
    assert cut_at_eos([7, end, 7, listed[0]], policy.eos_ids).ids == [7, end]


def test_only_the_response_is_scored_and_only_what_comes_before_it_counts(policy, rows):
    """A token has a gradient of the tokens up to itself, never of those that follow."""
    row = rows[0]
    embeddings = policy.model.get_input_embeddings()
    seen = []

    def watch(module, given, out):
        seen.append(out.detach().requires_grad_())
        return seen[-1]

    hook = embeddings.register_forward_hook(watch)
    (logps,) = policy.token_logps([row.prompt], [row.response], to_units([row.image]))
    hook.remove()
    for token in (0, len(row.response) - 1):
        (gradient,) = torch.autograd.grad(logps[token], seen[0], retain_graph=True)
        moved = gradient.reshape(-1, gradient.shape[-1]).abs().sum(dim=1) > 0
        reach = len(row.prompt) + token
        assert bool(moved[reach - 1])
        assert not bool(moved[reach:].any())
