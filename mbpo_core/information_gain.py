"""Image information gain: how much more likely the image makes a response (eq. 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.models.preprocessing import blanks, to_units
from mbpo_core.models.protocol import Policy, PromptedResponse


@dataclass(frozen=True)
class GainRow:
    """Image information gain of one response, with all it was computed from."""

    sample_id: str
    """Of the scored row."""
    image_token_logps: list[float]
    """log pi(y_t | q, v, y_<t) of each response token, EOS included, in nats (float32)."""
    blank_token_logps: list[float]
    """The same under the blank image v0."""
    iig_sum: float
    """Sum over tokens of image minus blank, in nats, accumulated in float64."""
    iig_mean: float
    """`iig_sum` per token."""
    n_tokens: int
    """Response tokens, EOS included."""


@torch.no_grad()
def information_gain(policy: Policy, rows: Sequence[PromptedResponse]) -> list[GainRow]:
    """IIG(q, v, y) = f(y | q, v) - f(y | q, v0) for each row (eq. 4); one batch, one result a row.

    f is the log-probability of the response, v0 the black image of the same size, so that both
    terms have the same prompt and the same positions. A black image is the blank one and has a gain
    of exactly 0. Rows of one image should share its tensor, and rows of one size should stand in
    one batch: what they have in common is then computed once (`models.packing`).
    Errors: ValueError as `Policy.token_logps`.
    Differs from the paper: that f is a log-probability is inferred; sum and per-token mean are both
    returned since it does not say which; EOS counts (assumed).
    """
    prompts, responses = [row.prompt for row in rows], [row.response for row in rows]
    stored = [row.image for row in rows]
    blank = policy.token_logps(prompts, responses, blanks(stored, policy.device))
    shown = [i for i, image in enumerate(stored) if image.any()]
    image = dict(zip(shown, _under(policy, [rows[i] for i in shown]), strict=True))
    return [gain_row(row.sample_id, image.get(i, blank[i]), blank[i]) for i, row in enumerate(rows)]


def _under(policy: Policy, rows: Sequence[PromptedResponse]) -> list[Tensor]:
    if not rows:
        return []
    images = to_units([row.image for row in rows], policy.device)
    return policy.token_logps([row.prompt for row in rows], [row.response for row in rows], images)


def gain_row(sample_id: str, image: Tensor, blank: Tensor) -> GainRow:
    """Eq. 4 from both terms' token log-probabilities, each `[T]`."""
    total = (image.double() - blank.double()).sum().item()
    return GainRow(
        sample_id=sample_id,
        image_token_logps=image.tolist(),
        blank_token_logps=blank.tolist(),
        iig_sum=total,
        iig_mean=total / len(image),
        n_tokens=len(image),
    )
