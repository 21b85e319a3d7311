"""Policies to be exact on: two tiny random ones and the embedded model with its own scenes.

A test that needs only some of them names them: `@pytest.mark.parametrize("kind", ["embedded"])`.
"""

from pathlib import Path

import pytest

import mbpo_core.testbed
from mbpo_core.evaluation import embedded
from mbpo_core.mining.png import decode_png
from mbpo_core.models.loading import load_policy
from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.testbed.questions import QUESTION_KINDS
from tests.mbpo_core.tiny_models import build_model, build_rows

EMBEDDED = Path(mbpo_core.testbed.__file__).parent / "model"
ASKED = ("describe", "count", "color", "choice")


@pytest.fixture(params=["qwen2_vl", "qwen2_5_vl", "embedded"])
def kind(request):
    return request.param


@pytest.fixture
def policy(kind, tiny_tokenizer):
    if kind == "embedded":
        return load_policy(str(EMBEDDED))
    return QwenVL(build_model(kind, tiny_tokenizer), tiny_tokenizer, ImageConfig())


@pytest.fixture
def rows(kind, policy):
    """Prompts and responses of several lengths, each with a picture of its own."""
    if kind != "embedded":
        return build_rows(policy)
    asked = embedded.load("test", "counter", len(ASKED)).questions
    places = [i * len(QUESTION_KINDS) + QUESTION_KINDS.index(name) for i, name in enumerate(ASKED)]
    return [embedded_row(policy, asked[place]) for place in places]


def embedded_row(policy, item):
    image = decode_png(item.image)
    return PromptedResponse(
        sample_id=item.question_id,
        prompt=policy.prompt_ids(item.prompt, *image.shape[1:]),
        response=policy.response_ids(item.answer),
        image=image,
    )
