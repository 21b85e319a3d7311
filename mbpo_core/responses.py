"""Rejected responses: drawn under the negative image (eq. 6), refused where they teach nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.data.texts import normalised
from mbpo_core.models.preprocessing import blanks, to_units
from mbpo_core.models.protocol import Policy, Sampled, Sampler
from mbpo_core.seeds import seed_for

EMPTY = "empty"
EQUAL_TO_CHOSEN = "equal_to_chosen"
DEGENERATE = "degenerate"
IMPLAUSIBLE = "implausible"
UNFINISHED = "unfinished"
NONFINITE_LOGP = "nonfinite_logp"

_NGRAM = 3


@dataclass(frozen=True)
class RefusalRules:
    """When a sampled response is refused. All thresholds are assumed: the paper states none."""

    max_repetition: float = 0.5
    """Largest allowed `repetition_share`; 1 allows everything."""
    max_run: int = 8
    """Largest allowed number of immediate repeats of one word or short string."""
    min_mean_logp: float | None = None
    """Least mean token log-probability under the clean image, in nats; None = no floor. Very
    unlikely text makes the KL term explode in training."""
    refuse_unfinished: bool = False
    """Whether a response that ran out of tokens is refused."""


@dataclass(frozen=True)
class RespondRow:
    """What a rejected response is drawn for."""

    sample_id: str
    """Names the row; part of its seeds."""
    prompt: list[int]
    """`Policy.prompt_ids` of the question at the size of the images."""
    chosen: str
    """The chosen response."""
    clean: Tensor
    """uint8 `[3, H, W]`: what both responses will be scored on in training."""
    negative: Tensor
    """uint8 `[3, H, W]`, as read back from the store: what the response is drawn under."""


@dataclass(frozen=True)
class RejectedResponse:
    """A rejected response, or the last attempt at one and why it was refused."""

    sample_id: str
    """Of the row."""
    text: str
    """Decoded response."""
    ids: list[int]
    """The sampled ids, EOS included if drawn: train on these, never on re-encoded text."""
    finished: bool
    """Whether an EOS id was drawn."""
    attempt: int
    """Index of the attempt, from 0."""
    reason: str | None
    """None if accepted, else why this last attempt was refused."""
    refused: list[str]
    """Reasons of the earlier attempts, in order."""
    clean_token_logps: list[float]
    """log pi of each token under the clean image, in nats."""
    negative_token_logps: list[float]
    """The same under the negative image."""
    blank_token_logps: list[float]
    """The same under the blank image."""


def repetition_share(text: str) -> float:
    """Share of word trigrams that occurred before, in [0, 1]; 0 for fewer than two trigrams."""
    words = text.casefold().split()
    ngrams = [tuple(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if len(ngrams) > 1 else 0.0


def longest_run(text: str) -> int:
    """How often the most repeated word or string of up to ten characters stands in a row.

    A word has at most 100 characters.
    """
    folded = text.casefold()
    runs = [1]
    # Without a bound on the length of a word, one long word would be read from each of its letters.
    for match in re.finditer(r"(\S{1,10}?|\S{1,100}\s+)\1+", folded + " "):
        runs.append(len(match.group(0)) // len(match.group(1)))
    return max(runs)


def _has_run(text: str, allowed: int) -> bool:
    """Whether a run is longer than allowed; a short text cannot hold one, so it is not searched."""
    return len(text) > allowed and longest_run(text) > allowed


def refuse(
    text: str,
    chosen: str,
    rules: RefusalRules,
    *,
    finished: bool = True,
    mean_logp: float | None = None,
) -> str | None:
    """Reason to refuse a sampled response as the rejected one, or None.

    In order: "empty" (no letter or digit), "equal_to_chosen" (after `normalised`), "degenerate"
    (repetition), "unfinished" (if the rules say so), "implausible" (`mean_logp`, the mean token
    log-probability under the clean image, below the floor).
    Errors: ValueError if the rules have a floor and `mean_logp` is missing.
    Differs from the paper: it refuses nothing; equal or garbled negatives give no usable pair.
    """
    if not any(letter.isalnum() for letter in text):
        return EMPTY
    if normalised(text) == normalised(chosen):
        return EQUAL_TO_CHOSEN
    if repetition_share(text) > rules.max_repetition or _has_run(text, rules.max_run):
        return DEGENERATE
    if rules.refuse_unfinished and not finished:
        return UNFINISHED
    if rules.min_mean_logp is None:
        return None
    if mean_logp is None:
        raise ValueError("the rules have min_mean_logp: mean_logp is needed")
    # Written so that a mean that is not a number is refused too.
    return None if mean_logp >= rules.min_mean_logp else IMPLAUSIBLE


def attempt_seed(run_seed: int, sample_id: str, purpose: str, attempt: int) -> int:
    """Seed of one draw of a rejected response; attempts count from 0."""
    return seed_for(run_seed, sample_id, purpose, attempt)


@torch.no_grad()
def sample_rejected(
    policy: Policy,
    rows: Sequence[RespondRow],
    rules: RefusalRules,
    *,
    run_seed: int,
    attempts: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    purpose: str = "respond",
    sampler: Sampler | None = None,
) -> list[RejectedResponse]:
    """y_l ~ pi(. | q, v_adv) for each row (eq. 6): the first acceptable of several attempts.

    One batch, one result a row; a row that is refused `attempts` times comes back with its last
    response and the reason. The seed of an attempt is `attempt_seed`. `sampler` draws where it is
    not the policy itself. Log-probabilities under the clean, the negative and the blank image come
    with it; the policy measures them, whoever drew.
    Errors: ValueError for `attempts` below 1, and as `Policy.sample`.
    Differs from the paper: it samples once and states no decoding settings (temperature 1, top_p 1
    and 256 tokens are assumed, as R1-V).
    """
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1, got {attempts}")
    drafts: dict[int, _Draft] = {}
    refused: list[list[str]] = [[] for _ in rows]
    for attempt in range(attempts):
        pending = [i for i in range(len(rows)) if i not in drafts or drafts[i].reason]
        if not pending:
            break
        tried = [rows[i] for i in pending]
        drawn = (sampler or policy).sample(
            [row.prompt for row in tried],
            to_units([row.negative for row in tried], policy.device),
            [attempt_seed(run_seed, row.sample_id, purpose, attempt) for row in tried],
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
        )
        reasons = _reasons(policy, tried, drawn, rules)
        for index, sampled, reason in zip(pending, drawn, reasons, strict=True):
            if index in drafts:
                refused[index].append(drafts[index].reason)
            drafts[index] = _Draft(sampled, attempt, reason)
    return _results(policy, rows, [drafts[i] for i in range(len(rows))], refused)


@dataclass(frozen=True)
class _Draft:
    sampled: Sampled
    attempt: int
    reason: str | None


def _reasons(
    policy: Policy, rows: Sequence[RespondRow], drawn: Sequence[Sampled], rules: RefusalRules
) -> list[str | None]:
    means: list[float | None] = [None] * len(rows)
    if rules.min_mean_logp is not None:
        clean = to_units([row.clean for row in rows], policy.device)
        scored = policy.token_logps([r.prompt for r in rows], [d.ids for d in drawn], clean)
        means = [values.double().mean().item() for values in scored]
    return [
        refuse(policy.decode(d.ids), row.chosen, rules, finished=d.finished, mean_logp=mean)
        if d.finite
        else NONFINITE_LOGP
        for row, d, mean in zip(rows, drawn, means, strict=True)
    ]


def _results(
    policy: Policy,
    rows: Sequence[RespondRow],
    drafts: Sequence[_Draft],
    refused: Sequence[list[str]],
) -> list[RejectedResponse]:
    clean = [row.clean for row in rows]
    prompts, ids = [row.prompt for row in rows], [draft.sampled.ids for draft in drafts]
    conditions = (
        to_units(clean, policy.device),
        to_units([row.negative for row in rows], policy.device),
        blanks(clean, policy.device),
    )
    scores = [policy.token_logps(prompts, ids, images) for images in conditions]
    return [
        RejectedResponse(
            sample_id=row.sample_id,
            text=policy.decode(draft.sampled.ids),
            ids=draft.sampled.ids,
            finished=draft.sampled.finished,
            attempt=draft.attempt,
            reason=draft.reason,
            refused=earlier,
            clean_token_logps=under_clean.tolist(),
            negative_token_logps=under_negative.tolist(),
            blank_token_logps=under_blank.tolist(),
        )
        for row, draft, earlier, under_clean, under_negative, under_blank in zip(
            rows, drafts, refused, *scores, strict=True
        )
    ]
