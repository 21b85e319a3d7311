"""What an artifact is computed from, its key, and what changed between two of them."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from storage.refs import check_name

KEY_LENGTH = 24
_ABSENT = object()


def canonical_json(value: Any) -> str:
    """Return one text for equal values: sorted names, no spaces, tuples as lists.

    Raises TypeError for what JSON does not have (also names that are not strings, which JSON
    would silently turn into strings) and ValueError for NaN and infinities.
    """
    _check_plain(value, "value")
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, which has no JSON form")
    if value is None or isinstance(value, bool | int | float | str):
        return
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{where} has the name {name!r}; names must be strings")
            _check_plain(item, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{where}[{index}]")
    else:
        raise TypeError(f"{where} is a {type(value).__name__}, which has no JSON form")


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value` as 64 hex characters."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class Identity:
    """Everything that decides the bytes of an artifact.

    Inputs enter by the hash of their content, so an input that was rebuilt to the same bytes
    leaves the key as it is, and nothing downstream runs again.
    """

    stage: str
    version: int
    """Raised by hand when the stage changed in a way that nothing below can see."""
    schema: str
    """Row schemas of the stage's tables, as text."""
    config: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    """Input name to content hash."""
    models: dict[str, str] = field(default_factory=dict)
    """Model role to fingerprint of weights and processor."""
    code: dict[str, str] = field(default_factory=dict)
    """Module name to hash, over the import closure of the stage."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries that change numbers."""

    def __post_init__(self) -> None:
        """Refuse a stage name that could not stand in a path."""
        check_name("stage", self.stage)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, as the manifest records them."""
        return asdict(self)

    @property
    def key(self) -> str:
        """Return the first 24 hex characters of the sha256 of the canonical JSON."""
        return digest(self.to_dict())[:KEY_LENGTH]


@dataclass(frozen=True)
class Change:
    """One difference between two identities."""

    part: str
    """`stage`, `version`, `config`, `input`, `model`, `schema`, `code` or `library`."""
    name: str
    """Dotted path of a setting; name of an input, a role, a module or a library."""
    verb: str
    """`changed`, `added` or `removed`."""
    old: Any = None
    new: Any = None

    @property
    def said(self) -> str:
        """Return one line for people."""
        if self.part in ("stage", "version"):
            return f"{self.part}: {self.old} -> {self.new}"
        if self.part == "config":
            return f"config.{self.name}: {self._side('old')} -> {self._side('new')}"
        if self.part == "library":
            return f"library {self.name}: {self._side('old', str)} -> {self._side('new', str)}"
        if self.part == "schema":
            return "row schema changed"
        word = {"code": "code:"}.get(self.part, self.part)
        return f"{word} {self.name} {self.verb}"

    def _side(self, side: str, show: Callable[[Any], str] = canonical_json) -> str:
        absent = {"old": "added", "new": "removed"}[side] == self.verb
        text = "(absent)" if absent else show(getattr(self, side))
        return text if len(text) <= 80 else text[:77] + "..."


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return how identity `new` differs from `old`; [] if they are equal.

    Config first, then inputs and models, then code, and library versions last. Both are what
    `Identity.to_dict` returns, possibly read back from a manifest.
    """
    found = []
    for part, read in _PARTS.items():
        for name, before, after in _differences(read(old), read(new)):
            verb = "added" if before is _ABSENT else "removed" if after is _ABSENT else "changed"
            sides = [None if side is _ABSENT else side for side in (before, after)]
            found.append(Change(part, name, verb, *sides))
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        # 1, 1.0 and True are equal in Python but are different keys: compare what is hashed.
        if before is _ABSENT or after is _ABSENT or canonical_json(before) != canonical_json(after):
            yield name, before, after


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested names as dotted ones; an empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _alone(name: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return how a part that is one value is read as a mapping."""
    return lambda identity: {name: identity.get(name)}


def _within(name: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    return lambda identity: identity.get(name, {})


_PARTS: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "stage": _alone("stage"),
    "version": _alone("version"),
    "config": lambda identity: _flat(identity.get("config", {})),
    "input": _within("inputs"),
    "model": _within("models"),
    "schema": _alone("schema"),
    "code": _within("code"),
    "library": _within("libraries"),
}
"""Parts of an identity in the order in which they are told, each as a mapping."""
