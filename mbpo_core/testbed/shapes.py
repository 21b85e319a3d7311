"""How each kind of object is drawn: a shape in the unit square, recognisable without its colour."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PIL import ImageDraw

INK: Final = (25, 25, 25)


@dataclass(frozen=True)
class Brush:
    """Draws in unit coordinates (0, 0) to (1, 1) of one object's square."""

    canvas: ImageDraw.ImageDraw
    """Where to draw."""
    left: float
    """Left edge of the square, pixels."""
    top: float
    """Upper edge of the square, pixels."""
    size: float
    """Side of the square, pixels."""
    fill: tuple[int, ...]
    """Body colour, RGB in 0 to 255."""

    def at(self, *values: float) -> list[float]:
        """Pixel coordinates of x, y, x, y, ... in unit coordinates."""
        origin = (self.left, self.top)
        return [origin[i % 2] + value * self.size for i, value in enumerate(values)]

    def ellipse(self, *box: float) -> None:
        """A filled ellipse in the box x0, y0, x1, y1."""
        self.canvas.ellipse(self.at(*box), fill=self.fill)

    def polygon(self, *corners: float) -> None:
        """A filled polygon."""
        self.canvas.polygon(self.at(*corners), fill=self.fill)

    def box(self, *corners: float) -> None:
        """A filled rectangle."""
        self.canvas.rectangle(self.at(*corners), fill=self.fill)

    def line(self, *points: float, width: int = 2) -> None:
        """An ink line through the points."""
        self.canvas.line(self.at(*points), fill=INK, width=width)

    def dot(self, x: float, y: float, radius: float) -> None:
        """A filled ink circle."""
        self.canvas.ellipse(self.at(x - radius, y - radius, x + radius, y + radius), fill=INK)


def _banana(brush: Brush) -> None:
    # A thick arc open to the upper right, with a dark tip.
    width = max(3, round(0.3 * brush.size))
    brush.canvas.arc(brush.at(0.0, -0.55, 1.25, 0.95), 65, 190, fill=brush.fill, width=width)
    brush.dot(0.1, 0.12, 0.08)


def _cactus(brush: Brush) -> None:
    brush.box(0.38, 0.0, 0.62, 1.0)
    brush.box(0.05, 0.2, 0.2, 0.6)
    brush.box(0.05, 0.48, 0.5, 0.62)
    brush.box(0.8, 0.35, 0.95, 0.75)
    brush.box(0.5, 0.62, 0.95, 0.76)


def _cherry(brush: Brush) -> None:
    brush.ellipse(0.0, 0.52, 0.46, 1.0)
    brush.ellipse(0.54, 0.52, 1.0, 1.0)
    brush.line(0.23, 0.55, 0.55, 0.02, 0.77, 0.55)


def _cloud(brush: Brush) -> None:
    brush.ellipse(0.0, 0.4, 0.5, 0.85)
    brush.ellipse(0.22, 0.15, 0.75, 0.8)
    brush.ellipse(0.5, 0.4, 1.0, 0.85)


def _leaf(brush: Brush) -> None:
    brush.polygon(0.0, 1.0, 0.08, 0.4, 0.45, 0.08, 1.0, 0.0, 0.92, 0.55, 0.6, 0.92)
    brush.line(0.0, 1.0, 0.85, 0.15)


def _plum(brush: Brush) -> None:
    brush.ellipse(0.2, 0.12, 0.8, 1.0)
    brush.line(0.5, 0.12, 0.42, 0.5, 0.5, 0.95, width=1)
    brush.line(0.5, 0.15, 0.62, 0.0)


def _tomato(brush: Brush) -> None:
    brush.ellipse(0.0, 0.15, 1.0, 0.95)
    for x, y in ((0.25, 0.3), (0.5, 0.42), (0.75, 0.3), (0.5, 0.05)):
        brush.line(0.5, 0.2, x, y)


def _fish(brush: Brush) -> None:
    brush.ellipse(0.0, 0.3, 0.75, 0.85)
    brush.polygon(0.6, 0.55, 1.0, 0.2, 0.95, 0.8)
    brush.dot(0.18, 0.52, 0.07)


SHAPES: Final[dict[str, Callable[[Brush], None]]] = {
    "banana": _banana,
    "cactus": _cactus,
    "cherry": _cherry,
    "cloud": _cloud,
    "leaf": _leaf,
    "plum": _plum,
    "tomato": _tomato,
    "fish": _fish,
}
