"""Gradient norms of the two streams apart: what the mix of the hybrid loss really is."""

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from mbpo_core.objectives.protocol import ObjectiveOutput

REPLICATED = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
"""Where every rank holds whole gradients; sharded ones (DeepSpeed, FSDP) have no norm here."""


class StreamNorms:
    """Accumulates the gradient of each stream over one optimiser step, exactly.

    On a step that is measured it replaces the backward pass: one pass per stream into buffers of
    its own, whose sum becomes the gradient. It costs one more backward pass and the memory of two
    more copies of the gradients.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._sums: dict[str, list[Tensor]] = {
            stream: [torch.zeros_like(p) for p in self._parameters]
            for stream in ("offline", "online")
        }

    def backward(self, output: ObjectiveOutput) -> None:
        """Add a micro-batch's gradients of both losses."""
        losses = {"offline": output.offline, "online": output.online}
        for stream, loss in losses.items():
            if not loss.requires_grad:  # an objective without this stream
                continue
            gradients = torch.autograd.grad(
                loss, self._parameters, retain_graph=stream == "offline", allow_unused=True
            )
            for total, gradient in zip(self._sums[stream], gradients, strict=True):
                if gradient is not None:
                    total += gradient

    def finish(self, accelerator: Accelerator) -> dict[str, float]:
        """Sum over ranks, write the gradients, return both L2 norms (before clipping)."""
        norms = {}
        for stream, sums in self._sums.items():
            if accelerator.num_processes > 1:
                sums = [accelerator.reduce(total, "sum") for total in sums]
                self._sums[stream] = sums
            norms[f"grad_norm_{stream}"] = float(torch.nn.utils.get_total_norm(sums))
        for parameter, offline, online in zip(
            self._parameters, self._sums["offline"], self._sums["online"], strict=True
        ):
            parameter.grad = offline + online
        return norms


def check_supported(accelerator: Accelerator) -> None:
    """Raise ValueError where gradients are sharded over ranks."""
    if accelerator.distributed_type not in REPLICATED:
        raise ValueError(
            f"stream_norm_every must be 0 with {accelerator.distributed_type}: gradients are "
            "sharded over ranks"
        )
