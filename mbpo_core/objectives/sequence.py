"""Per-token log-probabilities of rows of unequal length: padding, sums, the KL estimator.

Everything here is float32 at least, whatever the model computes in: losses live on *differences* of
log-probabilities, which bfloat16 cannot hold.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack rows of per-token values into a rectangle.

    Args:
        rows: N tensors of shapes [T_i], T_i >= 1 (a response has at least its end-of-turn token).

    Returns:
        values [N, T] in float32, zero beyond each row's end, and the mask [N, T], true on tokens.

    Raises:
        ValueError: where there are no rows or a row has no token.
    """
    _check(rows)
    values = torch.nn.utils.rnn.pad_sequence([row.float() for row in rows], batch_first=True)
    counts = torch.tensor([row.numel() for row in rows], device=values.device)
    mask = torch.arange(values.shape[1], device=values.device)[None, :] < counts[:, None]
    return values, mask


def at_least_float32(values: Tensor) -> Tensor:
    """Widen half precision to float32 and leave float64 as it is.

    Differences of log-probabilities do not survive bfloat16.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def response_sums(rows: Sequence[Tensor]) -> Tensor:
    """`lp(y | q, v) = sum_t log pi(y_t)` of each row, in float32 or wider.

    Args:
        rows: N tensors of shapes [T_i], T_i >= 1, in nats, differentiable.

    Returns:
        [N] sums. A mean per token is another loss: it forgets the length.

    Raises:
        ValueError: where there are no rows or a row has no token.
    """
    _check(rows)
    return torch.stack([at_least_float32(row).sum() for row in rows])


def token_sums(values: Tensor, mask: Tensor) -> Tensor:
    """Sum values [N, T] over the tokens of mask [N, T] -> [N].

    What is masked out is replaced, not multiplied: 0 * inf would be NaN, in the gradient too.
    """
    return torch.where(mask, values, torch.zeros_like(values)).sum(dim=1)


def lengths(mask: Tensor) -> Tensor:
    """Tokens per row, |y_i|: mask [N, T] -> [N] in float32."""
    return mask.sum(dim=1).float()


def kl_terms(logps: Tensor, reference: Tensor) -> Tensor:
    """`kl_t = exp(ref_t - lp_t) - (ref_t - lp_t) - 1`, elementwise and never negative.

    The k3 estimator of KL(pi || pi_ref) where the tokens are samples of pi. On offline text they
    are not: there it is a penalty that pulls towards the reference, not an estimate, and it grows
    exponentially where a token's log-probability falls; hence float32 and the logged maximum.

    Args:
        logps: log pi of each token in nats, any shape, differentiable.
        reference: log pi_ref of the same tokens, same shape, without gradient.
    """
    difference = reference.float().detach() - logps.float()
    return torch.exp(difference) - difference - 1.0


def divide_once(total: Tensor, count: float) -> Tensor:
    """Divide a sum by a count of the whole optimiser step.

    The count is passed in because a micro-batch does not know it: sums of micro-batches (and of
    ranks) add up to the sum of the step, means of micro-batches do not add up to its mean.

    Raises:
        ValueError: where the count is not positive.
    """
    if count <= 0:
        raise ValueError(f"a count to divide by must be positive, got {count}")
    return total / count


def _check(rows: Sequence[Tensor]) -> None:
    if not rows or any(row.ndim != 1 or row.numel() == 0 for row in rows):
        raise ValueError(f"expected non-empty rows [T_i], got {[tuple(row.shape) for row in rows]}")
