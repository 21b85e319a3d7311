"""What every sampler keeps to: the policy's own loop, and vLLM behind its adapter.

The adapter runs against a stand-in that draws by the policy, and against vLLM itself where that can
be imported.
"""

import importlib.util
import json
import sys

import pytest
import torch

from mbpo_core.config import EmbeddedModel
from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.vllm_engine import Engine
from mbpo_core.models.vllm_sampler import VllmSampler, model_arguments
from mbpo_core.responses import RefusalRules, RespondRow, attempt_seed, sample_rejected
from tasks.models import EMBEDDED, open_policy
from tests import vllm_standin
from tests.mbpo_core.tiny_models import random_image

SETTINGS = {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 12}
QUESTIONS = ("What color is the banana?", "Describe the image.", "Is there a dog?")
SIZES = ((56, 84), (84, 56), (112, 84))
STORED = tuple(random_image(number, *size) for number, size in enumerate(SIZES))
IMAGES = tuple(to_units(STORED))
SEEDS = (11, 2**63 - 1, 0)


@pytest.fixture(scope="module")
def policy():
    return open_policy(EmbeddedModel(), "cpu")


@pytest.fixture(scope="module")
def prompts(policy):
    pairs = zip(QUESTIONS, SIZES, strict=True)
    return [policy.prompt_ids(question, *size) for question, size in pairs]


def through_vllm(policy):
    return VllmSampler(policy, Engine(model_arguments(policy, str(EMBEDDED), "float32", 0.5)))


@pytest.fixture(scope="module")
def real(policy):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed in this environment")
    return through_vllm(policy)


@pytest.fixture
def stand_in(policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", vllm_standin)
    return through_vllm(policy)


@pytest.fixture(params=["transformers", "stand_in", "real"])
def sampler(request, policy):
    return policy if request.param == "transformers" else request.getfixturevalue(request.param)


def draw(sampler, prompts, images=IMAGES, seeds=SEEDS, **changes):
    return sampler.sample(prompts, images, seeds, **(SETTINGS | changes))


def test_a_row_is_drawn_from_its_own_seed_prompt_and_image(sampler, prompts):
    together = draw(sampler, prompts)
    turned = draw(sampler, prompts[::-1], IMAGES[::-1], SEEDS[::-1])
    rows = zip(prompts, IMAGES, SEEDS, strict=True)
    alone = [draw(sampler, [p], [image], [seed])[0] for p, image, seed in rows]
    assert together == turned[::-1] == alone == draw(sampler, prompts)
    others = draw(sampler, prompts, seeds=(12, *SEEDS[1:]), temperature=2.0)
    assert others[0] != draw(sampler, prompts, temperature=2.0)[0]


def test_rollouts_of_one_row_differ_by_seed(sampler, prompts):
    drawn = draw(sampler, [prompts[1]] * 4, [IMAGES[1]] * 4, (1, 2, 3, 1), temperature=2.0)
    assert drawn[0] == drawn[3] and len({tuple(row.ids) for row in drawn}) == 3


def test_temperature_zero_is_the_greedy_search_of_the_policy(sampler, prompts, policy):
    greedy = draw(sampler, prompts, temperature=0.0)
    assert greedy == draw(policy, prompts, temperature=0.0)
    assert greedy == draw(sampler, prompts, seeds=(5, 6, 7), temperature=0.0)


def test_a_response_ends_with_its_first_eos_id_or_at_the_limit(sampler, prompts, policy):
    ends = set()
    for limit in (1, 2, 12):
        for row in draw(sampler, prompts, max_new_tokens=limit):
            assert 1 <= len(row.ids) <= limit
            assert not set(row.ids[:-1]) & set(policy.eos_ids)
            assert row.finished == (row.ids[-1] in policy.eos_ids)
            assert row.finished or len(row.ids) == limit
            ends.add(row.finished)
    assert ends == {True, False}


def test_ids_of_images_are_never_drawn(sampler, prompts, policy):
    for seed in range(8):
        drawn = draw(sampler, prompts, seeds=(seed, seed, seed), temperature=2.0)
        assert not {token for row in drawn for token in row.ids} & set(policy.suppressed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -0.1}, "temperature must be at least 0"),
        ({"top_p": 0.0}, "top_p must be in"),
        ({"top_p": 1.1}, "top_p must be in"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"max_new_tokens": 2048}, "row 0: .* the limit is 2048"),
        ({"seeds": (1, 2)}, "equally many rows"),
        ({"images": IMAGES[::-1]}, "image needs one run of"),
    ],
)
def test_what_cannot_be_drawn_is_refused(sampler, prompts, changes, message):
    with pytest.raises(ValueError, match=message):
        draw(sampler, prompts, **changes)


def test_no_rows_are_refused(sampler):
    with pytest.raises(ValueError, match="at least one"):
        draw(sampler, [], [], [])


def test_what_is_drawn_is_measured_by_the_policy(sampler, prompts, policy):
    """The stand-in's completions fail where anything but their ids is read."""
    rows = [
        RespondRow(f"row-{n}", prompt, "No.", STORED[n], random_image(9 + n, *SIZES[n]))
        for n, prompt in enumerate(prompts)
    ]
    found = sample_rejected(
        policy, rows, RefusalRules(), run_seed=3, attempts=1, sampler=sampler, **SETTINGS
    )
    negatives = to_units([row.negative for row in rows])
    seeds = [attempt_seed(3, row.sample_id, "respond", 0) for row in rows]
    assert [row.ids for row in found] == [r.ids for r in draw(sampler, prompts, negatives, seeds)]
    expected = policy.token_logps(prompts, [row.ids for row in found], negatives)
    for row, logps in zip(found, expected, strict=True):
        torch.testing.assert_close(torch.tensor(row.negative_token_logps), logps)


def test_the_adapter_draws_what_the_policy_draws_where_the_engine_does(stand_in, prompts, policy):
    """Prompts, pixels, seeds and settings arrive as they are: then the draws are equal too."""
    for changes in ({}, {"temperature": 1.7, "top_p": 0.5, "max_new_tokens": 5}):
        assert draw(stand_in, prompts, **changes) == draw(policy, prompts, **changes)


def test_what_reaches_vllm(policy, prompts, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vllm", vllm_standin)
    monkeypatch.setenv(vllm_standin.CALLS, str(tmp_path / "calls"))
    sampler = through_vllm(policy)
    draw(sampler, prompts)
    opened, called = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert opened["trust_remote_code"] is False and opened["load_format"] == "safetensors"
    assert opened["generation_config"] == "vllm" and opened["model"] == str(EMBEDDED)
    assert opened["kwargs"] == {"min_pixels": 784, "max_pixels": 12544}
    pad = policy.image_token_id
    assert [ids.count(pad) for ids in called["prompts"]] == [1, 1, 1]
    for sent, prompt in zip(called["prompts"], prompts, strict=True):
        assert [i for i in sent if i != pad] == [i for i in prompt if i != pad]
    assert called["seeds"] == list(SEEDS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 2.5}, "vLLM takes temperature 0 or 0.01 to 2.0, got 2.5"),
        ({"temperature": 0.001}, "got 0.001"),
        ({"images": [image + 1 / 1000 for image in IMAGES]}, "between grey levels"),
    ],
)
def test_what_vllm_would_change_in_silence_is_refused(stand_in, prompts, changes, message):
    with pytest.raises(ValueError, match=message):
        draw(stand_in, prompts, **changes)


def test_an_image_that_vllm_would_resize_is_refused(stand_in, policy):
    prompt = policy.prompt_ids(QUESTIONS[0], 112, 140)
    image = to_units([random_image(1, 112, 140)])
    with pytest.raises(ValueError, match="would resize an image of 112 x 140 pixels"):
        draw(stand_in, [prompt], image, [1])


class Answering:
    """An engine that answers as it is told."""

    def __init__(self, **answer):
        self.answer = answer

    def draw(self, request):
        return [self.answer for _ in request["rows"]]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "drew 0 tokens, asked for 1 to 4"),
        ([300] * 5, "drew 5 tokens"),
        ([300, 301], "stopped after 2 tokens without an EOS id"),
        (None, "drew ids that it was told never to"),
    ],
)
def test_an_engine_that_does_something_else_is_found_out(policy, prompts, ids, message):
    answer = [policy.image_token_id] * 4 if ids is None else ids
    engine = Answering(prompt=prompts[0], ids=answer)
    with pytest.raises(RuntimeError, match=message):
        draw(VllmSampler(policy, engine), prompts[:1], IMAGES[:1], [1], max_new_tokens=4)


def test_an_image_that_is_expanded_otherwise_is_found_out(policy, prompts):
    engine = Answering(prompt=prompts[0][:-1], ids=[policy.eos_ids[0]])
    with pytest.raises(RuntimeError, match="it expands the image otherwise"):
        draw(VllmSampler(policy, engine), prompts[:1], IMAGES[:1], [1])
