"""What the columns of the catalogue mean, from `sql/columns.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from storage.tables import ALIASES


@dataclass(frozen=True)
class Column:
    """One column."""

    unit: str
    """Of its values, such as `nats` or `UTC`; "" where it has none."""
    meaning: str

    @property
    def comment(self) -> str:
        """Return both as one line."""
        return f"{self.unit}: {self.meaning}" if self.unit else self.meaning


@dataclass(frozen=True)
class Described:
    """One table or view."""

    about: str
    """What a row of it is."""
    columns: dict[str, Column]


@cache
def dictionary() -> dict[str, Described]:
    """Return what is written down, by table; an alias has what its table has."""
    text = (files("storage") / "sql" / "columns.toml").read_text(encoding="utf-8")
    found = {
        name: Described(
            table["about"],
            {column: Column(*described) for column, described in table["columns"].items()},
        )
        for name, table in tomllib.loads(text).items()
    }
    return found | {alias: found[table] for alias, table in ALIASES.items()}
