"""What a page is drawn from: the artifacts of one run, and what is told of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from storage.manifest import Manifest
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.report.figures import Figure

Row = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """The artifacts of one run by stage; a run that is under way has some of them."""

    store: ArtifactStore
    refs: Mapping[str, ArtifactRef]
    recipe: str
    """Name of the recipe."""
    settings: Mapping[str, Any]
    """The recipe as JSON values, {} where nobody knows it; see `tasks.report.recipe`."""

    def manifest(self, stage: str) -> Manifest:
        """Return the manifest of a stage's artifact."""
        return self.store.manifest(self.refs[stage])

    def has(self, stage: str, table: str) -> bool:
        """Say whether the run has a table."""
        return stage in self.refs and table in self.manifest(stage).tables

    def table(self, stage: str, table: str, columns: Iterable[str]) -> pa.Table | None:
        """Return those of the columns that this version of the table has; None without a table."""
        if not self.has(stage, table):
            return None
        parts = self.store.parts(self.refs[stage], table)
        if not parts:
            return None
        with parts[0].open() as part:
            there = part.schema_arrow.names
        wanted = [name for name in columns if name in there]
        return self.store.table(self.refs[stage], table, wanted)

    def rows(self, stage: str, table: str, columns: Sequence[str]) -> list[Row]:
        """Return the rows of a table; columns that it does not have are None, [] without it."""
        found = self.table(stage, table, columns)
        nothing = dict.fromkeys(columns)
        return [] if found is None else [nothing | row for row in found.to_pylist()]

    def setting(self, dotted: str) -> Any:
        """Return a setting of the recipe, None where it has no such."""
        value: Any = self.settings
        for name in dotted.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    name: str
    """Its anchor, and its template `<name>.html.jinja`."""
    title: str
    rows: int = 0
    """Rows of the store that it is drawn from."""
    missing: str | None = None
    """Why there is nothing to show, in words."""
    content: Mapping[str, Any] = field(default_factory=dict)
    """What its template reads."""
    figures: tuple[Figure, ...] = ()
    data: Any = None
    """What its script reads, as JSON values."""


def not_there(name: str, title: str, *stages: str) -> Section:
    """Return a section whose stages have not run."""
    return Section(name, title, missing=f"not there yet: this run has no {' and no '.join(stages)}")
