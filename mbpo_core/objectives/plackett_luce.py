"""The loss of AdaViP: one chosen against several rejected responses, a softmax over rewards.

L = -log softmax([D_0, D_1, ..., D_{K-1}])[0],   D of `dpo.implicit_rewards`
"""

import torch
from torch import Tensor


def first_place_losses(rewards: Tensor) -> Tensor:
    """`-log(exp D_0 / sum_k exp D_k)`: the Plackett-Luce probability that the first one wins.

    AdaViP's eq. 11 is the case K = 3 with `[D(y_w, v), D(y_l, v), D(y_w, v_l)]`; K = 2 is DPO. The
    gradient pushes each rejected one down by its share of the softmax over the rejected alone,
    which is what eq. 13 calls adaptive weights; they are no setting. The order among the rejected
    ones does not count.

    Args:
        rewards: implicit rewards [..., K], K >= 2, the chosen one first, differentiable.

    Returns:
        One loss a group [...], in nats and at least float32; sum them and divide once by the count
        of the whole step.

    Raises:
        ValueError: fewer than two candidates.

    Differs from the paper: in form only; eq. 11 reduces to this softmax.
    """
    if rewards.ndim == 0 or rewards.shape[-1] < 2:
        raise ValueError(
            f"expected rewards [..., K] of at least two candidates, got {list(rewards.shape)}"
        )
    wide = rewards.to(torch.promote_types(rewards.dtype, torch.float32))
    return -torch.log_softmax(wide, dim=-1)[..., 0]
