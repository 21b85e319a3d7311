"""`ArtifactRef`: the small value that names one committed artifact."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

CONTENT_IN_NAME = 12
_SHORT_KEY = 8
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HEX = re.compile(r"[0-9a-f]+")


def check_name(kind: str, name: str) -> str:
    """Return `name` if it can stand in paths and SQL, else raise ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} must be lower-case letters, digits and _, got {name!r}")
    return name


def check_key(key: str) -> str:
    """Return `key` if it is lower-case hex as `Identity.key` makes it, else raise ValueError."""
    if not _HEX.fullmatch(key):
        raise ValueError(f"key must be lower-case hex, got {key!r}")
    return key


@dataclass(frozen=True)
class ArtifactRef:
    """One committed artifact: what was asked for (`key`) and what came out (`content`)."""

    stage: str
    """Name of the stage that made it."""
    key: str
    """Hash of the identity: known before the stage runs, given its inputs' content."""
    content: str
    """Hash of the bytes that the stage wrote: known only afterwards."""

    def __post_init__(self) -> None:
        """Refuse names that would not be safe in a path."""
        check_name("stage", self.stage)
        check_key(self.key)
        check_key(self.content)

    @property
    def short(self) -> str:
        """Return what people read, such as `mine/1a2b3c4d`."""
        return f"{self.stage}/{self.key[:_SHORT_KEY]}"

    @property
    def directory(self) -> str:
        """Return the name of the artifact's directory inside its stage's directory."""
        return f"{self.key}.{self.content[:CONTENT_IN_NAME]}"

    def to_dict(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {"stage": self.stage, "key": self.key, "content": self.content}

    @classmethod
    def from_dict(cls, value: Mapping[str, str]) -> Self:
        """Read what `to_dict` wrote; missing or unknown names raise TypeError."""
        return cls(**value)
