"""PGD through a policy: from the clean image to the stored negative and its figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.mining.pgd import PGD, LogProbability, PGDResult, pgd
from mbpo_core.mining.png import decode_png, encode_png
from mbpo_core.mining.protocol import OK, MinedImage, MineItem, recovered_share
from mbpo_core.models.preprocessing import blanks, to_unit
from mbpo_core.models.protocol import Policy, PromptedResponse


@dataclass(frozen=True)
class PGDMiner:
    """`NegativeMiner` that attacks a policy (eq. 5)."""

    policy: Policy
    """The attacked model (the paper does not say which; the policy to be trained is assumed)."""
    config: PGD
    """Settings of the attack."""
    noise_floor: float = 0.1
    """Nats that an image must add before a recovered share means something (assumed)."""

    def __call__(self, items: Sequence[MineItem]) -> list[MinedImage]:
        """Attack one pack."""
        rows = [item.row for item in items]
        if not rows:
            return []  # as every other miner does; a model has no empty batch
        return mine_pgd(self.policy, rows, self.config, noise_floor=self.noise_floor)


def mine_pgd(
    policy: Policy,
    rows: Sequence[PromptedResponse],
    config: PGD,
    *,
    noise_floor: float = 0.1,
) -> list[MinedImage]:
    """Adversarial images against lp(y_w | q, v) of the policy (eq. 5), one batch, one result a row.

    Every figure is a sum over response tokens in nats. The negative is encoded as PNG, decoded, and
    scored again: `logp_reread` equals the recorded `logp_negative` in float32. Parameters get no
    gradient and the model's mode is left alone. A policy in half precision is copied to float32
    only if a gradient is not finite.
    Errors: ValueError as `pgd` and `Policy.token_logps`.
    Differs from the paper: it attacks in floats and does not say how the image is stored.
    """
    clean = [row.image.to(policy.device) for row in rows]
    with policy.frozen():
        results = pgd(logp_of(policy, rows), clean, config, retry=_retry(policy, rows))
    # A refused row keeps its place with its clean image: in half precision the figures of the
    # other rows depend on the shape of the batch.
    pngs = [None if r.adversarial is None else encode_png(r.adversarial) for r in results]
    reread = [
        to_unit(image if png is None else decode_png(png))
        for image, png in zip(clean, pngs, strict=True)
    ]
    with torch.no_grad():
        after = logp_of(policy, rows)(reread).tolist()
        blank = logp_of(policy, rows)(blanks(clean)).tolist()
    return [
        _mined(row, result, png, figures, noise_floor)
        for row, result, png, *figures in zip(rows, results, pngs, after, blank, strict=True)
    ]


def logp_of(policy: Policy, rows: Sequence[PromptedResponse]) -> LogProbability:
    """lp(y | q, v_i) of the rows' responses as a function of the images, `[B]` nats, float64."""
    prompts, responses = [row.prompt for row in rows], [row.response for row in rows]

    def logp(images: list[Tensor]) -> Tensor:
        token_logps = policy.token_logps(prompts, responses, images)
        return torch.stack([values.double().sum() for values in token_logps])

    return logp


def _retry(policy: Policy, rows: Sequence[PromptedResponse]) -> LogProbability | None:
    if policy.dtype == torch.float32:
        return None
    held: list[Policy] = []

    def logp(images: list[Tensor]) -> Tensor:
        if not held:
            held.append(policy.float32())  # copied inside frozen(): needs no gradients either
        return logp_of(held[0], rows)(images)

    return logp


def _mined(
    row: PromptedResponse,
    result: PGDResult,
    png: bytes | None,
    figures: Sequence[float],
    noise_floor: float,
) -> MinedImage:
    trace = result.logp_trace
    if png is None:
        return MinedImage(row.sample_id, result.status, logp_trace=trace, retried=result.retried)
    after, blank = figures
    share, reason = recovered_share(trace[0], after, blank, noise_floor=noise_floor)
    return MinedImage(
        sample_id=row.sample_id,
        status=OK,
        png=png,
        logp_clean=trace[0],
        logp_negative=trace[result.chosen_step],
        logp_reread=after,
        logp_blank=blank,
        logp_trace=trace,
        best_step=result.best_step,
        linf=result.linf,
        recovered=share,
        recovered_reason=reason,
        retried=result.retried,
    )
