"""Parameters that are sharded over ranks (FSDP 2, torch's `fully_shard`), and whole ones again.

Under sharding every forward pass is a collective: all ranks have to make it, in the same order, or
all wait for ever. Only the pass that trains can promise that. Rollouts end when they end, and what
the reference has scored already differs by rank; so for these a rank fills all parameters into a
copy of its own, works alone, and empties it again.
"""

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, str_to_bool
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from mbpo_core.models.qwen_vl import QwenVL

Weights = Mapping[str, Tensor]
"""Parameters by name; those that are sharded are DTensors."""


def sharding_is_asked() -> bool:
    """Whether `accelerate launch` has been told to use FSDP."""
    return str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false")) == 1


def layout() -> str:
    """How the launcher's choice stores what a checkpoint holds."""
    if sharding_is_asked():
        return "FSDP"
    deepspeed = str_to_bool(os.environ.get("ACCELERATE_USE_DEEPSPEED", "false")) == 1
    return "DeepSpeed" if deepspeed else "whole parameters"


def prepare_sharding(accelerator: Accelerator) -> None:
    """Check that a launcher's request for FSDP is met; on CPUs, see to it.

    accelerate shards on accelerators only: between CPUs it would train with DDP and not say so.

    Raises:
        ValueError: for FSDP 1, whose wrapper keeps parameters as flat pieces.
    """
    if not sharding_is_asked():
        return
    state = accelerator.state
    if state.distributed_type == DistributedType.MULTI_CPU:
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin()
    if not accelerator.is_fsdp2:
        raise ValueError(
            "FSDP needs `fsdp_version: 2` and more than one process, got "
            f"{state.distributed_type} with {accelerator.num_processes} processes"
        )


class Gathering:
    """The model that is trained, and where `policy` finds all parameters of it.

    Without sharding that is the model itself and nothing is done. With it, `policy.model` becomes a
    copy without weights, which has them inside `policy` and `weights` only: in between, a rank
    holds its shards. Every rank has to enter and leave at the same places.
    """

    def __init__(self, policy: QwenVL, *, sharded: bool) -> None:
        """Take the policy's model for training."""
        self.model = policy.model
        """The model to train: the one that is sharded."""
        self.sharded = sharded
        if sharded:
            policy.model = _hollow(policy.model)
        self._whole = policy.model

    @contextmanager
    def policy(self) -> Iterator[None]:
        """Inside, `policy.model` has the parameters as they are now."""
        with self.weights(named_weights(self.model) if self.sharded else None):
            yield

    @contextmanager
    def weights(self, weights: Weights | None) -> Iterator[None]:
        """Inside, `policy.model` has these parameters; None leaves it as it is."""
        if weights is None:
            yield
            return
        self._fill(weights)
        try:
            yield
        finally:
            for parameter in self._whole.parameters():
                parameter.data = parameter.data.new_empty(0)

    def fill(self) -> None:
        """Give `policy.model` the parameters as they are now, for good."""
        if self.sharded:
            self._fill(named_weights(self.model))

    def _fill(self, weights: Weights) -> None:
        for name, parameter in self._whole.named_parameters():
            value = weights[name].detach()
            parameter.data = value.full_tensor() if isinstance(value, DTensor) else value

    @torch.no_grad()
    def kept(self) -> Weights | None:
        """A sharded copy of the parameters as they are now, for `weights`; None if unsharded.

        To be called before the model itself is sharded.
        """
        if not self.sharded:
            return None
        device = next(self.model.parameters()).device.type
        mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
        return {
            name: distribute_tensor(parameter.detach(), mesh, [Shard(0)])
            for name, parameter in named_weights(self.model).items()
        }


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by the names that they have without the wrappers of activation checkpointing."""
    return {
        name.replace("_checkpoint_wrapped_module.", ""): parameter
        for name, parameter in model.named_parameters()
    }


def _hollow(model: nn.Module) -> nn.Module:
    """Copy modules and buffers; parameters are empty, tied ones still tied."""
    empty = {
        id(parameter): nn.Parameter(parameter.data.new_empty(0), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, empty)
