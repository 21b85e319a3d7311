"""The names of the stages in their order, and which of them a run computes. No stage is loaded."""

from __future__ import annotations

from dataclasses import dataclass

ORDER = (
    "ingest", "score", "select", "mine", "respond", "pair", "train", "ask", "answer", "evaluate",
    "report",
)  # fmt: skip


class MissingUpstreamError(RuntimeError):
    """A stage was asked for alone, and what it needs is not in the store."""


@dataclass(frozen=True)
class Choice:
    """Which stages a run computes."""

    only: tuple[str, ...] = ()
    """Just these; all others must be in the store if these need them."""
    start: str | None = None
    """From here on; earlier ones must be in the store."""
    refresh: tuple[str, ...] = ()
    """Computed again even if they are in the store."""
    retry: tuple[str, ...] = ()
    """Shards with rows of such statuses are computed again, in every stage of the run."""

    def __post_init__(self) -> None:
        named = {*self.only, *self.refresh, *([self.start] if self.start else [])}
        if unknown := sorted(named - set(ORDER)):
            raise ValueError(f"unknown stage {unknown[0]!r}; there are {', '.join(ORDER)}")
        if self.only and self.start:
            raise ValueError("give either `only` or `start`, not both")
        if idle := sorted(set(self.refresh) - set(self.stages())):
            raise ValueError(f"`refresh` names {idle[0]!r}, which this run does not compute")

    def stages(self) -> tuple[str, ...]:
        """Return the stages to compute, in order."""
        if self.only:
            return tuple(name for name in ORDER if name in self.only)
        return ORDER[ORDER.index(self.start) :] if self.start else ORDER
