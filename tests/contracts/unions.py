"""Members of the closed unions of the settings, so that none of them can do without a case."""

from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

from mbpo_core.config import Frozen


def members(union: Any) -> tuple[type[Frozen], ...]:
    """The classes that a discriminated union tells apart by their kind."""
    return get_args(get_args(union)[0])


def every_member(module: ModuleType) -> set[type[Frozen]]:
    """The members of all unions of a module."""
    unions = [value for value in vars(module).values() if get_origin(value) is Annotated]
    return {member for union in unions for member in members(union)}


def at_the_edges(settings: Frozen) -> Iterator[Frozen]:
    """These settings with one number, here or inside, at an end of its range."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Frozen):
            yield from (settings.model_copy(update={name: edge}) for edge in at_the_edges(value))
        for end in (_end(bound) for bound in field.metadata) if value is not None else ():
            if end is not None:
                yield settings.model_copy(update={name: type(value)(end)})


def _end(bound: Any) -> float | None:
    """The end of a range itself, or the next to it where it is not part of the range."""
    for name, step in (("ge", 0), ("le", 0), ("gt", 1e-9), ("lt", -1e-9)):
        if hasattr(bound, name):
            return getattr(bound, name) + step
    return None


def parts(settings: Frozen) -> Iterator[Frozen]:
    """These settings, and all those inside of them."""
    yield settings
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Frozen):
            yield from parts(value)
