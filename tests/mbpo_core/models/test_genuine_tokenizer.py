"""The same adapter around the published tokenizer and vocabulary, in both architectures."""

import pytest

from mbpo_core.information_gain import information_gain
from mbpo_core.models.loading import load_policy, save_policy
from mbpo_core.models.preprocessing import ImageConfig, to_units
from mbpo_core.models.qwen_vl import QwenVL
from tests.mbpo_core.tiny_models import build_model, build_rows


@pytest.fixture(params=["qwen2_vl", "qwen2_5_vl"])
def genuine_policy(request, genuine_tokenizer):
    return QwenVL(build_model(request.param, genuine_tokenizer), genuine_tokenizer, ImageConfig())


def test_ids_are_the_published_ones(genuine_policy):
    assert genuine_policy.eos_ids == (151645, 151643)
    assert genuine_policy.image_token_id == 151655
    assert set(range(151652, 151657)) <= set(genuine_policy.suppressed)
    assert genuine_policy.response_ids("Yes")[-1] == 151645


def test_prompt_is_the_published_template(genuine_policy):
    text = genuine_policy.tokenizer.decode(genuine_policy.prompt_ids("How many birds?", 56, 56))
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|>" + "<|image_pad|>" * 4 + "<|vision_end|>How many birds?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_scores_samples_and_comes_back_from_disk(genuine_policy, tmp_path):
    rows = build_rows(genuine_policy)
    gains = information_gain(genuine_policy, rows)
    save_policy(genuine_policy, tmp_path)
    again = information_gain(load_policy(str(tmp_path)), rows)
    assert [gain.image_token_logps for gain in gains] == [g.image_token_logps for g in again]
    drawn = genuine_policy.sample(
        [row.prompt for row in rows],
        to_units([row.image for row in rows]),
        [1, 2, 3],
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=6,
    )
    assert all(not set(sampled.ids) & set(genuine_policy.suppressed) for sampled in drawn)
