"""Fixtures over the tiny random models."""

import pytest

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
