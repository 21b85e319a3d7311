"""Seeded sampling: noise that belongs to a row and not to a batch, and prompts read only once.

transformers' `generate` reads the prompt of every row; with eight rollouts of one prompt and short
answers that is most of the work. The loop here is its greedy search over scores with noise added.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from mbpo_core.models.protocol import Sampled


class Suppressed(LogitsProcessor):
    """Scores `[B, V]` of some ids become -inf.

    That of transformers looks up every id of the vocabulary, for each token that is drawn.
    """

    def __init__(self, ids: Sequence[int], device: torch.device) -> None:
        self._ids = torch.tensor(ids, dtype=torch.long, device=device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Suppress."""
        return scores.index_fill(-1, self._ids, -torch.inf)


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
    check_settings(temperature, top_p)
    processors = LogitsProcessorList([Suppressed(suppressed, device)])
    if temperature == 0:
        return processors
    processors.append(TemperatureLogitsWarper(float(temperature)))
    if top_p < 1:
        processors.append(TopPLogitsWarper(float(top_p)))
    processors.append(SeededGumbel(seeds, device))
    return processors


def check_settings(temperature: float, top_p: float) -> None:
    """Raise ValueError for a negative temperature or a top_p outside (0, 1]."""
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")


@torch.no_grad()
def decode_rows(
    model: nn.Module,
    prefill: dict[str, Any],
    rows: Tensor,
    following: Tensor,
    processors: LogitsProcessorList,
    *,
    eos_ids: Sequence[int],
    max_new_tokens: int,
) -> tuple[list[list[int]], list[bool]]:
    """Draw B responses after P <= B prompts: a prompt is read once, whatever is drawn from it.

    Args:
        model: the transformers model, in evaluation mode.
        prefill: what its forward takes for the P prompts, padded on the left; with
            `attention_mask`.
        rows: the prompt of each response, int64 `[B]`.
        following: rotary position of the first token after each prompt, int64 `[P]`.
        processors: applied to float32 logits `[B, V]`; the greatest score is drawn.
        eos_ids: a row that drew one of them is finished; all are: the end.
        max_new_tokens: the end at the latest.

    Returns:
        B lists of ids; what follows a row's first EOS id has no meaning. And for each whether all
        scores up to there were numbers.
    """
    output = model(**prefill, use_cache=True, logits_to_keep=1)
    cache = output.past_key_values
    cache.batch_select_indices(rows)
    logits, mask, position = (
        output.logits[rows, -1],
        prefill["attention_mask"][rows],
        following[rows],
    )
    ends = torch.tensor(list(eos_ids), device=rows.device)
    finished, broken = torch.zeros(2, len(rows), dtype=torch.bool, device=rows.device)
    drawn: list[Tensor] = []
    while True:
        scores = processors(None, logits.float())
        drawn.append(scores.argmax(dim=-1))
        # A score that is no number counts as the greatest, so it is what was drawn.
        broken |= scores.gather(-1, drawn[-1][:, None])[:, 0].isnan() & ~finished
        finished |= torch.isin(drawn[-1], ends)
        if len(drawn) == max_new_tokens or bool(finished.all()):
            return torch.stack(drawn, dim=1).tolist(), (~broken).tolist()
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        logits = model(
            input_ids=drawn[-1][:, None],
            attention_mask=mask,
            position_ids=position.expand(3, -1)[:, :, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        position = position + 1


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Inside, every module is in eval mode (gradient checkpointing in train mode has no cache)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
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


def cut_at_eos(ids: Sequence[int], eos_ids: Sequence[int], finite: bool = True) -> Sampled:
    """Keep everything up to and with the first EOS id: what `generate` put behind it is padding."""
    for end, token in enumerate(ids):
        if token in eos_ids:
            return Sampled(list(ids[: end + 1]), finished=True, finite=finite)
    return Sampled(list(ids), finished=False, finite=finite)
