"""The record that every objective trains on: one prompt and its ranked candidates.

A candidate carries two image ids, because in MBPO a rejected response is *generated from* the
negative image (eq. 6) but *scored under* the clean one (inferred, see the paper map).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mbpo_core.records import Options

Role = Literal["chosen", "rejected", "rejected_image"]
"""`chosen` and `rejected` are responses under the group's image; `rejected_image` is the chosen
response under another image (MFPO, AdaViP)."""

Stream = Literal["offline", "online"]
"""`offline` groups bring their candidates; `online` groups are prompts for rollouts."""


@dataclass(frozen=True)
class Candidate:
    """One (image, response) pair of a group."""

    role: Role
    """Its place in the ranking."""
    text: str
    """The response, without the end-of-turn token."""
    image_id: str
    """The image that the response is conditioned on when it is *scored*."""
    generated_from: str | None = None
    """The image that the response was *sampled from*; None where it was not sampled."""
    token_ids: tuple[int, ...] | None = None
    """The sampled ids, which are what is trained on; None where the response was not sampled."""


@dataclass(frozen=True)
class Group:
    """A prompt with its candidates (offline) or with the answer that grades rollouts (online).

    Raises:
        ValueError: where the candidates contradict their roles, naming the group.
    """

    group_id: str
    """Identity of the group; seeds and the curriculum's order derive from it."""
    stream: Stream
    """Which of the two streams of eq. 7 it belongs to."""
    sample_id: str
    """The sample that it was made of."""
    image_id: str
    """The clean image."""
    question: str
    """The user turn, without image tokens."""
    candidates: tuple[Candidate, ...] = ()
    """Offline: exactly one `chosen`, and what the objective ranks below it. Online: none."""
    kind: str | None = None
    """Online: the kind of closed question, handed to the verifier."""
    answer: str | None = None
    """Online: the right answer, handed to the verifier."""
    options: Options = ()
    """Online: the options of a multiple-choice question, handed to the verifier."""
    difficulty: float | None = None
    """What an easy-to-hard curriculum ranks by (MFPO: entropy of the model's own answer, nats a
    token); None where it was not measured."""

    def __post_init__(self) -> None:
        """Refuse a group that an objective would misread."""
        if not self.group_id:
            raise ValueError(f"a group of sample {self.sample_id!r} has an empty group_id")
        if not self.question.strip():
            raise ValueError(f"group {self.group_id}: the question is empty")
        if self.difficulty is not None and not math.isfinite(self.difficulty):
            raise ValueError(
                f"group {self.group_id}: difficulty must be finite, got {self.difficulty}"
            )
        if self.stream == "offline":
            self._check_offline()
        elif self.stream == "online":
            self._check_online()
        else:
            raise ValueError(
                f"group {self.group_id}: stream must be 'offline' or 'online', got {self.stream!r}"
            )

    def candidate(self, role: str) -> Candidate:
        """Return the first candidate of this role; KeyError where there is none."""
        for candidate in self.candidates:
            if candidate.role == role:
                return candidate
        raise KeyError(f"group {self.group_id} has no {role} candidate")

    def _check_offline(self) -> None:
        chosen = [candidate for candidate in self.candidates if candidate.role == "chosen"]
        if len(chosen) != 1:
            roles = [candidate.role for candidate in self.candidates]
            raise ValueError(
                f"group {self.group_id}: an offline group has exactly one chosen candidate, got "
                f"{roles}"
            )
        if self.kind is not None or self.answer is not None or self.options:
            raise ValueError(f"group {self.group_id}: kind, answer and options are for online")
        for candidate in self.candidates:
            self._check_candidate(candidate, chosen[0])

    def _check_candidate(self, candidate: Candidate, chosen: Candidate) -> None:
        name = f"group {self.group_id}, {candidate.role} candidate"
        if not candidate.text.strip():
            raise ValueError(f"{name}: the response is empty")
        if candidate.role in ("chosen", "rejected") and candidate.image_id != self.image_id:
            raise ValueError(
                f"{name}: scored under the clean image {self.image_id!r}, got image_id "
                f"{candidate.image_id!r} (the image that it was sampled from is generated_from)"
            )
        if candidate.role == "rejected" and candidate.text == chosen.text:
            raise ValueError(f"{name}: the response is equal to the chosen one")
        if candidate.role == "rejected_image" and (
            candidate.image_id == self.image_id or candidate.text != chosen.text
        ):
            raise ValueError(f"{name}: must be the chosen response under another image")
        if candidate.role not in ("chosen", "rejected", "rejected_image"):
            raise ValueError(f"{name}: unknown role")

    def _check_online(self) -> None:
        if self.candidates:
            raise ValueError(f"group {self.group_id}: an online group has no candidates")
        if not self.kind or not self.answer:
            raise ValueError(f"group {self.group_id}: an online group needs a kind and an answer")


def with_roles(group: Group, roles: Sequence[str]) -> Group:
    """Return an offline group with the first candidate of each of these roles, in their order.

    What an objective does not read is neither scored nor trained on.

    Raises:
        ValueError: where a role is missing, naming it and the group.
    """
    for role in roles:
        if role not in [candidate.role for candidate in group.candidates]:
            raise ValueError(
                f"group {group.group_id} has no {role} candidate; the objective reads "
                f"{', '.join(roles)}"
            )
    return replace(group, candidates=tuple(group.candidate(role) for role in roles))


def by_id(groups: Iterable[Group]) -> dict[str, Group]:
    """Index groups by id; ValueError names an id that occurs twice."""
    index: dict[str, Group] = {}
    for group in groups:
        if group.group_id in index:
            raise ValueError(f"group id {group.group_id!r} occurs twice")
        index[group.group_id] = group
    return index
