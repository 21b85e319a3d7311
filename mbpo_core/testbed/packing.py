"""Several questions about one image in one training row.

A row is the shared prompt (system message and image) followed by segments: question and answer. A
segment sees the prompt and itself, at the positions that it would have alone. So a row gives the
same token log-probabilities as its conversations one by one (tested), for half of the tokens.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import Qwen2Tokenizer, Qwen2VLForConditionalGeneration

from mbpo_core.testbed.language import END_OF_TURN, IMAGE_PAD, SYSTEM_PROMPT
from mbpo_core.testbed.network import TOKENS_PER_IMAGE
from mbpo_core.testbed.scenes import GRID


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    text: str
    """The question."""
    answer: str
    """The answer, without the end-of-turn token."""


@dataclass(frozen=True)
class Rows:
    """A batch of packed rows, padded on the right."""

    ids: Tensor
    """Token ids, [B, L]."""
    positions: Tensor
    """Rotary positions (time, height, width), [3, B, L]."""
    mask: Tensor
    """Which key a query may see, bool [B, 1, L, L]."""
    targets: Tensor
    """For each position the token to predict there, -100 where nothing is to be learned, [B, L]."""
    first: Tensor
    """Bool [B, L]: whether the target is the first token of an answer."""


@dataclass(frozen=True)
class Packer:
    """Encodes turns into rows."""

    tokenizer: Qwen2Tokenizer
    """The testbed's tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, special tokens included."""
        return self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    @cached_property
    def _prompt(self) -> list[int]:
        return self.encode(
            f"<|im_start|>system\n{SYSTEM_PROMPT}{END_OF_TURN}\n<|im_start|>user\n"
            f"<|vision_start|>{IMAGE_PAD * TOKENS_PER_IMAGE}<|vision_end|>"
        )

    @cached_property
    def _middle(self) -> list[int]:
        return self.encode(f"{END_OF_TURN}\n<|im_start|>assistant\n")

    def _segment(self, turn: Turn) -> tuple[list[int], int]:
        answer = self.encode(turn.answer + END_OF_TURN)
        return self.encode(turn.text) + self._middle + answer, len(answer)

    def pack(self, rows: list[list[Turn]]) -> Rows:
        """Rows of any numbers of turns to one padded batch."""
        prompt = self._prompt
        image_start = prompt.index(self.tokenizer.convert_tokens_to_ids(IMAGE_PAD))
        coded = [[self._segment(turn) for turn in row] for row in rows]
        length = len(prompt) + max(sum(len(ids) for ids, _ in row) for row in coded)
        shape = (len(rows), length)
        ids = torch.full(shape, self.tokenizer.pad_token_id)
        segment = torch.full(shape, -1)  # -1 padding, 0 prompt, 1, 2, ... turns
        targets = torch.full(shape, -100)
        first = torch.zeros(shape, dtype=torch.bool)
        positions = torch.zeros((3, *shape), dtype=torch.long)
        ids[:, : len(prompt)] = torch.tensor(prompt)
        segment[:, : len(prompt)] = 0
        in_prompt = _prompt_positions(len(prompt), image_start)
        positions[:, :, : len(prompt)] = in_prompt[:, None]
        for b, row in enumerate(coded):
            start = len(prompt)
            for number, (tokens, n_answer) in enumerate(row, start=1):
                end = start + len(tokens)
                ids[b, start:end] = torch.tensor(tokens)
                segment[b, start:end] = number
                positions[:, b, start:end] = in_prompt.max() + 1 + torch.arange(len(tokens))
                targets[b, end - n_answer - 1 : end - 1] = torch.tensor(tokens[-n_answer:])
                first[b, end - n_answer - 1] = True
                start = end
        return Rows(ids, positions, _mask(segment), targets, first)


def _prompt_positions(length: int, image_start: int) -> Tensor:
    positions = torch.arange(length).repeat(3, 1)
    cell = torch.arange(TOKENS_PER_IMAGE)
    end = image_start + TOKENS_PER_IMAGE
    positions[:, image_start:end] = image_start
    positions[1, image_start:end] += cell // GRID
    positions[2, image_start:end] += cell % GRID
    positions[:, end:] = torch.arange(length - end) + image_start + GRID
    return positions


def _mask(segment: Tensor) -> Tensor:
    query, key = segment[:, :, None], segment[:, None, :]
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    # Padding sees the prompt too, so that no row of the softmax is empty.
    return (((query == key) | (key == 0)) & causal)[:, None]


def answer_logits(
    model: Qwen2VLForConditionalGeneration, rows: Rows, features: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits at the answer positions only, and their targets.

    Args:
        model: the model.
        rows: B packed rows.
        features: `encode_images` of the B images, [B, 9, hidden].

    Returns:
        Logits [N, V] and targets [N], N = number of answer tokens of the batch.
    """
    embedded = model.get_input_embeddings()(rows.ids)
    is_image = (rows.ids == model.config.image_token_id)[..., None]
    embedded = embedded.masked_scatter(is_image, features)
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        position_ids=rows.positions,
        attention_mask={"full_attention": rows.mask},
        use_cache=False,
    ).last_hidden_state
    wanted = rows.targets != -100
    return model.lm_head(hidden[wanted]), rows.targets[wanted]
