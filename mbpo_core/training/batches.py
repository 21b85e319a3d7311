"""From the curriculum's plan to micro-batches, and from groups to rows for the policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.grouping import Candidate, Group
from mbpo_core.models.preprocessing import to_unit
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.protocol import ScoredGroup


@dataclass(frozen=True)
class Slot:
    """One micro-batch of the plan: what one rank passes through the model at once."""

    step: int
    """Index of the optimiser step, from 0."""
    rollout_step: int
    """Index of the step whose rollouts it uses; differs from `step` where they are reused."""
    groups: tuple[Group, ...]
    """Its groups, at least one."""
    dummy: bool = False
    """True where the step has fewer groups than slots: the first group stands in with weight 0,
    because a rank without a forward pass would leave the others waiting."""
    rolls_out: bool = True
    """Whether any slot of its step, on whichever rank, has an online group."""


def plan_slots(
    plan: Sequence[Sequence[str]],
    groups: Mapping[str, Group],
    slots_per_step: int,
    iterations: int = 1,
) -> list[Slot]:
    """Cut every optimiser step into the same number of slots, as even in size as can be.

    The dataset of the Trainer is this list in this order: with W ranks and accumulation A,
    `slots_per_step = A W`, and the Trainer deals slots to ranks in turn.

    Raises:
        KeyError: where the plan names an unknown group.
    """
    slots = []
    for index, batch in enumerate(plan):
        members = [groups[group_id] for group_id in batch]
        for iteration in range(iterations):
            step = index * iterations + iteration
            slots += _split(step, index * iterations, members, slots_per_step)
    return slots


def _split(step: int, rollout_step: int, members: list[Group], count: int) -> list[Slot]:
    size, larger = divmod(len(members), count)
    rolls_out = any(group.stream == "online" for group in members)
    slots, start = [], 0
    for index in range(count):
        end = start + size + (index < larger)
        if end > start:
            slots.append(Slot(step, rollout_step, tuple(members[start:end]), rolls_out=rolls_out))
        else:
            slots.append(Slot(step, rollout_step, (members[0],), dummy=True, rolls_out=rolls_out))
        start = end
    return slots


@dataclass(frozen=True)
class Rows:
    """N rows as `Policy.token_logps` takes them; a group's rows share its image tensor."""

    prompts: list[list[int]]
    """Prompt ids per row."""
    responses: list[list[int]]
    """Response ids per row, with the end-of-turn token where there is one."""
    images: list[Tensor]
    """RGB [3, H, W] in [0, 1] per row, on the policy's device."""

    def __add__(self, other: "Rows") -> "Rows":
        """Rows of both, in order."""
        return Rows(
            self.prompts + other.prompts,
            self.responses + other.responses,
            self.images + other.images,
        )


NO_ROWS = Rows([], [], [])


class Encoder:
    """Turns groups into ids and tensors, each text and prompt once.

    Raises:
        KeyError: where an image of a group is missing, naming both.
    """

    def __init__(self, policy: QwenVL, images: Mapping[str, Tensor]) -> None:
        self._policy = policy
        self._images = images
        self._prompts: dict[tuple[str, str], list[int]] = {}
        self._responses: dict[str, list[int]] = {}
        self._tensors: dict[str, Tensor] = {}

    def image(self, group: Group, image_id: str) -> Tensor:
        """Stored uint8 [3, H, W] -> float [3, H, W] in [0, 1] on the policy's device.

        The same tensor until `forget`: what the policy knows of it is known by that object.
        """
        if image_id not in self._tensors:
            if image_id not in self._images:
                raise KeyError(f"group {group.group_id}: image {image_id!r} was not given")
            self._tensors[image_id] = to_unit(self._images[image_id]).to(self._policy.device)
        return self._tensors[image_id]

    def forget(self) -> None:
        """Drop the images, and what the policy remembers of them."""
        self._tensors = {}
        self._policy.images.forget()

    def prompt(self, group: Group, image_id: str) -> list[int]:
        """Prompt ids of the group's question under an image of that size."""
        key = (group.question, image_id)
        if key not in self._prompts:
            if image_id not in self._images:
                raise KeyError(f"group {group.group_id}: image {image_id!r} was not given")
            height, width = self._images[image_id].shape[1:]
            self._prompts[key] = self._policy.prompt_ids(group.question, height, width)
        return self._prompts[key]

    def response(self, candidate: Candidate) -> list[int]:
        """Response ids of a candidate: as sampled, never re-encoded, else those of its text."""
        if candidate.token_ids is not None:
            return list(candidate.token_ids)
        return self.text(candidate.text)

    def text(self, text: str) -> list[int]:
        """Response ids of a text that was not sampled."""
        if text not in self._responses:
            self._responses[text] = self._policy.response_ids(text)
        return self._responses[text]

    def offline(self, group: Group) -> Rows:
        """Rows of a group's candidates, each under the image that it is conditioned on."""
        tensors = {c.image_id: self.image(group, c.image_id) for c in group.candidates}
        return Rows(
            [self.prompt(group, c.image_id) for c in group.candidates],
            [self.response(c) for c in group.candidates],
            [tensors[c.image_id] for c in group.candidates],
        )

    def online(self, group: Group, responses: Sequence[list[int]]) -> Rows:
        """Rows of a prompt's rollouts: the sampled ids themselves, never re-encoded text."""
        count = len(responses)
        prompt, image = self.prompt(group, group.image_id), self.image(group, group.image_id)
        return Rows([prompt] * count, list(responses), [image] * count)

    def check(self, groups: Sequence[Group], max_new_tokens: int) -> None:
        """Refuse rows that cannot be scored before the first step rather than in the midst.

        Raises:
            ValueError: naming the group, for a text with special tokens, an image of a size that
                the model does not take, or a row over the length limit; a prompt is never cut.
        """
        for group in groups:
            try:
                longest = self._longest(group, max_new_tokens)
            except ValueError as error:
                raise ValueError(f"group {group.group_id}: {error}") from error
            if longest > self._policy.max_length:
                raise ValueError(
                    f"group {group.group_id}: {longest} tokens, the limit is "
                    f"{self._policy.max_length}"
                )

    def _longest(self, group: Group, max_new_tokens: int) -> int:
        if group.stream == "online":
            return len(self.prompt(group, group.image_id)) + max_new_tokens
        return max(
            len(self.prompt(group, c.image_id)) + len(self.response(c)) for c in group.candidates
        )


@dataclass(frozen=True)
class MicroBatch:
    """A slot with everything that a forward pass and the objective need."""

    slot: Slot
    """Where it stands in the plan."""
    scored: tuple[ScoredGroup, ...]
    """What the objective is told, in row order."""
    offline: Rows
    """Rows of the offline groups: they come first."""
    online: Rows
    """Rows of the rollouts."""
    reference: list[Tensor]
    """log pi_ref of each row [T_i], offline rows first; empty where the objective reads none."""
    old: list[Tensor | None]
    """log pi_old of each row where rollouts are reused, else None."""

    @property
    def tokens(self) -> int:
        """Response tokens of all rows."""
        return sum(len(ids) for ids in (self.offline + self.online).responses)


def score(
    policy: QwenVL,
    offline: Rows,
    online: Rows,
    temperature: float,
    model: torch.nn.Module | None = None,
) -> list[Tensor]:
    """Per-token log-probabilities of both kinds of rows, offline first; one forward pass.

    Rollouts are scored at the temperature at which they were sampled; offline text was not sampled
    and is scored at 1. A pass for each would leave ranks that have one kind only waiting.
    """
    rows = offline + online
    if not rows.responses:
        return []
    return policy.token_logps(
        rows.prompts,
        rows.responses,
        rows.images,
        temperature=[1.0] * len(offline.responses) + [temperature] * len(online.responses),
        model=model,
    )
