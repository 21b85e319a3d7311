"""A group whose loss or gradient is no number is skipped and told; the weights stay whole."""

import math

import pytest
import torch

from mbpo_core.training import train
from mbpo_core.training.nonfinite import PATIENCE
from tests.mbpo_core.training.conftest import HYBRID, offline_group, online_group, weights

QUESTION = "What is it, 2?"
"""Of the group `pair-2`."""


class _NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


SPOIL = {
    "loss": lambda row: row * float("nan"),
    "infinite": lambda row: row - float("inf"),
    "gradient": _NoGradient.apply,
    "constant": lambda row: row * 0.0,
    "nothing": lambda row: row,
}


@pytest.fixture
def trained(new_policy, images, small, reward, tmp_path):
    """Train with the rows of some questions spoilt whenever the policy scores them."""

    def run(how, questions=(QUESTION,), groups=None, **changes):
        policy = new_policy()
        groups = groups or [offline_group(i) for i in range(6)]
        marked = {tuple(policy.prompt_ids(question, 56, 56)) for question in questions}
        score = policy.token_logps

        def spoilt(prompts, responses, shown, **options):
            rows = score(prompts, responses, shown, **options)
            return [SPOIL[how](row) if tuple(prompt) in marked and torch.is_grad_enabled() else row
                    for prompt, row in zip(prompts, rows, strict=True)]  # fmt: skip

        policy.token_logps = spoilt
        before = weights(policy)
        folder = tmp_path / f"{how}-{len(list(tmp_path.iterdir()))}"
        config = small(**{"groups_per_step": 6, "offline_epochs": 1} | changes)
        result = train(
            policy, groups, images, config, folder, reward, objective=HYBRID, resume=False
        )
        return result, before, weights(policy)

    return run


def moved(before, after):
    return any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("how", "changes"),
    [
        ("loss", {"micro_batch_groups": 6}),
        ("infinite", {"micro_batch_groups": 1}),
        ("loss", {"stream_norm_every": 1}),
    ],
)
def test_a_group_without_a_finite_loss_is_left_out_and_the_others_are_trained_on(
    trained, how, changes
):
    result, before, after = trained(how, **changes)
    (step,) = result.tables["steps"]
    assert step["skipped"] == 1 and math.isfinite(step["loss"]) and step["grad_norm"] > 0
    assert result.tables["skipped"] == [
        {"step": 1, "group_id": "pair-2", "reason": "nonfinite_loss"}
    ]
    assert moved(before, after)
    # As if the group had been there without a part in the gradient: counts do not change.
    _, _, expected = trained("constant", **changes)
    for name, value in expected.items():
        torch.testing.assert_close(after[name], value, atol=2e-5, rtol=1e-4)


def test_a_step_without_a_finite_gradient_changes_no_weight_and_the_next_one_does(trained):
    result, before, after = trained("gradient", micro_batch_groups=3)
    (step,) = result.tables["steps"]
    assert step["skipped"] == 6 and step["grad_norm"] is None and math.isfinite(step["loss"])
    assert {row["reason"] for row in result.tables["skipped"]} == {"nonfinite_gradient"}
    assert not moved(before, after)
    again, before, after = trained("gradient", groups_per_step=3)
    assert sorted(row["skipped"] for row in again.tables["steps"]) == [0, 3]
    assert moved(before, after) and all(value.isfinite().all() for value in after.values())


def test_rollouts_of_a_broken_prompt_are_skipped_like_pairs(trained):
    groups = [offline_group(i) for i in range(3)] + [online_group(i) for i in range(6, 9)]
    result, _, after = trained(
        "loss", questions=("Is it 7?",), groups=groups, online_epochs=1, micro_batch_groups=6
    )
    assert [row["group_id"] for row in result.tables["skipped"]] == ["prompt-7"]
    assert all(value.isfinite().all() for value in after.values())


def test_an_undisturbed_run_skips_nothing(trained):
    result, *_ = trained("nothing")
    assert [row["skipped"] for row in result.tables["steps"]] == [0]
    assert result.tables["skipped"] == []


def test_a_run_in_which_nothing_can_be_trained_on_ends_with_an_error(
    new_policy, groups, images, small, reward, tmp_path
):
    policy = new_policy()
    with torch.no_grad():
        policy.model.lm_head.weight[0, 0] = float("nan")
    config = small(offline_epochs=9, probe_every=4)
    with pytest.raises(FloatingPointError, match=rf"in the {PATIENCE} steps up to {PATIENCE} \("):
        train(policy, groups, images, config, tmp_path, reward, objective=HYBRID, resume=False)
