"""Whole parameters out of shards, on one rank; `test_training_ranks.py` has two."""

import copy

import pytest
import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from mbpo_core.models.preprocessing import to_unit
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.training.sharding import Gathering, named_weights
from tests.mbpo_core.tiny_models import build_model, random_image
from tests.mbpo_core.training.conftest import equal_weights, weights


@pytest.fixture
def one_rank():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def sharded(one_rank, tiny_tokenizer, new_policy):
    """A policy whose parameters are sharded, and one that keeps them."""
    plain = new_policy()
    model = build_model("qwen2_vl", tiny_tokenizer, tied=True)
    plain.model = copy.deepcopy(model)
    policy = QwenVL(model, tiny_tokenizer, plain.image_config)
    gathering = Gathering(policy, sharded=True)
    return policy, plain, gathering


def shard(gathering):
    for layer in gathering.model.model.language_model.layers:
        fully_shard(layer)
    fully_shard(gathering.model)
    assert all(isinstance(p, DTensor) for p in gathering.model.parameters())


def test_a_rank_has_all_parameters_inside_and_none_outside(sharded):
    policy, plain, gathering = sharded
    shard(gathering)
    assert sum(p.numel() for p in policy.model.parameters()) == 0
    with gathering.policy():
        assert equal_weights(weights(policy), weights(plain))
        assert policy.model.lm_head.weight is policy.model.model.language_model.embed_tokens.weight
    assert sum(p.numel() for p in policy.model.parameters()) == 0
    with torch.no_grad():
        for parameter in gathering.model.parameters():
            parameter.mul_(0.5)
    gathering.fill()
    moved = weights(plain)["lm_head.weight"] * 0.5
    assert torch.equal(weights(policy)["lm_head.weight"], moved)


def test_the_reference_keeps_what_the_parameters_were(sharded):
    policy, plain, gathering = sharded
    initial = gathering.kept()
    shard(gathering)
    with torch.no_grad():
        for parameter in gathering.model.parameters():
            parameter.mul_(0.5)
    with gathering.weights(initial):
        assert equal_weights(weights(policy), weights(plain))
    assert initial.keys() == named_weights(plain.model).keys()


def test_it_scores_inside_as_the_plain_policy_does_and_through_the_shards_too(sharded):
    policy, plain, gathering = sharded
    shard(gathering)
    image = to_unit(random_image(0, 56, 56))
    prompt, response = plain.prompt_ids("What is it?", 56, 56), plain.response_ids("a bird")
    expected = plain.token_logps([prompt] * 2, [response] * 2, [image] * 2)
    with gathering.policy(), torch.no_grad():
        inside = policy.token_logps([prompt] * 2, [response] * 2, [image] * 2)
    through = policy.token_logps([prompt] * 2, [response] * 2, [image] * 2, model=gathering.model)
    for a, b, c in zip(expected, inside, through, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=0, atol=1e-5)
    sum(row.sum() for row in through).backward()
    assert gathering.model.model.visual.patch_embed.proj.weight.grad is not None


def test_without_sharding_nothing_is_copied(new_policy):
    policy = new_policy()
    model, gathering = policy.model, Gathering(policy, sharded=False)
    with gathering.policy(), gathering.weights(gathering.kept()):
        assert policy.model is gathering.model is model
    assert sum(p.numel() for p in model.parameters()) > 0
