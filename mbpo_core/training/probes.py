"""Image information gain during training, on a fixed set of offline groups (the paper's figure)."""

from collections.abc import Sequence
from typing import Any

import torch

from mbpo_core.grouping import Group
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.seeds import seed_for
from mbpo_core.training.batches import Encoder


def probe_set(groups: Sequence[Group], size: int, seed: int) -> list[Group]:
    """Draw `size` offline groups by `seed_for(seed, group_id, "probe")`, whatever their order."""
    offline = [group for group in groups if group.stream == "offline"]
    return sorted(offline, key=lambda g: (seed_for(seed, g.group_id, "probe"), g.group_id))[:size]


@torch.no_grad()
def probe(
    policy: QwenVL, encoder: Encoder, groups: Sequence[Group], step: int
) -> list[dict[str, Any]]:
    """IIG(q, v, y) = lp(y|q,v) - lp(y|q,v0) (eq. 4) of every candidate, as a sum and per token.

    Returns:
        Rows of the `probes` table, one per candidate, in nats.
    """
    rows = []
    for group in groups:
        encoded = encoder.offline(group)
        blanks = {id(image): torch.zeros_like(image) for image in encoded.images}
        seen = policy.token_logps(encoded.prompts, encoded.responses, encoded.images)
        blind = policy.token_logps(
            encoded.prompts, encoded.responses, [blanks[id(image)] for image in encoded.images]
        )
        for candidate, with_image, without in zip(group.candidates, seen, blind, strict=True):
            gain = float(with_image.sum() - without.sum())
            rows.append(
                {
                    "step": step,
                    "group_id": group.group_id,
                    "role": candidate.role,
                    "logp_image": float(with_image.sum()),
                    "logp_blank": float(without.sum()),
                    "tokens": with_image.numel(),
                    "iig_sum": gain,
                    "iig_mean": gain / with_image.numel(),
                }
            )
    return rows
