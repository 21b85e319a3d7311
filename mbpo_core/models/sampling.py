"""Seeded sampling inside transformers' `generate`: noise that belongs to a row, not to a batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from mbpo_core.models.protocol import Sampled


class SeededGumbel(LogitsProcessor):
    """Gumbel-max: arg max of (scores + Gumbel noise) is a draw from softmax(scores).

    Each row has a generator of its own, so that its draws depend on its seed and its own scores and
    not on its neighbours or its place. Scores `[B, V]`, one seed a row.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Add this step's noise."""
        return scores + torch.stack([self._noise(scores, g) for g in self._generators])

    @staticmethod
    def _noise(scores: Tensor, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(
            scores.shape[1], generator=generator, device=scores.device, dtype=scores.dtype
        )
        return -(-uniform.clamp_min(torch.finfo(scores.dtype).tiny).log()).log()


def sampling_processors(
    seeds: Sequence[int],
    device: torch.device,
    *,
    suppressed: Sequence[int],
    temperature: float,
    top_p: float,
) -> LogitsProcessorList:
    """Suppress, divide by the temperature, keep the nucleus, add noise (in transformers' order).

    Temperature 0 is greedy: no nucleus, no noise.
    Errors: ValueError for a negative temperature or a top_p outside (0, 1].
    """
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    processors = LogitsProcessorList()
    if suppressed:
        processors.append(SuppressTokensLogitsProcessor(list(suppressed), device=str(device)))
    if temperature == 0:
        return processors
    processors.append(TemperatureLogitsWarper(float(temperature)))
    if top_p < 1:
        processors.append(TopPLogitsWarper(float(top_p)))
    processors.append(SeededGumbel(seeds, device))
    return processors


@contextmanager
def generation_settings(
    model: nn.Module, *, eos_ids: Sequence[int], pad_id: int, max_new_tokens: int
) -> Iterator[None]:
    """Inside, the model generates with these settings alone, in eval mode; both are restored.

    A checkpoint brings sampling values of its own (Qwen: repetition_penalty, top_k, temperature),
    and `generate` fills every field that was left open with them: hence the whole configuration is
    exchanged, not overridden field by field. Eval mode, because gradient checkpointing in train
    mode drops the key-value cache.
    """
    kept = model.generation_config
    modes = [(module, module.training) for module in model.modules()]
    model.generation_config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(eos_ids),
        pad_token_id=pad_id,
    )
    model.eval()
    try:
        yield
    finally:
        model.generation_config = kept
        for module, training in modes:
            module.training = training


def left_pad(prompts: Sequence[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts to `(ids, attention mask)`, int64 `[B, P]`, padded on the left for generation."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def cut_at_eos(ids: Sequence[int], eos_ids: Sequence[int]) -> Sampled:
    """Keep everything up to and with the first EOS id: what `generate` put behind it is padding."""
    for end, token in enumerate(ids):
        if token in eos_ids:
            return Sampled(list(ids[: end + 1]), finished=True)
    return Sampled(list(ids), finished=False)
