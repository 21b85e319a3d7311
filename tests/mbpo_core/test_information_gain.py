import dataclasses

import pytest
import torch

from mbpo_core.information_gain import gain_row, information_gain
from mbpo_core.models.preprocessing import blank_like


def test_a_blank_image_has_a_gain_of_exactly_zero(tiny_policy, tiny_rows):
    rows = [dataclasses.replace(row, image=blank_like(row.image)) for row in tiny_rows]
    for gain in information_gain(tiny_policy, rows):
        assert gain.iig_sum == 0
        assert gain.iig_mean == 0
        assert gain.image_token_logps == gain.blank_token_logps


def test_gain_is_image_minus_blank(tiny_policy, tiny_rows):
    for row, gain in zip(tiny_rows, information_gain(tiny_policy, tiny_rows), strict=True):
        image = row.image.float() / 255
        arguments = [row.prompt], [row.response]
        (seen,) = tiny_policy.token_logps(*arguments, [image])
        (unseen,) = tiny_policy.token_logps(*arguments, [torch.zeros_like(image)])
        assert gain.sample_id == row.sample_id
        assert gain.n_tokens == len(row.response) == len(gain.image_token_logps)
        assert gain.iig_sum == pytest.approx((seen - unseen).sum().item(), abs=1e-4)
        assert gain.iig_mean == gain.iig_sum / gain.n_tokens
        assert gain.iig_sum != 0


def test_sums_in_float64():
    """In float32 the small term would vanish beside the large one."""
    image = torch.tensor([0.0, 0.0, 0.0])
    blank = torch.tensor([2.0**24, 1.0, -(2.0**24)])
    gain = gain_row("a", image, blank)
    assert gain.iig_sum == -1.0
    assert gain.iig_mean == -1.0 / 3


def test_needs_no_gradient(tiny_policy, tiny_rows):
    information_gain(tiny_policy, tiny_rows)
    assert all(p.grad is None for p in tiny_policy.model.parameters())
