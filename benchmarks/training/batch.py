"""What a step trains on: the same prompts, images and answers for every trainer."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from benchmarks.models import QUARTER, Shape, random_policy
from mbpo_core.grouping import Candidate, Group
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.training import LoraSettings

IMAGE_PAD = "<|image_pad|>"
CHAT_TEMPLATE = (
    "<|im_start|>{% for n in range(8) %}w{{ n }} {% endfor %}<|im_end|>w8"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    " <|im_start|>w9 w10 {% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>w11{% else %} <|im_start|>w12 w13 {{ message['content'][0]['text'] }}<|im_end|>"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} <|im_start|>w12 w13 {% endif %}"
)
"""As long as Qwen2-VL's own. Nothing stands behind the end of an answer, so that both trainers
score the same ids (the published template has a line break there, which TRL trains on)."""


@dataclass(frozen=True)
class Work:
    """One measured case: which stream, which parameters, which sizes."""

    stream: str
    """`online`: a prompt and its rollouts; `offline`: a pair; `hybrid`: one of each (ours only)."""
    tuning: str
    """`lora`: adapters on the language model; `full`: everything, the vision tower included."""
    steps: int
    """Optimiser steps of a run; every one has groups of its own."""
    shape: Shape = QUARTER
    side: int = 336
    """Height and width of the images in pixels."""
    question: int = 24
    """Tokens of a question."""
    generations: int = 8
    """G: rollouts of a prompt."""
    new_tokens: int = 8
    """Length of a rollout; a random model practically never ends one early."""
    chosen: int = 100
    """Tokens of a chosen response."""
    rejected: int = 120
    """Tokens of a rejected response."""
    beta: float = 0.04
    """Weight of the KL term, above 0 so that there is a reference."""
    learning_rate: float = 1e-6
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(merge=False))
    trl_rows: int = 8
    """Rollouts that TRL passes through the model at once; ours passes the whole group."""
    threads: int = 1


def build_policy(work: Work) -> QwenVL:
    """The random model, alike for every trainer."""
    policy = random_policy(work.shape)
    policy.tokenizer.chat_template = CHAT_TEMPLATE
    policy.tokenizer.padding_side = "left"
    return policy


def groups_of(work: Work) -> list[Group]:
    """Groups of all steps: a prompt, a pair or one of each per step."""
    made = []
    for step in range(work.steps):
        if work.stream in ("online", "hybrid"):
            made.append(_prompt(work, step))
        if work.stream in ("offline", "hybrid"):
            made.append(_pair(work, step))
    return made


def images_of(work: Work, groups: list[Group]) -> dict[str, Tensor]:
    """A random image, uint8 `[3, side, side]`, for each group."""
    return {
        group.image_id: torch.randint(
            0, 256, (3, work.side, work.side), dtype=torch.uint8,
            generator=torch.Generator().manual_seed(index),
        )
        for index, group in enumerate(groups)
    }  # fmt: skip


def reward(text: str) -> float:
    """A rule that a random model satisfies about half of the time, so that advantages differ."""
    return float(len(text) % 2)


def text_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """A response as both trainers decode it."""
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _prompt(work: Work, step: int) -> Group:
    return Group(
        f"prompt-{step}", "online", f"p{step}", f"image-p{step}", _words(work, work.question, step),
        kind="yes_no", answer="yes",
    )  # fmt: skip


def _pair(work: Work, step: int) -> Group:
    image = f"image-q{step}"
    candidates = (
        Candidate("chosen", _words(work, work.chosen - 1, 1000 + step), image),
        Candidate("rejected", _words(work, work.rejected - 1, 2000 + step), image),
    )
    question = _words(work, work.question, 3000 + step)
    return Group(f"pair-{step}", "offline", f"q{step}", image, question, candidates)


def _words(work: Work, count: int, seed: int) -> str:
    """A text of that many tokens."""
    ids = torch.randint(
        0, work.shape.vocabulary // 2, (count,), generator=torch.Generator().manual_seed(seed)
    )
    return " ".join(f"w{index}" for index in ids.tolist())
