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


def parts(settings: Frozen) -> Iterator[Frozen]:
    """These settings, and all those inside of them."""
    yield settings
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Frozen):
            yield from parts(value)
