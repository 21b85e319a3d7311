"""What a stage is: a name, the rows that it makes, and how one shard of them is computed."""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from mbpo_core.config import Model, Recipe
from storage.codehash import code_closure
from storage.identity import Identity, digest
from storage.refs import ArtifactRef
from storage.selection import query_text
from storage.store import ArtifactStore, Coverage
from storage.tables import TableSpec, schema_text
from tasks.models import model_identity
from tasks.runtime import Runtime
from tasks.samplers import SAMPLER_CODE, sampler_version

CODE_PACKAGES = ("mbpo_core", "tasks")
"""Packages whose code a stage reaches enters its key; of the store only the row schemas do."""
CODE_EXCLUDED = (
    "mbpo_core.config",  # its values enter as config
    "mbpo_core.recipes",
    "tasks.clock",  # only tells the time
    "tasks.launchers",  # how ranks are started, and how they end
    "tasks.lifeline",
    "tasks.requests",
    "tasks.runtime",
    "tasks.stage",
)


@dataclass(frozen=True)
class Job:
    """One stage of one run: all that a shard needs besides its number."""

    recipe: Recipe
    store: ArtifactStore
    key: str
    inputs: Mapping[str, ArtifactRef]
    runtime: Runtime
    device: str = "cpu"
    fresh: bool = False
    """Asked for anew: nothing is taken over from other versions in the store."""
    note: Callable[[str], None] = lambda text: None
    """Tells whoever waits what is going on."""


@dataclass(frozen=True)
class ShardRows:
    """Rows of one shard by table, extra files by published name, and facts for the manifest."""

    tables: dict[str, list[dict[str, Any]] | pa.Table]
    files: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


class Stage(ABC):
    """A step of the pipeline whose output is one versioned artifact."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ()
    """Stages that it may take from; see `upstream`."""
    tables: ClassVar[tuple[TableSpec, ...]]
    """The first one names the artifact."""
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "pyarrow")
    """Versions of these enter the key."""
    queries: ClassVar[tuple[str, ...]] = ()
    """Queries of `storage/sql` that decide its rows; their text enters the key."""
    exclusive: ClassVar[bool] = False
    """Runs alone: the workers, and the models that they hold, are gone before."""
    counted: ClassVar[str | None] = None
    """The table whose rows tell how much work was done; default: the first."""
    seeded: ClassVar[bool] = True
    """The run's seed changes its rows."""
    finishing: ClassVar[bool] = False
    """One more shard, made by `finish` when all others are there."""

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """Return the part of the recipe that this stage depends on."""
        seed = {"seed": recipe.seed} if self.seeded else {}
        return seed | {self.name: getattr(recipe, self.name).model_dump(mode="json")}

    def upstream(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the stages that it takes from in this recipe."""
        return self.inputs

    def models(self, recipe: Recipe) -> dict[str, Model]:
        """Return the models that the stage runs, by role."""
        return {}

    def unused_code(self, recipe: Recipe) -> tuple[str, ...]:
        """Return modules that the stage imports but does not run in this recipe."""
        return ()

    def model_identities(self, recipe: Recipe) -> dict[str, str]:
        """Return what tells the stage's models apart, by role."""
        return {role: model_identity(model) for role, model in self.models(recipe).items()}

    def draws_responses(self, recipe: Recipe) -> bool:
        """Return whether responses are drawn here by `Runtime.sampler`: it then enters the key."""
        return False

    def resources(self) -> dict[str, str]:
        """Return hashes of files beside the code that decide the rows too, such as templates."""
        return {}

    def external(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return content hashes of inputs that stand outside of the store."""
        return {}

    @abstractmethod
    def shards(self, job: Job) -> int:
        """Return how many shards the rows make; depends on rows and config alone."""

    @abstractmethod
    def run(self, job: Job, shard: int) -> ShardRows:
        """Compute one shard."""

    def finish(self, job: Job) -> ShardRows | None:
        """Compute what needs all shards (read from staging); stored as the last shard."""
        return None

    @abstractmethod
    def coverage(self, job: Job) -> list[Coverage]:
        """Return which input ids must appear in which table; checked at commit."""

    def identity(
        self, recipe: Recipe, runtime: Runtime, inputs: Mapping[str, ArtifactRef]
    ) -> Identity:
        """Return what makes a version of this stage: config, inputs, models, code, libraries."""
        contents = {stage: ref.content for stage, ref in inputs.items()}
        return Identity(
            stage=self.name,
            version=self.version,
            schema=schema_text(self.tables),
            config=self.config(recipe),
            inputs=contents | self.external(recipe, runtime),
            models=self.model_identities(recipe),
            code=self._code(recipe, runtime),
            libraries=self._libraries(recipe, runtime),
        )

    def made_by(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        """Return the code and the libraries of this process, as far as they decide the rows."""
        return self._code(recipe, runtime) | self._libraries(recipe, runtime)

    def _libraries(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        versions = {name: importlib.metadata.version(name) for name in self.libraries}
        return versions | (sampler_version(runtime) if self.draws_responses(recipe) else {})

    def _code(self, recipe: Recipe, runtime: Runtime) -> dict[str, str]:
        other = self.draws_responses(recipe) and runtime.sampler != "transformers"
        excluded = (*CODE_EXCLUDED, *self.unused_code(recipe), *(() if other else SAMPLER_CODE))
        code = code_closure(type(self).__module__, CODE_PACKAGES, excluded)
        queries = {f"storage.sql.{name}": digest(query_text(name)) for name in self.queries}
        return code | queries | self.resources()


def slices(count: int, size: int) -> list[range]:
    """Cut `count` rows into runs of `size`; no rows still make one (empty) shard."""
    return [range(start, min(start + size, count)) for start in range(0, max(count, 1), size)]
