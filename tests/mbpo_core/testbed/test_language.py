import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mbpo_core.testbed.language import SPECIAL_TOKENS, SYSTEM_PROMPT, train_tokenizer
from mbpo_core.testbed.questions import QUESTION_KINDS, ask
from mbpo_core.testbed.scenes import COLORS, KINDS, make_scene

trained = cache(train_tokenizer)

QUESTION = {
    "role": "user",
    "content": [{"type": "image"}, {"type": "text", "text": "What color is the banana?\nA. red"}],
}
ANSWER = {"role": "assistant", "content": "A. red"}


def test_training_is_deterministic_and_small():
    assert train_tokenizer().backend_tokenizer.to_str() == trained().backend_tokenizer.to_str()
    assert 256 + len(SPECIAL_TOKENS) < len(trained()) < 700


def test_special_tokens_are_qwens_and_never_split():
    tokenizer = trained()
    for token in SPECIAL_TOKENS:
        assert tokenizer(token).input_ids == [tokenizer.convert_tokens_to_ids(token)]
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.padding_side == "left"


def test_words_of_the_language_are_single_tokens():
    for word in (*KINDS, *COLORS):
        assert len(trained().tokenize(f" {word}")) == 1
    longest = max(
        len(trained()(ask(make_scene("test", i, typical_share=0.5), kind, random.Random(i)).answer)
            .input_ids)
        for i in range(40)
        for kind in QUESTION_KINDS
    )  # fmt: skip
    assert longest < 24


@given(st.text())
def test_any_text_survives(text):
    tokenizer = trained()
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    ids = tokenizer(text, split_special_tokens=True).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == normal


def test_chat_template_writes_qwens_format():
    text = trained().apply_chat_template([QUESTION], tokenize=False, add_generation_prompt=True)
    assert text == (
        f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
        "What color is the banana?\nA. red<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("generation", [True, False])
def test_chat_template_equals_the_genuine_one(shared_data, generation):
    genuine = AutoTokenizer.from_pretrained(shared_data / "qwen_tokenizer")
    system = {"role": "system", "content": "Be brief. "}
    for messages in ([QUESTION], [QUESTION, ANSWER], [system, QUESTION, ANSWER, QUESTION]):
        texts = [
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=generation
            )
            for tokenizer in (trained(), genuine)
        ]
        assert texts[0] == texts[1]


def test_save_and_load(tmp_path):
    trained().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "<|im_start|>user\nIs the fish blue?<|im_end|>\n"
    assert loaded(text).input_ids == trained()(text).input_ids
    assert loaded.chat_template == trained().chat_template
