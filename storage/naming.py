"""What a person means by a word: an artifact, or all artifacts of a run.

mine, negatives         the latest version of a stage, or of the stage that has the table
mine/1a2b               the version whose key begins so
paper                   what is tagged `paper`
paper/mine, 2026.../mine   of a tagged run, or of a run (the beginning of its id is enough)
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from storage.errors import AmbiguousArtifact, UnknownArtifact
from storage.manifest import Manifest
from storage.refs import ArtifactRef
from storage.runs import RunRecord, read_runs
from storage.tags import read_tags

Known = list[tuple[ArtifactRef, Manifest]]
"""Every committed artifact with its manifest, oldest commit first."""


def find_artifact(root: Path, known: Known, text: str) -> ArtifactRef:
    """Return the artifact that a word names; a tag comes before a stage, a stage before a run.

    Raises UnknownArtifact or AmbiguousArtifact, with what could have been meant.
    """
    name, _, prefix = text.partition("/")
    tag = next((tag for tag in read_tags(root) if tag.name == name), None)
    if tag and tag.ref and not prefix:
        return _there(known, tag.ref, text)
    named = [ref for ref, _ in known if ref.stage == name]
    named = named or [ref for ref, manifest in known if name in manifest.tables]
    if named and not (tag and tag.run_id):
        return _of_key(named, text, prefix)
    run = find_run(root, name)
    if run is None:
        raise UnknownArtifact(f"no artifact {text!r}{_instead(name, root, known)}")
    return _of_run(known, run, text, prefix)


def find_run(root: Path, text: str) -> RunRecord | None:
    """Return the run that a tag, a run id or the beginning of one names; None where none does.

    Raises AmbiguousArtifact where several ids begin so.
    """
    tagged = [tag.run_id for tag in read_tags(root) if tag.name == text and tag.run_id]
    wanted = (tagged or [text])[0]
    runs = read_runs(root)
    exact = [run for run in runs if run.run_id == wanted]
    found = exact or [run for run in runs if text and run.run_id.startswith(text)]
    if len(found) > 1:
        ids = ", ".join(run.run_id for run in found)
        raise AmbiguousArtifact(f"{text!r} could be any of the runs: {ids}")
    return found[0] if found else None


def _of_key(named: list[ArtifactRef], text: str, prefix: str) -> ArtifactRef:
    chosen = [ref for ref in named if ref.directory.startswith(prefix)]
    candidates = ", ".join(dict.fromkeys(ref.short for ref in chosen or named))
    if not chosen:
        raise UnknownArtifact(f"no artifact {text!r}; candidates: {candidates}")
    if prefix and len({(ref.stage, ref.key) for ref in chosen}) > 1:
        raise AmbiguousArtifact(f"{text!r} could be any of: {candidates}")
    return chosen[-1]


def _of_run(known: Known, run: RunRecord, text: str, part: str) -> ArtifactRef:
    tables = {ref: manifest.tables for ref, manifest in known}
    found = [ref for ref in run.stages.values() if part in (ref.stage, *tables.get(ref, ()))]
    if not part or not found:
        stages = ", ".join(f"{text.partition('/')[0]}/{stage}" for stage in run.stages)
        raise AmbiguousArtifact(
            f"{text!r}: run {run.run_id} has several artifacts, say which: {stages or 'none yet'}"
        )
    return _there(known, found[0], text)


def _there(known: Known, ref: ArtifactRef, text: str) -> ArtifactRef:
    if all(ref != each for each, _ in known):
        raise UnknownArtifact(
            f"{text!r} is {ref.short} with content {ref.content[:12]}, which is no longer there; "
            "`mbpo doctor --repair` makes again what a run recorded, if its code is unchanged"
        )
    return ref


def _instead(name: str, root: Path, known: Known) -> str:
    """Return what there is, the nearest first."""
    words = {ref.stage: f"{ref.stage} ({manifest.artifact})" for ref, manifest in known}
    tables = {table: table for _, manifest in known for table in manifest.tables}
    tags = {tag.name: f"{tag.name} (tag)" for tag in read_tags(root)}
    near = get_close_matches(name, [*tags, *words, *tables])
    guess = f", did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    return f"{guess or ''}; there are: {_listed([*words.values(), *tags.values()])}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none (make one with `mbpo run mbpo --limit 64`)"
