"""Properties of scores and draws that hold whatever way a forward pass takes."""

import copy

import pytest
import torch

from mbpo_core.models.preprocessing import to_unit
from tests.mbpo_core.tiny_models import random_image


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_of_all_tokens_sum_to_one(tiny_policy, tiny_rows, dtype):
    """In half precision too: a log-softmax that runs in bfloat16 misses 1 by some per cent."""
    policy = copy.copy(tiny_policy)
    policy.model = copy.deepcopy(tiny_policy.model).to(dtype)
    row = tiny_rows[0]
    image = to_unit(row.image)
    barred = torch.zeros(policy.model.lm_head.out_features, dtype=dtype)
    barred[policy.image_token_id] = -1e4  # a response that holds it cannot be scored
    policy.model.lm_head.register_forward_hook(lambda m, a, out: out + barred)
    tokens = [token for token in range(len(barred)) if token != policy.image_token_id]
    count = len(tokens)
    for before in ([], row.response[:2]):
        responses = [[*before, token] for token in tokens]
        with torch.no_grad():
            logps = policy.token_logps([row.prompt] * count, responses, [image] * count)
        total = torch.stack([values[-1] for values in logps]).double().exp().sum().item()
        assert total == pytest.approx(1, abs=2e-4)


def test_ids_without_a_text_are_never_drawn(tiny_policy, tiny_rows):
    """The embedding is wider than the tokenizer: such an id would vanish from the response."""
    named = set(tiny_policy.tokenizer.get_vocab().values())
    wanted = torch.zeros(tiny_policy.model.lm_head.out_features)
    nameless = [token for token in range(len(wanted)) if token not in named]
    assert nameless
    wanted[nameless] = 1e4
    hook = tiny_policy.model.lm_head.register_forward_hook(lambda m, a, out: out + wanted)
    drawn = tiny_policy.sample(
        [row.prompt for row in tiny_rows],
        [to_unit(row.image) for row in tiny_rows],
        [1, 2, 3],
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=6,
    )
    hook.remove()
    assert all(set(sampled.ids) <= named for sampled in drawn)


def test_a_dark_image_is_not_taken_for_a_blank_one(tiny_policy):
    """Grey levels 0 and 1: hardly to be seen, but there. The black one passes the comparison."""
    dark = to_unit(random_image(0, 56, 84) % 2)
    _, features = tiny_policy.encode_images([torch.zeros_like(dark), dark])
    assert (features - features[:1]).abs().max() > 1e-4


def test_responses_are_drawn_in_evaluation_mode(tiny_policy, tiny_rows):
    """Training samples its rollouts in the midst of train mode."""
    modes = []
    hook = tiny_policy.model.model.register_forward_pre_hook(
        lambda module, args: modes.append({part.training for part in module.modules()})
    )
    tiny_policy.model.train()
    tiny_policy.sample(
        [tiny_rows[0].prompt],
        [to_unit(tiny_rows[0].image)],
        [1],
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=2,
    )
    hook.remove()
    assert modes and all(mode == {False} for mode in modes)
    assert tiny_policy.model.training
