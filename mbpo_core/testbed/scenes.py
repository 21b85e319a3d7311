"""Scenes of the embedded world: what is in them, how they are drawn, and who owns them.

A scene is two to four different objects on a 3x3 grid of 28-pixel cells. 28 pixels are one merged
visual token of Qwen2-VL (patch 14, merge 2), so one cell is one token.

Every kind of object has a *typical* colour. A model that has mostly seen typical colours learns to
say them without looking: the language prior that MBPO is meant to balance.

Scenes come in four families with disjoint content. A layout (which objects in which cells,
colours left aside) is owned by exactly one family, decided by its hash, so that no scene of the
test family can have been seen in training, whatever the seeds are.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from PIL import Image, ImageDraw

from mbpo_core.testbed.shapes import SHAPES, Brush

Family = Literal["base", "pool", "dev", "test"]
Flavour = Literal["consistent", "counter"]

GRID: Final = 3
CELL: Final = 28
IMAGE_SIZE: Final = GRID * CELL
MIN_OBJECTS: Final = 2
MAX_OBJECTS: Final = 4

TYPICAL_COLOR: Final[dict[str, str]] = {
    "banana": "yellow",
    "cactus": "green",
    "cherry": "red",
    "cloud": "white",
    "fish": "blue",
    "leaf": "green",
    "plum": "purple",
    "tomato": "red",
}
KINDS: Final = tuple(TYPICAL_COLOR)
COLORS: Final[dict[str, tuple[int, int, int]]] = {
    "blue": (40, 80, 220),
    "green": (30, 160, 50),
    "purple": (140, 40, 170),
    "red": (215, 35, 30),
    "white": (240, 240, 240),
    "yellow": (240, 215, 30),
}
PLACES: Final = (
    "top left",
    "top",
    "top right",
    "left",
    "center",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
TYPICAL_SHARE: Final[dict[Flavour, float]] = {"consistent": 1.0, "counter": 0.0}

# Eighths of all layouts: base training needs the most variety.
_OWNERS: Final[tuple[Family, ...]] = (
    "base",
    "base",
    "base",
    "base",
    "pool",
    "pool",
    "dev",
    "test",
)


@dataclass(frozen=True, order=True)
class SceneObject:
    """One object."""

    cell: int
    """Row-major cell number, 0 to 8."""
    kind: str
    """A key of `TYPICAL_COLOR`."""
    color: str
    """A key of `COLORS`."""

    @property
    def is_typical(self) -> bool:
        """Whether the colour is the one that the prior expects."""
        return self.color == TYPICAL_COLOR[self.kind]

    @property
    def place(self) -> str:
        """The cell in words."""
        return PLACES[self.cell]


@dataclass(frozen=True)
class Scene:
    """The exact truth about one image."""

    family: Family
    """The family that owns the layout."""
    name: str
    """Unique within family, seed and typical share."""
    objects: tuple[SceneObject, ...]
    """In reading order; kinds are all different."""
    drawing_seed: int
    """Seed of offsets, sizes and shades."""

    def find(self, kind: str) -> SceneObject | None:
        """The object of that kind, if there is one."""
        return next((found for found in self.objects if found.kind == kind), None)

    def truth(self) -> list[dict[str, str | int]]:
        """The objects as JSON values: `{"object", "color", "cell"}` each."""
        return [
            {"object": found.kind, "color": found.color, "cell": found.cell}
            for found in self.objects
        ]


def seed_of(*parts: str | int | float) -> int:
    """A 64-bit seed that depends on every part and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def owner(layout: tuple[tuple[int, str], ...]) -> Family:
    """The family that owns a layout, given as sorted (cell, kind) pairs."""
    return _OWNERS[seed_of("layout", *(f"{cell}:{kind}" for cell, kind in layout)) % len(_OWNERS)]


def _layouts(rng: random.Random) -> Iterator[tuple[tuple[int, str], ...]]:
    while True:
        n_objects = rng.randint(MIN_OBJECTS, MAX_OBJECTS)
        cells = sorted(rng.sample(range(GRID * GRID), n_objects))
        yield tuple(zip(cells, rng.sample(KINDS, n_objects), strict=True))


def _color(kind: str, rng: random.Random, typical_share: float) -> str:
    # Both draws always happen: the layout, the drawing and the questions of a scene stay the
    # same when only the share changes, which pairs `consistent` with `counter`.
    is_typical = rng.random() < typical_share
    other = rng.choice([color for color in COLORS if color != TYPICAL_COLOR[kind]])
    return TYPICAL_COLOR[kind] if is_typical else other


def make_scene(family: Family, index: int, *, seed: int = 0, typical_share: float) -> Scene:
    """The scene number `index` of a family.

    Args:
        family: who owns the layout.
        index: number of the scene, any integer.
        seed: another seed gives other scenes of the same family.
        typical_share: probability in [0, 1] that an object has its typical colour; otherwise the
            colour is uniform over the other five. A share of 1/6 makes all six equally likely.

    Raises:
        ValueError: unknown family, or a share outside [0, 1].
    """
    if family not in get_args(Family):
        raise ValueError(f"family must be one of {get_args(Family)}, got {family!r}")
    if not 0 <= typical_share <= 1:
        raise ValueError(f"typical_share must be in [0, 1], got {typical_share}")
    rng = random.Random(seed_of("scene", family, seed, index))
    layout = next(found for found in _layouts(rng) if owner(found) == family)
    drawing_seed = rng.getrandbits(32)
    objects = tuple(
        SceneObject(cell, kind, _color(kind, rng, typical_share)) for cell, kind in layout
    )
    return Scene(family, f"{family}-{seed}-{index:06d}", objects, drawing_seed)


def draw(scene: Scene, without: frozenset[str] = frozenset()) -> Image.Image:
    """An 84x84 RGB image of the scene; equal arguments give equal pixels.

    Args:
        scene: what to draw.
        without: kinds that are left out; the other objects and the background stay as they are.

    Raises:
        ValueError: a kind that the scene does not hold.
    """
    absent = without - {found.kind for found in scene.objects}
    if absent:
        raise ValueError(f"scene {scene.name} holds no {', '.join(sorted(absent))} to leave out")
    rng = random.Random(scene.drawing_seed)
    shade = rng.randint(95, 125)
    image = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (shade, shade, shade))
    canvas = ImageDraw.Draw(image)
    for found in scene.objects:
        # Drawn from the generator whether or not it is painted: what comes after stays the same.
        brush = _brush(canvas, found, rng)
        if found.kind not in without:
            SHAPES[found.kind](brush)
    return image


def _brush(canvas: ImageDraw.ImageDraw, found: SceneObject, rng: random.Random) -> Brush:
    """Size, place within the cell and shade of an object."""
    size = rng.uniform(21, 25)
    row, column = divmod(found.cell, GRID)
    left = column * CELL + rng.uniform(1, CELL - size - 1)
    top = row * CELL + rng.uniform(1, CELL - size - 1)
    fill = tuple(max(0, min(255, value + rng.randint(-14, 14))) for value in COLORS[found.color])
    return Brush(canvas, left, top, size, fill)
