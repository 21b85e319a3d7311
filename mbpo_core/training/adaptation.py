"""Which parameters are trained, and what the reference is."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from mbpo_core.grouping import Group
from mbpo_core.models.qwen_vl import QwenVL, unwrapped
from mbpo_core.training.batches import NO_ROWS, Encoder, Rows, score
from mbpo_core.training.config import LoraSettings, TrainingConfig
from mbpo_core.training.sharding import Gathering


def prepare_policy(policy: QwenVL, config: TrainingConfig) -> None:
    """Set up what is trained, in place: all parameters, all but the vision tower, or adapters.

    Raises:
        ValueError: where the model has an active dropout, or has adapters already (their start,
            not the bare model, would have to be the reference).
    """
    if unwrapped(policy.model) is not policy.model:
        raise ValueError(f"expected a bare model to train, got {type(policy.model).__name__}")
    policy.model.requires_grad_(True)
    if config.gradient_checkpointing:
        # Not reentrant: the reentrant kind needs inputs with gradients, which adapters lack.
        policy.model.activation_checkpointing_enable({"use_reentrant": False})
    if config.lora is not None:
        policy.model = _with_adapters(policy.model, config.lora, config.seed)
    elif config.freeze_vision:
        policy.model.model.visual.requires_grad_(False)
    _refuse_dropout(policy.model)


def _with_adapters(model: nn.Module, settings: LoraSettings, seed: int) -> PeftModel:
    """Add adapters to the language model only; `all-linear` would adapt the vision tower too."""
    names = "|".join(settings.targets)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=rf".*language_model.*\.({names})",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(model, lora)
    stray = [
        name
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad and ("lora_" not in name or ".visual." in name)
    ]
    if stray:
        raise ValueError(f"only adapters of the language model are trained, got {stray[0]}")
    return adapted


def _refuse_dropout(model: nn.Module) -> None:
    """Two forwards of one sequence must agree, or ratio and KL measure the dropout."""
    for name, module in model.named_modules():
        rate = (
            module.p if isinstance(module, nn.Dropout) else getattr(module, "attention_dropout", 0)
        )
        if isinstance(rate, float) and rate > 0:
            raise ValueError(f"dropout must be 0 in training, {name} has {rate}")


class Reference:
    """pi_ref: the initial policy, as a frozen copy or as the model with its adapters disabled.

    Log-probabilities of offline groups never change; they are computed once, each group by
    itself, so that they depend neither on its neighbours nor on where a run was resumed.
    """

    def __init__(
        self,
        policy: QwenVL,
        encoder: Encoder,
        *,
        autocast: Callable[[], torch.autocast],
        gathering: Gathering | None = None,
    ) -> None:
        """Take the policy as it is now for the reference."""
        self._encoder = encoder
        self._autocast = autocast
        self._gathering = gathering or Gathering(policy, sharded=False)
        self._adapted = policy.model if isinstance(policy.model, PeftModel) else None
        self._policy, self._initial = policy, None
        if self._adapted is None:
            self._initial = self._gathering.kept()
            if self._initial is None:
                self._policy = _frozen_copy(policy)
        self._offline: dict[str, list[Tensor]] = {}

    def to(self, device: torch.device) -> None:
        """Move a frozen copy; anything else is where the policy is."""
        if self._policy.model is not self._gathering.model and self._initial is None:
            self._policy.model.to(device)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """To be entered by all ranks before any of them scores; see `Gathering`."""
        if self._adapted is not None:
            with self._gathering.policy():
                yield
        else:
            with self._gathering.weights(self._initial):
                yield

    def offline(self, group: Group) -> list[Tensor]:
        """log pi_ref [T_i] of the group's candidates, from the cache after the first time."""
        if group.group_id not in self._offline:
            rows = self._encoder.offline(group)
            logps = self._score(rows, NO_ROWS, 1.0)
            self._offline[group.group_id] = [row.cpu() for row in logps]
        return [row.to(self._policy.device) for row in self._offline[group.group_id]]

    def online(self, rows: Rows, temperature: float) -> list[Tensor]:
        """log pi_ref [T_i] of rollouts."""
        return self._score(NO_ROWS, rows, temperature)

    @torch.no_grad()
    def _score(self, offline: Rows, online: Rows, temperature: float) -> list[Tensor]:
        with self._without_adapters(), self._autocast():
            return score(self._policy, offline, online, temperature)

    @contextmanager
    def _without_adapters(self) -> Iterator[None]:
        if self._adapted is None:
            yield
        else:
            with self._adapted.disable_adapter():
                yield


def _frozen_copy(policy: QwenVL) -> QwenVL:
    """A policy of its own: the adapter encodes images with the policy's vision tower."""
    clone = copy.copy(policy)
    clone.model = copy.deepcopy(policy.model).requires_grad_(False).eval()
    return clone
