"""The control against transformers' own loss: the model scores and averages its own labels."""

import pytest
import torch

from mbpo_core.objectives.protocol import Counts, ScoredGroup
from mbpo_core.objectives.sft import SFT
from tests.mbpo_core.exact.columns import columns, transformers_inputs


def test_loss_and_gradient_are_those_of_transformers_labels(tiny_policy, tiny_rows):
    """Rows of unequal length, padded: the mean is over all tokens of all rows."""
    policy, parameters = tiny_policy, list(tiny_policy.model.parameters())
    inputs = transformers_inputs(policy, tiny_rows, "right")
    labels = torch.full_like(inputs["input_ids"], -100)
    for label, ids, row in zip(labels, inputs["input_ids"], tiny_rows, strict=True):
        response = slice(len(row.prompt), len(row.prompt) + len(row.response))
        label[response] = ids[response]
    theirs = policy.model(**inputs, labels=labels).loss
    expected = torch.autograd.grad(theirs, parameters, allow_unused=True)

    logps = policy.token_logps(*columns(tiny_rows))
    groups = [ScoredGroup(row.sample_id, "offline", ("chosen",)) for row in tiny_rows]
    tokens = sum(map(len, logps))
    assert len({len(row) for row in logps}) > 1
    ours = SFT()(logps, (), groups, Counts(len(groups), len(groups), tokens)).loss
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    found = torch.autograd.grad(ours, parameters, allow_unused=True)
    scale = max(float(gradient.abs().max()) for gradient in expected if gradient is not None)
    assert scale > 1e-3
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5 * scale)


def test_a_long_response_weighs_by_its_tokens():
    logps = [torch.full((length,), -1.0, requires_grad=True) for length in (1, 9)]
    groups = [ScoredGroup(name, "offline", ("chosen",)) for name in "ab"]
    output = SFT()(logps, (), groups, Counts(2, 2, 10))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(1.0)
    for row in logps:
        torch.testing.assert_close(row.grad, torch.full_like(row, -0.1))
    figures = output.metrics.values()
    assert (figures["logp_chosen_sum"], figures["length_chosen"]) == (-5.0, 5.0)
    assert figures["margin_sum"] is None
