"""Names and values as SQL text, where a statement takes no parameters."""

from collections.abc import Iterable


def quoted(name: str) -> str:
    """Return a name of a table or column as SQL text."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a string as SQL text."""
    return "'" + value.replace("'", "''") + "'"


def text_list(values: Iterable[str]) -> str:
    """Return strings as a list in SQL text."""
    return "[" + ", ".join(map(text, values)) + "]"
