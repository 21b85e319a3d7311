"""The file of finished runs: JSON lines that are committed, appended to, and never rewritten.

Two kinds of lines: `recipe` (all settings of a configuration, once) and `run` (what one run of it
gave). A run is found again by its settings themselves, its base model's content, its part and its
seed; whatever differs in one of them is another line.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mbpo_core.config import EmbeddedModel, Recipe
from storage.files import atomic_write_text

Metrics = Mapping[str, Mapping[str, Mapping[str, float | None]]]


@dataclass(frozen=True)
class Record:
    """What one run gave."""

    row: str
    part: str
    base: str
    fingerprint: str
    """Of the base model."""
    seed: int
    recipe: str
    """Id of the line with its settings."""
    metrics: Metrics
    """Split, kind of question (`all` too) and metric to value; None = undefined."""
    scenes: Mapping[str, Mapping[str, Sequence[int]]]
    """Split to what its scenes add, in their order: `right` answers of those `asked`, object
    `mentions` and those `hallucinated`."""
    curves: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    """Points (step, value): mean gain of `chosen` and `rejected` per token, online `reward`."""
    steps: int = 0
    groups: Sequence[int] = field(default_factory=lambda: [0, 0])
    """Different groups that were trained on, offline and online."""
    seconds: float = 0.0
    """Of this run alone; what another run had made already took none."""
    machine: str = ""
    revision: str = ""


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as data, without what differs between runs of one configuration."""
    model = EmbeddedModel().model_dump(mode="json")
    dumped = recipe.model_dump(mode="json") | {"policy": model, "scorer": model, "seed": 0}
    dumped["select"] = dumped["select"] | {"seed": 0}
    return dumped


def settings_id(recipe: Recipe) -> str:
    """Return a short name of the settings: the start of their sha256."""
    text = json.dumps(settings_of(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True)
class Done:
    """What a ledger held when it was read."""

    settings: Mapping[str, Recipe | None]
    """By id; None where the project no longer knows such settings."""
    records: Sequence[Record]
    """In the order in which the runs ended."""

    def find(self, recipe: Recipe, *, fingerprint: str, part: str, seed: int) -> Record | None:
        """Return the run of exactly these settings, base model, part and seed; None if not done.

        Settings are compared as values: one that the project has got since the line was written
        is taken at its default there.
        """
        wanted = Recipe.model_validate(settings_of(recipe))
        same = {name for name, kept in self.settings.items() if kept == wanted}
        key = (fingerprint, part, seed)
        for each in self.records:
            if each.recipe in same and (each.fingerprint, each.part, each.seed) == key:
                return each
        return None


@dataclass(frozen=True)
class Ledger:
    """A file of finished runs."""

    path: Path

    def append(self, record: Record, recipe: Recipe) -> None:
        """Add a run, and its settings before it if they are new; safe from several processes."""
        with self._locked():
            settings = self.read().settings
            lines = [self._line("run", asdict(record))]
            if record.recipe not in settings:
                made = {"id": record.recipe, "settings": settings_of(recipe)}
                lines.insert(0, self._line("recipe", made))
            before = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
            atomic_write_text(self.path, before + "".join(lines))

    def read(self) -> Done:
        """Return what is done by now.

        Raises ValueError naming a line that is none of a ledger.
        """
        settings: dict[str, Recipe | None] = {}
        records = []
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                row = json.loads(line)
                if row.pop("kind") == "recipe":
                    settings[row["id"]] = _as_recipe(row["settings"])
                else:
                    records.append(Record(**row))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self.path.name}, line {number}: {error}; remove it") from error
        return Done(settings, records)

    def _line(self, kind: str, values: Mapping[str, Any]) -> str:
        return json.dumps({"kind": kind, **values}, separators=(",", ":")) + "\n"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock: nothing is left behind by a process that dies with it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _as_recipe(settings: Mapping[str, Any]) -> Recipe | None:
    """Return the settings as a recipe; None if the project no longer knows such ones."""
    try:
        return Recipe.model_validate(settings)
    except ValidationError:
        return None
