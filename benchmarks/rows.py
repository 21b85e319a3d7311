"""Rows to measure with: drawn images, questions and answers of realistic lengths."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mbpo_core.evaluation import embedded
from mbpo_core.mining.png import decode_png
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL

QUESTION_WORDS = 20
"""With the 15 tokens of the template before the image and the 6 behind: 41 tokens of text."""
RESPONSE_WORDS = (19, 39, 59, 99)
"""One token each, and the end of turn: 20, 40, 60 and 100 tokens, 55 on average."""
_FIRST_WORD, _WORDS = 100, 1000


def drawn_image(seed: int, side: int) -> Tensor:
    """Noise with shapes in it, uint8 [3, side, side]."""
    generator = np.random.default_rng(seed)
    picture = Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))
    pencil = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y, size = (int(value) for value in generator.integers(0, side, 3))
        colour = tuple(int(value) for value in generator.integers(0, 256, 3))
        pencil.ellipse((x, y, x + size // 2 + 1, y + size // 3 + 1), fill=colour)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def words(seed: int, count: int) -> str:
    """That many words of the made-up vocabulary, one token each."""
    drawn = np.random.default_rng(seed).integers(_FIRST_WORD, _FIRST_WORD + _WORDS, count)
    return " ".join(f"w{word}" for word in drawn)


def made_rows(
    policy: QwenVL, *, images: int, turns: int, side: int, lengths: Sequence[int] = RESPONSE_WORDS
) -> list[PromptedResponse]:
    """`turns` questions about each image; rows of one image share the tensor."""
    rows = []
    for index in range(images):
        image = drawn_image(index, side)
        for turn in range(turns):
            number = len(rows)
            rows.append(
                PromptedResponse(
                    sample_id=f"image-{index}-turn-{turn}",
                    prompt=policy.prompt_ids(words(number, QUESTION_WORDS), side, side),
                    response=policy.response_ids(
                        words(1_000_000 + number, lengths[number % len(lengths)])
                    ),
                    image=image,
                )
            )
    return rows


def embedded_rows(policy: QwenVL, *, images: int, turns: int) -> list[PromptedResponse]:
    """The embedded world's questions, the first `turns` kinds about each scene."""
    items = embedded.load("dev", "counter", images).questions
    kinds = len(items) // images
    if turns > kinds:
        raise ValueError(f"a scene has {kinds} questions, {turns} were asked for")
    rows = []
    for scene in range(images):
        own = items[scene * kinds : (scene + 1) * kinds][:turns]
        image = decode_png(own[0].image)
        rows += [
            PromptedResponse(
                item.question_id,
                policy.prompt_ids(item.prompt, *image.shape[1:]),
                policy.response_ids(item.answer),
                image,
            )
            for item in own
        ]
    return rows


def lengths_of(policy: QwenVL, rows: Sequence[PromptedResponse]) -> dict[str, str | int]:
    """What to print about rows: how many, and how long."""
    visual = sum(token == policy.image_token_id for token in rows[0].prompt)
    responses = [len(row.response) for row in rows]
    return {
        "rows": len(rows),
        "images": len({id(row.image) for row in rows}),
        "visual_tokens": visual,
        "prompt_text_tokens": len(rows[0].prompt) - visual,
        "response_tokens": f"{min(responses)}-{max(responses)}",
    }
