"""Answer entropy: how unsure the policy is while it answers by itself (MFPO, easy to hard)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.protocol import Policy, PromptedResponse


@dataclass(frozen=True)
class EntropyRow:
    """The policy's own answer to one prompt, and the entropy at each of its tokens."""

    sample_id: str
    """Of the row."""
    text: str
    """Decoded answer; may be empty."""
    ids: list[int]
    """Its token ids, EOS included if it was drawn."""
    finished: bool
    """Whether EOS was drawn before `max_new_tokens` ran out."""
    token_entropies: list[float]
    """H_t of each token's distribution in nats, in [0, log V] (float32)."""
    entropy_mean: float
    """Mean of `token_entropies`, in nats, accumulated in float64."""


@torch.no_grad()
def answer_entropy(
    policy: Policy, rows: Sequence[PromptedResponse], *, max_new_tokens: int
) -> list[EntropyRow]:
    """Entropy of the answer that the policy generates on the clean image; one result a row.

    H_t = -sum_v p_v log p_v with p = pi(. | q, v, y_<t) over the vocabulary, at every token of the
    policy's own greedy answer y, EOS included; the mean over t orders samples from easy (low) to
    hard. Prompt and clean image of a row are used, its response is not: the answer is the policy's.
    Scored by the forward pass that training uses, not by the one that decodes, so that a row alone
    and in a batch agree to float32 (a near-tie of two tokens may still turn a greedy answer).
    Errors: ValueError for `max_new_tokens` below 1, no rows, or a row that could outgrow
    `max_length`.
    Differs from the paper: greedy decoding and the mean over tokens are assumed. It cites "semantic
    entropy" (over meanings of several answers), but its formula is over tokens. Vision ids, which
    are never drawn, count in the distribution.
    """
    prompts = [row.prompt for row in rows]
    images = to_units([row.image for row in rows], policy.device)
    answers = policy.sample(
        prompts,
        images,
        [0] * len(rows),  # greedy: nothing is drawn
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
    )
    entropies = policy.token_entropies(prompts, [answer.ids for answer in answers], images)
    return [
        EntropyRow(
            sample_id=row.sample_id,
            text=policy.decode(answer.ids),
            ids=answer.ids,
            finished=answer.finished,
            token_entropies=values.tolist(),
            entropy_mean=values.double().mean().item(),
        )
        for row, answer, values in zip(rows, answers, entropies, strict=True)
    ]
