"""Pixel distances as whole grey levels; free of torch, so that settings can be checked fast."""

import math

LEVELS = 255


def lattice_units(value: float, name: str) -> int:
    """A pixel distance in [0, 1] as a whole number of 1/255.

    Errors: ValueError if it is outside [0, 1] or between two multiples (both are named).
    """
    if not 0 <= value <= 1:
        hint = f" (did you mean {value:g} / {LEVELS}?)" if 1 < value <= LEVELS else ""
        raise ValueError(f"{name} must be in [0, 1], got {value}{hint}")
    units = round(value * LEVELS)
    if abs(value * LEVELS - units) > 1e-6:
        below = math.floor(value * LEVELS)
        raise ValueError(
            f"{name} must be a whole multiple of 1/{LEVELS}; {value:g} lies between "
            f"{below}/{LEVELS} ({below / LEVELS:.5f}) and "
            f"{below + 1}/{LEVELS} ({(below + 1) / LEVELS:.5f})"
        )
    return units
