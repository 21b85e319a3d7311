"""From a stored sample to what a policy scores: ids of prompt and response, and the image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from mbpo_core.models.protocol import Policy, PromptedResponse
from tasks.packs import PackLog, run_packs
from tasks.rows import pixels

Row = dict[str, Any]
COLUMNS = ("sample_id", "image", "height", "width", "question", "response")
"""What `prompted` reads of a sample."""


def prompted(
    policy: Policy, sample: Row, max_length: int | None, read: Callable[[Row], Tensor] = pixels
) -> PromptedResponse | str:
    """Return the sample as the policy reads it, or the reason why it cannot.

    `read` decodes its image.
    Raises nothing for what a text can hold: `special_token` (it would be read as one, not as
    text) and `too_long` (never cut) are reasons.
    """
    try:
        prompt = policy.prompt_ids(sample["question"], sample["height"], sample["width"])
        response = policy.response_ids(sample["response"])
    except ValueError:
        return "special_token"
    limit = policy.max_length if max_length is None else min(max_length, policy.max_length)
    if len(prompt) + len(response) > limit:
        return "too_long"
    return PromptedResponse(sample["sample_id"], prompt, response, read(sample["image"]))


def run_rows(
    rows: Iterable[tuple[str, PromptedResponse | str]],
    budget: int,
    run: Callable[[list[PromptedResponse]], list[Row]],
    log: PackLog,
    *,
    by_image: bool = False,
    extra: int = 0,
) -> list[Row]:
    """Run what can be run in packs; return one row an id, in order.

    Rows that are a reason pass through as `{"sample_id": ..., "reason": ...}`. `by_image` puts rows
    of one image next to each other, and images of one size: what a prompt has in common is then
    computed once. `extra` tokens a row are planned for, as where it is answered.
    """
    listed = list(rows)
    ready = [row for _, row in listed if not isinstance(row, str)]
    found = run_packs(
        ready,
        [len(row.prompt) + len(row.response) + extra for row in ready],
        budget,
        run,
        lambda row, reason: {"sample_id": row.sample_id, "reason": reason},
        log,
        _by_image(ready) if by_image else None,
    )
    by_id = {row["sample_id"]: row for row in found}
    return [
        {"sample_id": name, "reason": row} if isinstance(row, str) else by_id[name]
        for name, row in listed
    ]


def prompted_all(
    policy: Policy, ids: Sequence[str], samples: dict[str, Row], max_length: int | None = None
) -> list[tuple[str, PromptedResponse | str]]:
    """Return `prompted` for each id; samples of one image share its tensor."""
    decoded: dict[bytes, Tensor] = {}

    def read(image: Row) -> Tensor:
        if image["bytes"] not in decoded:
            decoded[image["bytes"]] = pixels(image)
        return decoded[image["bytes"]]

    return [(name, prompted(policy, samples[name], max_length, read)) for name in ids]


def _by_image(rows: Sequence[PromptedResponse]) -> list[tuple[int, ...]]:
    """Sort keys: sizes from small to large, images of a size in order of appearance."""
    numbers: dict[int, int] = {}
    return [
        (row.image.numel(), row.image.shape[1], numbers.setdefault(id(row.image), len(numbers)))
        for row in rows
    ]
