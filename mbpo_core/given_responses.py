"""Rejected responses that are given as texts: a data set's own, or a right answer made wrong."""

from collections.abc import Sequence

import torch

from mbpo_core.models.preprocessing import blanks, to_units
from mbpo_core.models.protocol import Policy
from mbpo_core.responses import RefusalRules, RejectedResponse, RespondRow, refuse

SPECIAL_TOKEN = "special_token"
TOO_LONG = "too_long"
_ANY_TEXT = RefusalRules(max_repetition=1.0, max_run=2**31)
"""Whoever gives a text has chosen it: only what cannot make a pair is refused."""


@torch.no_grad()
def given_rejected(
    policy: Policy, rows: Sequence[RespondRow], texts: Sequence[str]
) -> list[RejectedResponse]:
    """Rejected responses from texts, measured like sampled ones; one batch, one result a row.

    A text is refused as "empty" or "equal_to_chosen" (see `responses.refuse`), as "special_token"
    (it would be read as one) or "too_long" (never cut). `ids` are those of the text with the EOS
    id; log-probabilities of what is refused are empty.
    Errors: ValueError for lists of different lengths.
    """
    tokens, reasons = [], []
    for row, text in zip(rows, texts, strict=True):
        ids, reason = _tokens(policy, row, text)
        tokens.append(ids)
        reasons.append(refuse(text, row.chosen, _ANY_TEXT) or reason)
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    scores = _scores(policy, [rows[i] for i in kept], [tokens[i] for i in kept])
    found = dict(zip(kept, scores, strict=True))
    return [
        RejectedResponse(row.sample_id, text, ids, True, 0, reason, [], *found.get(i, ([], [], [])))
        for i, (row, text, ids, reason) in enumerate(zip(rows, texts, tokens, reasons, strict=True))
    ]


def _tokens(policy: Policy, row: RespondRow, text: str) -> tuple[list[int], str | None]:
    try:
        ids = policy.response_ids(text)
    except ValueError:
        return [], SPECIAL_TOKEN
    return ids, TOO_LONG if len(row.prompt) + len(ids) > policy.max_length else None


def _scores(
    policy: Policy, rows: Sequence[RespondRow], ids: Sequence[list[int]]
) -> list[tuple[list[float], list[float], list[float]]]:
    """Token log-probabilities under the clean, the negative and the blank image."""
    if not rows:
        return []
    clean, device = [row.clean for row in rows], policy.device
    prompts = [row.prompt for row in rows]
    conditions = (
        to_units(clean, device),
        to_units([row.negative for row in rows], device),
        blanks(clean, device),
    )
    scored = [policy.token_logps(prompts, ids, images) for images in conditions]
    return [tuple(values.tolist() for values in three) for three in zip(*scored, strict=True)]
