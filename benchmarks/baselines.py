"""Plain transformers used well: what ours is measured against.

Batched, in eval mode, without gradients where none are needed, padded on the right so that no mask
is needed and sdpa takes its causal kernel, rows of like length together, logits only from the first
response position of the batch on (`logits_to_keep`), log-softmax in float32 at response positions
only. Images are patchified by the same function as ours, which is faster than the image processor.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mbpo_core.models.preprocessing import blanks, patchify, to_unit, to_units
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL

Score = tuple[Tensor, Tensor]
"""Token log-probabilities of a response under its image and under the blank one, `[T]` each."""


def token_logps(
    policy: QwenVL,
    rows: Sequence[PromptedResponse],
    images: Sequence[Tensor],
    *,
    all_logits: bool = False,
) -> list[Tensor]:
    """Log-probability of each response token by one forward pass of the transformers model.

    `all_logits`: logits at every position, as the forward gives them if nobody says otherwise.
    """
    inputs = model_inputs(policy, rows, images)
    width = inputs["input_ids"].shape[1]
    keep = width if all_logits else width - min(len(row.prompt) for row in rows) + 1
    logits = policy.model(**inputs, logits_to_keep=keep, use_cache=False).logits
    found = []
    for row, own in zip(rows, logits, strict=True):
        # The column before a token predicts it; `logits` begins at column `width - keep`.
        start = len(row.prompt) - 1 - (width - keep)
        targets = torch.tensor(row.response, device=own.device)[:, None]
        logps = own[start : start + len(row.response)].float().log_softmax(-1)
        found.append(logps.gather(-1, targets)[:, 0])
    return found


def model_inputs(
    policy: QwenVL, rows: Sequence[PromptedResponse], images: Sequence[Tensor]
) -> dict[str, Tensor]:
    """What the transformers forward takes; every row brings its own patches."""
    ids = [torch.tensor([*row.prompt, *row.response]) for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_value=policy.pad_id).to(policy.device)
    patches = [patchify(image.to(policy.device), policy.image_config) for image in images]
    grids = [policy.grid(*image.shape[1:]) for image in images]
    return {
        "input_ids": padded,
        "mm_token_type_ids": (padded == policy.image_token_id).int(),
        "pixel_values": torch.cat(patches),
        "image_grid_thw": torch.tensor(grids, device=policy.device),
    }


@torch.no_grad()
def scores(policy: QwenVL, rows: Sequence[PromptedResponse], batch_size: int) -> list[Score]:
    """Both terms of the image information gain, every turn a row of its own."""
    found: dict[int, Score] = {}
    for batch in batches(rows, batch_size):
        own = [rows[index] for index in batch]
        stored = [row.image for row in own]
        image = token_logps(policy, own, to_units(stored))
        blank = token_logps(policy, own, blanks(stored))
        found.update(zip(batch, zip(image, blank, strict=True), strict=True))
    return [found[index] for index in range(len(rows))]


def batches(rows: Sequence[PromptedResponse], size: int) -> Iterator[list[int]]:
    """Numbers of the rows of each batch, rows of like length together."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].prompt) + len(rows[i].response))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def logp_of(
    policy: QwenVL, rows: Sequence[PromptedResponse], *, all_logits: bool = False
) -> Callable[[Sequence[Tensor]], Tensor]:
    """lp(y | q, v_i) as a function of the images, `[B]`, by the transformers forward."""

    def logp(images: Sequence[Tensor]) -> Tensor:
        found = token_logps(policy, rows, images, all_logits=all_logits)
        return torch.stack([values.sum() for values in found])

    return logp


def frozen_pgd(
    policy: QwenVL,
    rows: Sequence[PromptedResponse],
    steps: int,
    size: float,
    radius: float,
    *,
    all_logits: bool = False,
) -> list[Tensor]:
    """The attack as one would write it with care: frozen parameters, one batch, input gradients.

    Images in [0, 1]; parameters must need no gradient.
    """
    logp = logp_of(policy, rows, all_logits=all_logits)
    clean = [to_unit(row.image).to(policy.device) for row in rows]
    points = list(clean)
    for _ in range(steps):
        points = [point.detach().requires_grad_() for point in points]
        gradients = torch.autograd.grad(logp(points).sum(), points)
        points = [
            projected(point.detach() - size * gradient.sign(), origin, radius)
            for point, gradient, origin in zip(points, gradients, clean, strict=True)
        ]
    return points


def script_pgd(
    policy: QwenVL, rows: Sequence[PromptedResponse], steps: int, size: float, radius: float
) -> list[Tensor]:
    """The attack as public scripts have it: image by image, the model's own loss, `backward()`.

    Parameters are as loaded (they require gradients), the loss is that of `labels`, hence of
    logits at every position.
    """
    found = []
    for row in rows:
        clean = to_unit(row.image).to(policy.device)
        point = clean
        for _ in range(steps):
            point = point.detach().requires_grad_()
            inputs = model_inputs(policy, [row], [point])
            labels = inputs["input_ids"].clone()
            labels[:, : len(row.prompt)] = -100
            policy.model(**inputs, labels=labels, use_cache=False).loss.backward()
            policy.model.zero_grad()
            point = projected(point.detach() + size * point.grad.sign(), clean, radius)
        found.append(point)
    return found


def projected(point: Tensor, clean: Tensor, radius: float) -> Tensor:
    """Back into the ball around the clean image and into [0, 1]."""
    return (clean + (point - clean).clamp(-radius, radius)).clamp(0, 1)


class PseudoLogits(nn.Module):
    """A classifier of two classes whose cross entropy at class 0 is -lp(y | q, v).

    Images `[B, 3, H, W]` to `[lp, log(1 - exp(lp))]`: the two are log-probabilities already, so
    their log-sum-exp is 0 and the cross entropy of class 0 is -lp, gradient included. What a
    library for classifiers maximises is then what the attack on a response maximises.
    """

    def __init__(self, policy: QwenVL, rows: Sequence[PromptedResponse]) -> None:
        super().__init__()
        self.model = policy.model
        self._logp = logp_of(policy, rows)

    def forward(self, images: Tensor) -> Tensor:
        """Two pseudo logits an image."""
        logp = self._logp(list(images))
        other = torch.log1p(-logp.exp().clamp(max=1 - 1e-6))
        return torch.stack([logp, other], dim=-1)


def library_pgd(
    policy: QwenVL, rows: Sequence[PromptedResponse], steps: int, size: float, radius: float
) -> list[Tensor]:
    """torchattacks' PGD around the frozen model. Errors: ImportError where it is not installed."""
    from torchattacks import PGD

    attack = PGD(PseudoLogits(policy, rows), eps=radius, alpha=size, steps=steps,
                 random_start=False)  # fmt: skip
    images = torch.stack([to_unit(row.image) for row in rows]).to(policy.device)
    return list(attack(images, torch.zeros(len(rows), dtype=torch.long, device=policy.device)))
