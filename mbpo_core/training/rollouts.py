"""Online rollouts: G responses per prompt, verified, ready to be scored and logged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from mbpo_core.grouping import Group, Options
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import group_advantages
from mbpo_core.objectives.protocol import Metrics
from mbpo_core.seeds import seed_for
from mbpo_core.training.batches import NO_ROWS, Encoder
from mbpo_core.training.config import TrainingConfig


class Verdict(Protocol):
    """What a verifier says of one response."""

    @property
    def reward(self) -> float:
        """1 if the answer is right, else 0 (assumed)."""
        ...

    @property
    def extracted(self) -> str | None:
        """The answer that was found in the response; None where none could be read."""
        ...

    @property
    def rule(self) -> str:
        """The rule that found it, or the reason why there is none."""
        ...


RewardFn = Callable[[str, str, str, Options], Verdict]
"""(response text, kind of question, right answer, options) -> verdict."""


@dataclass(frozen=True)
class Rollout:
    """One sampled and verified response."""

    ids: list[int]
    """The sampled ids, which are what is trained on."""
    finished: bool
    """False where it was cut at the length limit."""
    text: str
    """Its text, which is what is verified."""
    reward: float
    """Of the verifier."""
    extracted: str | None
    """Of the verifier."""
    rule: str
    """Of the verifier."""


def roll_out(
    policy: QwenVL,
    encoder: Encoder,
    groups: Sequence[Group],
    config: TrainingConfig,
    step: int,
    reward_fn: RewardFn,
) -> dict[str, tuple[Rollout, ...]]:
    """Sample and verify G responses of each online group, `y ~ pi(. | q, v)` at the current policy.

    The seed of rollout g is made of (run seed, group, step, g): neither the place in a batch nor
    the number of ranks changes what is drawn.

    Args:
        policy: in evaluation mode.
        encoder: of the same policy.
        groups: online groups.
        config: temperature, top_p, max_new_tokens, num_generations, rollout_rows, seed.
        step: the optimiser step (1-based).
        reward_fn: the verifier.

    Returns:
        G rollouts by group id.
    """
    rows, seeds = NO_ROWS, []
    for group in groups:
        rows += encoder.online(group, [[]] * config.num_generations)
        seeds += [
            seed_for(config.seed, group.group_id, "rollout", step, g)
            for g in range(config.num_generations)
        ]
    sampled = []
    for start in range(0, len(seeds), config.rollout_rows):
        part = slice(start, start + config.rollout_rows)
        sampled += policy.sample(
            rows.prompts[part],
            rows.images[part],
            seeds[part],
            temperature=config.temperature,
            top_p=config.top_p,
            max_new_tokens=config.max_new_tokens,
        )
    draws = iter(sampled)
    return {
        group.group_id: tuple(
            _verified(policy, group, next(draws), reward_fn) for _ in range(config.num_generations)
        )
        for group in groups
    }


def rollout_rows(group: Group, rollouts: Sequence[Rollout], step: int) -> list[dict[str, Any]]:
    """Rows of the `rollouts` table."""
    advantages = group_advantages(torch.tensor([r.reward for r in rollouts])).tolist()
    return [
        {
            "step": step,
            "group_id": group.group_id,
            "sample_id": group.sample_id,
            "rollout": index,
            "text": rollout.text,
            "ids": rollout.ids,
            "finished": rollout.finished,
            "reward": rollout.reward,
            "extracted": rollout.extracted,
            "rule": rollout.rule,
            "advantage": advantage,
        }
        for index, (rollout, advantage) in enumerate(zip(rollouts, advantages, strict=True))
    ]


def rollout_metrics(rollouts: Sequence[Rollout]) -> Metrics:
    """Shares that only the verifier and the sampler know."""
    metrics, count = Metrics(), len(rollouts)
    metrics.add("unparseable_share", sum(r.extracted is None for r in rollouts), count)
    metrics.add("truncated_share", sum(not r.finished for r in rollouts), count)
    return metrics


def _verified(policy: QwenVL, group: Group, sampled: Any, reward_fn: RewardFn) -> Rollout:
    text = policy.decode(sampled.ids)
    verdict = reward_fn(text, group.kind or "", group.answer or "", group.options)
    return Rollout(
        ids=sampled.ids,
        finished=sampled.finished,
        text=text,
        reward=float(verdict.reward),
        extracted=verdict.extracted,
        rule=verdict.rule,
    )
