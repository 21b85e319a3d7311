"""What an objective is: rows of log-probabilities in, a loss per stream and metrics out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import Tensor


@dataclass(frozen=True)
class ScoredGroup:
    """What an objective is told of one group; its K rows lie next to each other in the batch."""

    group_id: str
    """Named in errors."""
    stream: Literal["offline", "online"]
    """Which of the two losses the rows go to."""
    roles: tuple[str, ...]
    """The K roles in row order: `chosen`, `rejected`, `rejected_image`, or `rollout`."""
    rewards: tuple[float, ...] = ()
    """Online: the K verified rewards, in row order. Offline: empty."""


@dataclass(frozen=True)
class Counts:
    """What to divide by: counts over the whole optimiser step, all micro-batches and all ranks."""

    samples: int
    """B: groups, an offline pair and an online prompt count one each."""
    sequences: int
    """Scored responses: 2 N_offline + G N_online for pairs and G rollouts a prompt."""
    tokens: int
    """Response tokens of all sequences, end-of-turn tokens included."""


@dataclass
class Metrics:
    """Figures that add up over micro-batches and ranks, divided only when they are read."""

    means: dict[str, tuple[float, float]] = field(default_factory=dict)
    """name -> (sum, count)."""
    maxima: dict[str, float] = field(default_factory=dict)
    """name -> largest value seen."""

    def add(self, name: str, total: float, count: float) -> None:
        """Add a sum and its count; names with a count of 0 are kept, so ranks have equal keys."""
        before = self.means.get(name, (0.0, 0.0))
        self.means[name] = (before[0] + total, before[1] + count)

    def maximum(self, name: str, value: float) -> None:
        """Raise the maximum called `name` to `value` if that is larger."""
        self.maxima[name] = max(value, self.maxima.get(name, float("-inf")))

    def merge(self, other: "Metrics") -> None:
        """Take in the figures of another micro-batch or rank."""
        for name, (total, count) in other.means.items():
            self.add(name, total, count)
        for name, value in other.maxima.items():
            self.maximum(name, value)

    def values(self) -> dict[str, float | None]:
        """Return name -> figure; None where nothing was counted."""
        figures = {
            name: total / count if count else None for name, (total, count) in self.means.items()
        }
        bounds = {
            name: None if value == float("-inf") else value for name, value in self.maxima.items()
        }
        return {**figures, **bounds}


@dataclass(frozen=True)
class ObjectiveOutput:
    """The loss of a micro-batch, split by stream so that their gradients can be told apart."""

    offline: Tensor
    """Share of the loss that comes from offline groups, a scalar."""
    online: Tensor
    """Share of the loss that comes from rollouts, a scalar."""
    metrics: Metrics
    """Figures of this micro-batch."""

    @property
    def loss(self) -> Tensor:
        """The scalar to descend: offline + online."""
        return self.offline + self.online


class Objective(Protocol):
    """A loss over ranked groups. Stateless: all that it needs is in the call.

    Its repr names every setting: a run that was begun with another one is not resumed.
    """

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles that it reads of an offline group, `chosen` first: the order of a group's rows."""
        ...

    @property
    def online(self) -> bool:
        """Whether it has a loss for rollouts."""
        ...

    @property
    def needs_reference(self) -> bool:
        """Whether it reads log pi_ref; where not, nothing is spent on the reference."""
        ...

    def __call__(
        self,
        logps: Sequence[Tensor],
        reference: Sequence[Tensor],
        groups: Sequence[ScoredGroup],
        counts: Counts,
        old: Sequence[Tensor | None] | None = None,
    ) -> ObjectiveOutput:
        """Score a micro-batch of N rows.

        Args:
            logps: N tensors [T_i], log pi of each response token, differentiable.
            reference: N tensors [T_i], log pi_ref of the same tokens; none where
                `needs_reference` is false.
            groups: the groups in row order; their numbers of roles add up to N.
            counts: what to divide by; see `Counts`.
            old: N tensors [T_i] of the policy that sampled the row, or None where the row was
                sampled by the policy as it is (then the ratio is 1).
        """
        ...


def check_rows(
    groups: Sequence[ScoredGroup], logps: Sequence[Tensor], reference: Sequence[Tensor] | None
) -> None:
    """Check that there is one row a role, of the policy and, but for None, of the reference.

    Raises:
        ValueError: where their numbers differ.
    """
    rows = sum(len(group.roles) for group in groups)
    referred = rows if reference is None else len(reference)
    if not len(logps) == referred == rows:
        raise ValueError(f"{rows} rows in groups, {len(logps)} scored, {referred} reference")
