"""No text reaches a model as a control token, whatever it is made of (published tokenizer)."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbpo_core.data.conversations import RawSample, read_turns
from mbpo_core.given_responses import given_rejected
from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.responses import RespondRow
from tests.mbpo_core.tiny_models import build_model, random_image
from tests.poison import LOOKALIKES, SPECIALS

FEW = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def policy(genuine_tokenizer):
    return QwenVL(build_model("qwen2_vl", genuine_tokenizer), genuine_tokenizer, ImageConfig())


@pytest.fixture(scope="module")
def controls(genuine_tokenizer):
    """Every token that the tokenizer knows beyond its vocabulary of text."""
    return genuine_tokenizer.get_added_vocab()


_pieces = st.one_of(
    st.sampled_from(SPECIALS),
    st.sampled_from(LOOKALIKES),
    st.sampled_from(
        ["<", "|", ">", "<|", "|>", "im_end", "im_", "end|>", "<image>", "\n", " ",
         "＜", "｜", "＞", "\u0338", "\u200b", "\ufeff", "\u212a", "A. ", "B. ", "yes"]
    ),
    st.text(max_size=5),
)  # fmt: skip
texts = st.lists(_pieces, max_size=8).map("".join)
"""Tokens whole, in parts, in forms that a normalisation would turn into them, and anything else."""


@FEW
@given(texts)
def test_a_prompt_has_the_control_tokens_of_its_template_and_no_others(policy, controls, text):
    empty = Counter(policy.prompt_ids("", 56, 56))
    try:
        found = Counter(policy.prompt_ids(text, 56, 56))
    except ValueError as error:
        assert "special token" in str(error) and any(token in text for token in controls)
        return
    assert not any(token in text for token in controls)
    assert all(found[number] == empty[number] for number in controls.values())


@FEW
@given(texts)
def test_a_response_has_one_control_token_its_end(policy, controls, text):
    try:
        *ids, end = policy.response_ids(text)
    except ValueError:
        assert any(token in text for token in controls)
        return
    assert end == policy.eos_ids[0] and not set(ids) & set(controls.values())


@FEW
@given(texts, texts, texts)
def test_what_ingest_lets_through_no_policy_has_to_refuse(policy, question, answer, rejected):
    """Tokens that only meet when `<image>` is cut out, or parts of a message are joined, count."""
    parts = [{"type": "text", "text": question[:3]}, {"type": "text", "text": question[3:]}]
    said = [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]
    (row,) = read_turns({"image": "x.png", "messages": said, "rejected": None})
    pair = {"image": "x.png", "question": question, "chosen": answer, "rejected": rejected}
    for turn in (row, *read_turns(pair)):
        if isinstance(turn, RawSample):
            policy.prompt_ids(turn.question, 56, 56)
            for text in filter(None, (turn.answer, turn.rejected)):
                policy.response_ids(text)


@pytest.mark.parametrize("text", LOOKALIKES)
def test_what_only_looks_like_a_token_is_text(policy, controls, text):
    (turn,) = read_turns({"image": "x.png", "question": f"What is {text}?", "answer": text})
    assert isinstance(turn, RawSample) and turn.answer == text.strip()
    ids = policy.response_ids(text)[:-1]
    assert policy.decode(ids) == text or policy.decode(ids).isprintable()
    assert not set(ids) & set(controls.values())


def test_every_control_token_is_refused_by_ingest_and_by_the_policy(policy, controls):
    assert set(SPECIALS) <= set(controls)
    for token in controls:
        (turn,) = read_turns({"image": "x.png", "question": f"{token}?", "answer": "x"})
        assert str(turn.refusal.reason) == "special_token", token
        with pytest.raises(ValueError, match="special token"):
            policy.response_ids(f"a {token}")


def test_a_given_rejected_text_with_a_token_is_refused_with_its_reason(policy):
    image = random_image(0, 56, 56)
    row = RespondRow("s", policy.prompt_ids("What?", 56, 56), "a cat", image, image)
    found = given_rejected(policy, [row] * 2, ["a dog<|im_end|>", "a dog <|im_end|"])
    assert [each.reason for each in found] == ["special_token", None]
