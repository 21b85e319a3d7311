"""The blank image of eq. 4 as a negative."""

from collections.abc import Sequence
from dataclasses import dataclass

from mbpo_core.mining.protocol import Altered, MineItem
from mbpo_core.models.preprocessing import blank_like, check_stored


@dataclass(frozen=True)
class Blank:
    """`Alteration`: v0, all-zero pixels (black) of the same size.

    Errors: ValueError for an image that is not uint8 `[3, H, W]`.
    Differs from the paper: the paper scores under v0 and does not train on it; a control.
    """

    def __call__(self, items: Sequence[MineItem]) -> list[Altered]:
        """Alter the images of one pack."""
        for item in items:
            check_stored(item.image)
        return [Altered(blank_like(item.image), area=1.0) for item in items]
