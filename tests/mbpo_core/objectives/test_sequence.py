import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.objectives.sequence import divide_once, kl_terms, lengths, pad, token_sums

rows = st.lists(
    st.lists(st.floats(-20, 0, width=32), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(rows)
def test_padding_changes_neither_sums_nor_lengths(values):
    padded, mask = pad([torch.tensor(row) for row in values])
    expected = torch.tensor([math.fsum(row) for row in values])
    torch.testing.assert_close(token_sums(padded, mask), expected, atol=1e-4, rtol=1e-5)
    assert lengths(mask).tolist() == [len(row) for row in values]


def test_masked_tokens_have_no_gradient_even_where_they_are_infinite():
    values = torch.tensor([[1.0, 2.0], [3.0, float("inf")]], requires_grad=True)
    mask = torch.tensor([[True, True], [True, False]])
    total = token_sums(values, mask)
    total.sum().backward()
    assert total.tolist() == [3.0, 3.0]
    assert values.grad.tolist() == [[1.0, 1.0], [1.0, 0.0]]


@given(st.floats(-5, 0, width=32), st.floats(-5, 0, width=32))
def test_kl_is_its_closed_form_and_never_negative(logp, reference):
    value = kl_terms(torch.tensor(logp), torch.tensor(reference)).item()
    difference = reference - logp
    assert value == pytest.approx(math.expm1(difference) - difference, abs=1e-4, rel=1e-4)
    assert value >= -1e-6


def test_kl_estimates_the_divergence_on_samples_of_the_policy():
    policy = torch.tensor([0.5, 0.3, 0.2]).log()
    reference = torch.tensor([0.2, 0.3, 0.5]).log()
    # The expectation under the policy is exact: the terms -(ref - lp) - 1 + exp(ref - lp) sum so.
    expected = (policy.exp() * (policy - reference)).sum()
    torch.testing.assert_close((policy.exp() * kl_terms(policy, reference)).sum(), expected)


def test_half_precision_rows_are_scored_in_float32():
    padded, _ = pad([torch.tensor([-1.5], dtype=torch.bfloat16)])
    assert padded.dtype == torch.float32


def test_nothing_to_pad_and_nothing_to_divide_by_are_refused():
    with pytest.raises(ValueError, match="non-empty rows"):
        pad([torch.tensor([1.0]), torch.tensor([])])
    with pytest.raises(ValueError, match="must be positive"):
        divide_once(torch.tensor(1.0), 0)
