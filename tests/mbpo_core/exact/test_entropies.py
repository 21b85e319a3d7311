"""Entropies of response tokens against torch's own, on the forward pass of transformers."""

import copy
import dataclasses
import math

import pytest
import torch
from torch.distributions import Categorical

from tests.mbpo_core.exact.columns import columns, transformers_inputs

TOLERANCE = {"rtol": 0, "atol": 1e-5}


def with_logits(policy, change):
    """The same policy, whose head says something else."""
    other = copy.copy(policy)
    other.model = copy.deepcopy(policy.model)
    other.model.lm_head.register_forward_hook(lambda module, given, out: change(out))
    return other


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_row_has_the_entropies_that_torch_finds_in_the_logits(policy, rows, temperature):
    found = policy.token_entropies(*columns(rows), temperature=temperature)
    for row, entropies in zip(rows, found, strict=True):
        with torch.no_grad():
            logits = policy.model(**transformers_inputs(policy, [row], "right")).logits[0]
        before = logits[len(row.prompt) - 1 : -1] / temperature
        torch.testing.assert_close(entropies, Categorical(logits=before).entropy(), **TOLERANCE)
        assert entropies.shape == (len(row.response),)


def test_rows_that_share_tokens_have_the_entropies_of_rows_alone(policy, rows):
    """One picture, one prompt, answers that begin alike: one sequence of several branches."""
    first = rows[0]
    endings = [first.response, first.response[:-1], first.response[:1] + first.response[2:]]
    siblings = [dataclasses.replace(first, response=ids) for ids in [*endings, endings[0]]]
    together = policy.token_entropies(*columns([*siblings, *rows[1:]]))
    for row, entropies in zip([*siblings, *rows[1:]], together, strict=True):
        (alone,) = policy.token_entropies(*columns([row]))
        torch.testing.assert_close(entropies, alone, **TOLERANCE)
    assert torch.equal(together[0], together[3])


@pytest.mark.parametrize("kind", ["qwen2_vl"])
def test_equal_logits_have_the_entropy_log_v_and_a_certain_token_has_none(policy, rows):
    size = policy.model.config.text_config.vocab_size
    even = with_logits(policy, torch.zeros_like)
    for entropies in even.token_entropies(*columns(rows)):
        torch.testing.assert_close(entropies, torch.full_like(entropies, math.log(size)))
    certain = with_logits(policy, lambda out: torch.zeros_like(out).index_fill_(-1, _FIRST, 1e4))
    for entropies in certain.token_entropies(*columns(rows)):
        assert torch.equal(entropies, torch.zeros_like(entropies))


_FIRST = torch.tensor([0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_entropies_of_half_logits_are_summed_in_float32(policy, rows, dtype):
    """In the dtype of the logits they are a hundred times as far off."""
    half = copy.copy(policy)
    half.model = copy.deepcopy(policy.model).to(dtype)
    seen = []
    half.model.lm_head.register_forward_hook(lambda module, given, out: seen.append(out))
    found = torch.cat(half.token_entropies(*columns(rows)))
    logits = torch.cat([out.reshape(-1, out.shape[-1]) for out in seen])
    assert (logits.dtype, found.dtype) == (dtype, torch.float32)
    # No two rows share a picture, so each place of the head is one token; the order is free.
    expected = Categorical(logits=logits.double()).entropy().sort().values
    torch.testing.assert_close(found.double().sort().values, expected, rtol=0, atol=1e-5)
    in_half = Categorical(logits=logits, validate_args=False).entropy().double().sort().values
    assert (in_half - expected).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["qwen2_vl"])
def test_no_gradient_and_the_errors_of_token_logps(policy, rows):
    prompts, responses, images = columns(rows)
    points = [image.clone().requires_grad_() for image in images]
    assert not any(e.requires_grad for e in policy.token_entropies(prompts, responses, points))
    with pytest.raises(ValueError, match="row 0: the response has no tokens"):
        policy.token_entropies(prompts, [[], *responses[1:]], images)
    with pytest.raises(ValueError, match="above 0"):
        policy.token_entropies(prompts, responses, images, temperature=0.0)
