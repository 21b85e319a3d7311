"""Direct preference optimisation: implicit rewards and the logistic loss of a pair.

With D(y, v) = beta [lp(y | q, v) - lp_ref(y | q, v)], lp the *sum* over response tokens:
  L = -log s(D_w - D_l)
What is compared may differ in text (DPO), in image (image preference of MFPO, AdaViP, mDPO) or be a
constant (their margin and anchor terms): all are this one function.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mbpo_core.objectives.sequence import at_least_float32


def implicit_rewards(logps: Tensor, reference: Tensor, beta: float) -> Tensor:
    """`D(y, v) = beta [lp(y | q, v) - lp_ref(y | q, v)]`, elementwise, in float32 or wider.

    Args:
        logps: lp of each response under the policy, summed over its tokens, in nats; any shape,
            differentiable. A mean per token is another loss: it forgets the length.
        reference: lp of the same responses under the frozen reference, same shape; no gradient
            goes there.
        beta: strength of the pull to the reference, above 0 (0.1: paper of AdaViP).

    Raises:
        ValueError: shapes that differ, or a beta that is not above 0.
    """
    if logps.shape != reference.shape:
        raise ValueError(
            f"policy and reference must score the same responses, got shapes {list(logps.shape)} "
            f"and {list(reference.shape)}"
        )
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    return beta * (at_least_float32(logps) - at_least_float32(reference.detach()))


def dpo_losses(preferred: Tensor, other: Tensor) -> Tensor:
    """`-log s(D_w - D_l)` of each pair (DPO, sigmoid).

    The gradient with respect to `preferred` is `-s(D_l - D_w)`: it fades as the pair is learnt,
    unlike the offline term of eq. 7 of MBPO, which does not saturate.

    Args:
        preferred: D_w, implicit rewards of what is preferred, any shape.
        other: D_l, same shape, or a scalar tensor: `eta` of MFPO's margin, 0 of mDPO's anchor.

    Returns:
        One loss a pair, in nats; sum them and divide once by the count of the whole step.

    Raises:
        ValueError: shapes that neither agree nor are a scalar's.
    """
    if other.shape not in (preferred.shape, torch.Size([])):
        raise ValueError(
            f"a pair has one reward each, got shapes {list(preferred.shape)} and "
            f"{list(other.shape)}"
        )
    return -logsigmoid(at_least_float32(preferred) - at_least_float32(other))
