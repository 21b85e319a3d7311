"""Why a stage is made again: which part of its identity differs from the version before, and what
is behind an input that differs, down to the first cause.

`plan` says it of what would be made, `mbpo why` of what was made, `mbpo diff` of any two versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.identity import Change, changes
from storage.manifest import Manifest
from storage.refs import ArtifactRef
from storage.store import ArtifactStore

MOST_MODULES = 3
"""More changed modules are counted: whoever edits knows what they edited."""
CONTENT_ALONE = "made again with other bytes: nothing in its identity differs"


@dataclass(frozen=True)
class Cause:
    """One reason why a version is not the one before it."""

    part: str
    """`config`, `input`, `model`, `schema`, `code`, `library`, `version`, or `content` where the
    same key came out with other bytes."""
    name: str
    said: str
    """In words, for people."""
    old: Any = None
    new: Any = None
    because: tuple[Cause, ...] = ()
    """Of an input: what is behind it; () where it stands outside of the store."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return vars(self) | {"because": [cause.to_dict() for cause in self.because]}


def version_before(store: ArtifactStore, stage: str, recipe: str) -> Manifest | None:
    """Return the newest version of a stage: the recipe's if it has one, else anybody's."""
    return _newest([manifest for _, manifest in store.refs(stage)], recipe)


def former(store: ArtifactStore, ref: ArtifactRef) -> Manifest | None:
    """Return the version before `ref` in the same sense; None for the first one."""
    manifests = [manifest for _, manifest in store.refs(ref.stage)]
    place = [manifest.ref for manifest in manifests].index(ref)
    return _newest(manifests[:place], manifests[place].recipe)


def _newest(manifests: Sequence[Manifest], recipe: str) -> Manifest | None:
    own = [manifest for manifest in manifests if manifest.recipe == recipe]
    return (own or list(manifests) or [None])[-1]


def causes(
    store: ArtifactStore,
    old: Manifest,
    identity: Mapping[str, Any],
    inputs: Mapping[str, ArtifactRef],
) -> tuple[Cause, ...]:
    """Return what differs from an old version; () if nothing does.

    Args:
        store: where the inputs are.
        old: the version that it is compared with.
        identity: of the new one, which may not be made yet.
        inputs: of the new one.
    """
    found = [_cause(store, change, old, inputs) for change in changes(old.identity, identity)]
    return tuple(found)


def causes_between(store: ArtifactStore, old: ArtifactRef, new: ArtifactRef) -> tuple[Cause, ...]:
    """Return why two artifacts of the store differ; () if they are the same."""
    if old == new:
        return ()
    before, after = store.manifest(old), store.manifest(new)
    found = causes(store, before, after.identity, after.inputs)
    if found or old.content == new.content:
        return found
    return (Cause("content", new.stage, CONTENT_ALONE, old.content[:12], new.content[:12]),)


def _cause(
    store: ArtifactStore, change: Change, old: Manifest, inputs: Mapping[str, ArtifactRef]
) -> Cause:
    because, said = (), change.said
    before, after = old.inputs.get(change.name), inputs.get(change.name)
    if change.part == "input" and before and after:
        said = f"input {change.name} changed: {before.short} -> {after.short}"
        try:
            because = causes_between(store, before, after)
        except LookupError:
            said += " (the former one is no longer in the store)"
    return Cause(change.part, change.name, said, change.old, change.new, because)


def in_lines(found: Sequence[Cause], indent: str = "") -> list[str]:
    """Return causes as lines, what is behind an input indented below it."""
    lines = []
    for cause in _shortened(found):
        lines.append(indent + cause.said)
        lines += in_lines(cause.because, indent + "  ")
    return lines


def roots(found: Sequence[Cause]) -> tuple[Cause, ...]:
    """Return the first causes alone, each once."""
    leaves = {}
    for cause in found:
        for leaf in roots(cause.because) if cause.because else (cause,):
            leaves.setdefault((leaf.part, leaf.name, leaf.said), leaf)
    return tuple(leaves.values())


def _shortened(found: Sequence[Cause]) -> list[Cause]:
    code = [cause for cause in found if cause.part == "code"]
    if len(code) <= MOST_MODULES:
        return list(found)
    said = f"code: {len(code)} modules changed, {code[0].name} first"
    kept = [cause for cause in found if cause.part != "code"]
    return [*kept, Cause("code", code[0].name, said)]
