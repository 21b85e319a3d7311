"""What half precision costs, stated as bounds, and derivatives in double precision."""

import copy

import pytest
import torch

from mbpo_core.evaluation import embedded
from mbpo_core.information_gain import information_gain
from mbpo_core.models.preprocessing import blank_like, to_units
from mbpo_core.models.protocol import PromptedResponse
from tests.mbpo_core.exact.columns import columns
from tests.mbpo_core.exact.conftest import embedded_row
from tests.mbpo_core.models.test_qwen_vl import in_double


def in_half(policy):
    half = copy.copy(policy)
    half.model = copy.deepcopy(policy.model).bfloat16()
    return half


@pytest.fixture
def many_rows(policy):
    """Every kind of question about twelve scenes."""
    return [embedded_row(policy, item) for item in embedded.load("test", "counter", 12).questions]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_log_softmax_of_half_logits_runs_in_float32(policy, rows, dtype):
    """Each score is that of one of the head's own logits, to float32's rounding.

    A log-softmax in the dtype of the logits is a hundred times as far off.
    """
    half = copy.copy(policy)
    half.model = copy.deepcopy(policy.model).to(dtype)
    seen = []
    hook = half.model.lm_head.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.no_grad():
        found = torch.cat(half.token_logps(*columns(rows)))
    hook.remove()
    logits = torch.cat([out.reshape(-1, out.shape[-1]) for out in seen])
    assert (logits.dtype, found.dtype) == (dtype, torch.float32)
    targets = torch.tensor([token for row in rows for token in row.response])

    def error(log_softmax):
        # The head may see the rows in any order: the nearest one is the token's own.
        return (log_softmax[:, targets].double() - found).abs().min(dim=0).values

    assert error(logits.double().log_softmax(-1)).max() < 3e-6
    assert error(logits.log_softmax(-1)).max() > 3e-4


@pytest.mark.parametrize("kind", ["embedded"])
def test_error_of_a_bfloat16_model_per_token_and_in_the_gain(policy, many_rows):
    """Measured: 0.0024 nats a token on average and 0.11 at most; 0.05 and 0.3 in the gain."""
    half = in_half(policy)
    with torch.no_grad():
        exact = torch.cat(policy.token_logps(*columns(many_rows)))
        rounded = torch.cat(half.token_logps(*columns(many_rows)))
    error = (exact - rounded).abs()
    assert 0 < error.mean() < 0.006
    assert error.max() < 0.3
    assert (exact - rounded).mean().abs() < 0.002

    gains, halved = (
        torch.tensor([gain.iig_sum for gain in information_gain(each, many_rows)])
        for each in (policy, half)
    )
    assert (gains - halved).abs().mean() < 0.1
    assert (gains - halved).abs().mean() < 0.02 * gains.std()
    assert torch.corrcoef(torch.stack([gains, halved]))[0, 1] > 0.999


@pytest.mark.parametrize("kind", ["embedded"])
def test_signs_of_a_bfloat16_gradient_agree_where_they_matter(policy, rows):
    def gradient(each):
        prompts, responses, images = columns(rows)
        points = [image.clone().requires_grad_() for image in images]
        logps = each.token_logps(prompts, responses, points)
        return torch.cat([g.flatten() for g in torch.autograd.grad(torch.cat(logps).sum(), points)])

    exact, rounded = gradient(policy), gradient(in_half(policy))
    agree = (exact.sign() == rounded.sign()).float()
    assert agree.mean() > 0.9
    assert (agree * exact.abs()).sum() / exact.abs().sum() > 0.99


@pytest.mark.parametrize("kind", ["embedded"])
def test_blank_against_blank_gains_exactly_nothing(policy, rows):
    blank = [
        PromptedResponse(row.sample_id, row.prompt, row.response, blank_like(row.image))
        for row in rows
    ]
    for gain in information_gain(policy, blank):
        assert (gain.iig_sum, gain.iig_mean) == (0, 0)
        assert gain.image_token_logps == gain.blank_token_logps
    assert all(gain.iig_sum != 0 for gain in information_gain(policy, rows))


@pytest.mark.parametrize("kind", ["embedded"])
def test_directional_finite_difference_of_a_batch_in_float64(policy, rows, monkeypatch):
    """All pictures move at once, each in a direction of its own."""
    policy.model.double()
    in_double(policy.model, monkeypatch)
    prompts, responses, images = columns(rows)
    points = [image.double().requires_grad_() for image in images]

    def logp(pixels):
        return torch.cat(policy.token_logps(prompts, responses, pixels)).sum()

    gradients = torch.autograd.grad(logp(points), points)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        ways = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in points]
        with torch.no_grad():
            ends = [
                logp([x + sign * 1e-5 * way for x, way in zip(points, ways, strict=True)])
                for sign in (1, -1)
            ]
        expected = sum((g * way).sum() for g, way in zip(gradients, ways, strict=True))
        torch.testing.assert_close((ends[0] - ends[1]) / 2e-5, expected, rtol=1e-6, atol=1e-7)


def test_gradient_of_a_parameter_by_finite_difference_in_float64(policy, rows, monkeypatch):
    """The head, the tower and the layers between them."""
    policy.model.double()
    in_double(policy.model, monkeypatch)
    prompts, responses, images = columns(rows)
    images = to_units([row.image for row in rows])
    parameters = list(policy.model.parameters())

    def logp():
        return torch.cat(policy.token_logps(prompts, responses, images)).sum()

    gradients = torch.autograd.grad(logp(), parameters)
    generator = torch.Generator().manual_seed(1)
    ways = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    ways = [way * p.detach().abs().mean() for way, p in zip(ways, parameters, strict=True)]
    ends = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            for parameter, way in zip(parameters, ways, strict=True):
                parameter += step * way
            ends.append(logp())
    expected = sum((g * way).sum() for g, way in zip(gradients, ways, strict=True))
    torch.testing.assert_close((ends[0] - ends[1]) / 2e-5, expected, rtol=1e-5, atol=1e-6)
