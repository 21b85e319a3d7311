"""What one optimiser step needs before its first forward pass: rollouts, rewards, reference."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.grouping import Group
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.protocol import Metrics, ScoredGroup
from mbpo_core.training.adaptation import Reference
from mbpo_core.training.batches import NO_ROWS, Encoder, MicroBatch, Rows, Slot, score
from mbpo_core.training.config import TrainingConfig
from mbpo_core.training.log import Row
from mbpo_core.training.rollouts import (
    RewardFn,
    Rollout,
    roll_out,
    rollout_metrics,
    rollout_rows,
)
from mbpo_core.training.sharding import Gathering


@dataclass(frozen=True)
class Assembled:
    """The micro-batches of one optimiser step on one rank."""

    batches: list[MicroBatch]
    """One per slot."""
    rollout_rows: list[Row]
    """Rows of the `rollouts` table; empty where rollouts are used again."""
    metrics: Metrics
    """What only the verifier and the sampler know."""


class Assembler:
    """Prepares optimiser steps; keeps the rollouts while they are used again.

    Without a reference (the objective reads none) no row of it is scored.
    """

    def __init__(
        self,
        policy: QwenVL,
        encoder: Encoder,
        reference: Reference | None,
        config: TrainingConfig,
        reward_fn: RewardFn,
        autocast: Callable[[], torch.autocast],
        gathering: Gathering,
    ) -> None:
        self._gathering = gathering
        self._policy, self._encoder, self._reference = policy, encoder, reference
        self._config, self._reward_fn, self._autocast = config, reward_fn, autocast
        self._rollouts: dict[str, tuple[Rollout, ...]] = {}
        self._old: dict[tuple[str, ...], list[Tensor]] = {}

    @torch.no_grad()
    def assemble(self, slots: Sequence[Slot]) -> Assembled:
        """Roll out, verify and score the reference for all slots of a step; policy in eval mode."""
        real = [slot for slot in slots if not slot.dummy]
        groups = [group for slot in real for group in slot.groups if group.stream == "online"]
        rows = self._sample(slots[0], real, groups) if _is_first_use(slots[0]) else []
        drawn = [rollout for group in groups for rollout in self._rollouts[group.group_id]]
        with self._reference.gathered() if self._reference is not None else nullcontext():
            batches = [self._dummy(slot) if slot.dummy else self._batch(slot) for slot in slots]
        return Assembled(batches, rows, rollout_metrics(drawn))

    def _sample(self, first: Slot, real: Sequence[Slot], groups: Sequence[Group]) -> list[Row]:
        """What the policy as it is before the step draws, and how likely it finds that."""
        with self._gathering.policy() if first.rolls_out else nullcontext():
            rows = self._draw(groups, first.step + 1)
            for slot in real if self._config.iterations > 1 else ():
                self._old_logps(slot)
        return rows

    def _draw(self, groups: Sequence[Group], step: int) -> list[Row]:
        """Sample and verify anew; what was drawn before is not used again."""
        self._old = {}
        self._rollouts = roll_out(
            self._policy, self._encoder, groups, self._config, step, self._reward_fn
        )
        return [
            row
            for group in groups
            for row in rollout_rows(group, self._rollouts[group.group_id], step)
        ]

    def _batch(self, slot: Slot) -> MicroBatch:
        """Rows, rewards and reference of a slot; offline groups first."""
        offline = [group for group in slot.groups if group.stream == "offline"]
        online = [group for group in slot.groups if group.stream == "online"]
        offline_rows = sum((self._encoder.offline(group) for group in offline), NO_ROWS)
        online_rows = self._online_rows(online)
        old: list[Tensor | None] = [None] * len((offline_rows + online_rows).responses)
        if self._config.iterations > 1:
            old[len(offline_rows.responses) :] = self._old_logps(slot)
        return MicroBatch(
            slot=slot,
            scored=tuple(self._scored(group) for group in [*offline, *online]),
            offline=offline_rows,
            online=online_rows,
            reference=self._referred(offline, online_rows),
            old=old,
        )

    def _referred(self, offline: Sequence[Group], online: Rows) -> list[Tensor]:
        """log pi_ref of all rows, offline ones first."""
        if self._reference is None:
            return []
        rows = [row for group in offline for row in self._reference.offline(group)]
        return rows + self._reference.online(online, self._config.temperature)

    def _online_rows(self, groups: Sequence[Group]) -> Rows:
        rows = NO_ROWS
        for group in groups:
            drawn = [rollout.ids for rollout in self._rollouts[group.group_id]]
            rows += self._encoder.online(group, drawn)
        return rows

    def _old_logps(self, slot: Slot) -> list[Tensor]:
        """log pi_old of rollouts, by the training forward: a sampler's differ in half precision."""
        key = tuple(group.group_id for group in slot.groups)
        if key not in self._old:
            rows = self._online_rows([group for group in slot.groups if group.stream == "online"])
            with self._autocast():
                self._old[key] = score(self._policy, NO_ROWS, rows, self._config.temperature)
        return self._old[key]

    def _dummy(self, slot: Slot) -> MicroBatch:
        """Rows that only give a rank something to pass forward; their loss is multiplied by 0."""
        group = slot.groups[0]
        if group.stream == "offline":
            return MicroBatch(slot, (), self._encoder.offline(group), NO_ROWS, [], [])
        rows = self._encoder.online(group, [self._encoder.text(group.answer or "")])
        return MicroBatch(slot, (), NO_ROWS, rows, [], [])

    def _scored(self, group: Group) -> ScoredGroup:
        if group.stream == "offline":
            roles = tuple(candidate.role for candidate in group.candidates)
            return ScoredGroup(group.group_id, "offline", roles)
        rewards = tuple(rollout.reward for rollout in self._rollouts[group.group_id])
        return ScoredGroup(group.group_id, "online", ("rollout",) * len(rewards), rewards)


def _is_first_use(slot: Slot) -> bool:
    return slot.step == slot.rollout_step
