"""Fixtures over the tiny random models."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from tests.mbpo_core.tiny_models import build_model, build_rows, build_tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return build_tokenizer()


@pytest.fixture(params=["qwen2_vl", "qwen2_5_vl"])
def tiny_policy(request, tiny_tokenizer):
    return QwenVL(build_model(request.param, tiny_tokenizer), tiny_tokenizer, ImageConfig())


@pytest.fixture
def tiny_rows(tiny_policy):
    return build_rows(tiny_policy)


@pytest.fixture(scope="session")
def genuine_tokenizer():
    """The published Qwen2-VL tokenizer, where the data folder beside the checkout has it."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "qwen_tokenizer"
    if not (folder / "tokenizer.json").is_file():
        pytest.skip("no genuine Qwen2-VL tokenizer in ../shared/data/qwen_tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        separate = json.loads((folder / "chat_template.json").read_text())
        tokenizer.chat_template = separate["chat_template"]
    return tokenizer
