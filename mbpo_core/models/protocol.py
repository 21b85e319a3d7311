"""What the method needs of a vision-language model, and the values that go in and out.

Axis letters: B batch, T response tokens, V vocabulary. Images are RGB `[3, H, W]`: uint8 where they
are stored, float in [0, 1] where a model reads them; mean, std and patches live in the adapter.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PromptedResponse:
    """One response to one prompt under one image: the unit that is scored and attacked."""

    sample_id: str
    """Names the row in errors and results."""
    prompt: list[int]
    """`Policy.prompt_ids` of the question at the size of `image`."""
    response: list[int]
    """`Policy.response_ids` of the text, or sampled ids; ends with an EOS id if it was finished."""
    image: Tensor
    """uint8 `[3, H, W]`. Rows that share an image should share the tensor: it is encoded once."""


@dataclass(frozen=True)
class Sampled:
    """A sampled response."""

    ids: list[int]
    """Response token ids, with the EOS id if one was drawn, nothing after it."""
    finished: bool
    """Whether an EOS id was drawn before `max_new_tokens` ran out."""
    finite: bool = True
    """Whether every token was drawn from logits that are numbers; else the ids mean nothing."""


class Sampler(Protocol):
    """What draws responses: a policy itself, or another engine with the same weights."""

    def sample(
        self,
        prompts: Sequence[list[int]],
        images: Sequence[Tensor],
        seeds: Sequence[int],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
    ) -> list[Sampled]:
        """One response per row; a row's draw depends on its own seed, prompt and image only.

        Two samplers draw different responses from the same seed. Log-probabilities are never
        taken from a sampler: `Policy.token_logps` measures what was drawn.
        """
        ...


class Policy(Sampler, Protocol):
    """A vision-language model as the method sees it (pi or pi_ref of the papers)."""

    max_length: int
    """Limit of prompt and response tokens together; longer rows are refused, never cut."""
    eos_ids: tuple[int, ...]
    """Every id that ends a response; the first is the one `response_ids` appends."""

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        ...

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """`image_grid_thw` of an image of this size in pixels."""
        ...

    def prompt_ids(self, question: str, height: int, width: int) -> list[int]:
        """Chat template with expanded image pads and generation prompt; never truncated."""
        ...

    def response_ids(self, text: str) -> list[int]:
        """Tokens of the text, then the EOS id that ends a turn."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids without special tokens."""
        ...

    def token_logps(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        images: Sequence[Tensor],
        *,
        temperature: float | Sequence[float] = 1.0,
        model: nn.Module | None = None,
    ) -> list[Tensor]:
        """Log-probability of each response token, `[T_i]` per row, at least float32."""
        ...

    def token_entropies(
        self,
        prompts: Sequence[list[int]],
        responses: Sequence[list[int]],
        images: Sequence[Tensor],
        *,
        temperature: float | Sequence[float] = 1.0,
        model: nn.Module | None = None,
    ) -> list[Tensor]:
        """Entropy of the distribution of each response token, as `token_logps`; no gradient."""
        ...

    def frozen(self) -> AbstractContextManager[None]:
        """Inside, no parameter requires a gradient (an attack needs that of the image only)."""
        ...

    def float32(self) -> Self:
        """The same policy in float32: itself if it is, else a copy."""
        ...
