"""What an image of the embedded world truly holds: regions to the pixel, and exact removal."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mbpo_core.mining.protocol import MineItem, Region
from mbpo_core.testbed.captions import mentions
from mbpo_core.testbed.questions import QUESTION_KINDS
from mbpo_core.testbed.scenes import Scene, SceneObject, draw, make_scene
from mbpo_core.testbed.world import POOL_TYPICAL_SHARE

_SOURCE_ID: Final = re.compile(
    rf"(?P<family>base|pool|dev|test)-(?P<seed>-?\d+)-(?P<index>\d{{6,}})"
    rf"-(?:{'|'.join(QUESTION_KINDS)})"
)


def scene_of(source_id: str, share: float = POOL_TYPICAL_SHARE) -> Scene:
    """The scene that a record of `write_world` is about.

    Args:
        source_id: the record's id, "pool-0-000012-describe".
        share: the typical share of its split; `TYPICAL_SHARE[flavour]` for dev and test.

    Raises:
        ValueError: an id of another form.
    """
    match = _SOURCE_ID.fullmatch(source_id)
    if match is None:
        raise ValueError(f"not a record of the embedded world: {source_id!r}")
    family, seed, index = match["family"], int(match["seed"]), int(match["index"])
    return make_scene(family, index, seed=seed, typical_share=share)


def pixels(image: Image.Image) -> Tensor:
    """Uint8 `[3, H, W]` of an RGB image."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def object_mask(scene: Scene, kind: str) -> Tensor:
    """The pixels of one object: bool `[H, W]`, those that change when it is left out.

    Errors: ValueError as `draw`.
    """
    return (pixels(draw(scene)) != pixels(draw(scene, frozenset({kind})))).any(dim=0)


def named_object(scene: Scene, phrase: str) -> SceneObject | None:
    """The object that a phrase names, whatever colour it says; None if the scene has no such one.

    Of several names the last counts: it is the head of the phrase.
    """
    named = mentions(phrase)
    return scene.find(named[-1].object) if named else None


@dataclass(frozen=True)
class TruthFinder:
    """`RegionFinder` that knows the scene: exactly the pixels of the object, with score 1.

    Errors: ValueError naming the sample whose image is not that of its scene.
    Differs from the paper: no detector, no segmentation, no error.
    """

    share: float = POOL_TYPICAL_SHARE
    """See `scene_of`."""

    def __call__(
        self, items: Sequence[MineItem], phrases: Sequence[Sequence[str]]
    ) -> list[list[Region | None]]:
        """A region for each phrase that names an object of the item's scene."""
        return [
            [_region(scene, phrase) for phrase in wanted]
            for scene, wanted in zip(_scenes(items, self.share), phrases, strict=True)
        ]


@dataclass(frozen=True)
class TruthInpainter:
    """`Inpainter` that redraws the scene without the object whose region it is given.

    Errors: ValueError naming the sample whose image is not that of its scene, or whose region is
    not exactly one object, as those of `TruthFinder` are.
    Differs from the paper: what is behind the object is known, not guessed.
    """

    share: float = POOL_TYPICAL_SHARE
    """See `scene_of`."""

    def __call__(self, items: Sequence[MineItem], regions: Sequence[Region]) -> list[Tensor]:
        """The scene of each item without the object of its region."""
        scenes = _scenes(items, self.share)
        return [
            pixels(draw(scene, frozenset({_removed(item, scene, region)})))
            for item, scene, region in zip(items, scenes, regions, strict=True)
        ]


def _scenes(items: Sequence[MineItem], share: float) -> list[Scene]:
    scenes = []
    for item in items:
        scene = scene_of(item.source_id, share)
        if not torch.equal(pixels(draw(scene)), item.image.cpu()):
            raise ValueError(
                f"sample {item.sample_id} ({item.source_id}): its image is not that of scene "
                f"{scene.name} with typical share {share:g}; was it resized?"
            )
        scenes.append(scene)
    return scenes


def _region(scene: Scene, phrase: str) -> Region | None:
    found = named_object(scene, phrase)
    return None if found is None else Region(phrase, object_mask(scene, found.kind), score=1.0)


def _removed(item: MineItem, scene: Scene, region: Region) -> str:
    """The kind of the object that fills exactly this region."""
    mask = region.mask.cpu()
    for found in scene.objects:
        if torch.equal(object_mask(scene, found.kind), mask):
            return found.kind
    raise ValueError(
        f"sample {item.sample_id} ({item.source_id}): the region of {region.phrase!r} is not that "
        f"of an object of scene {scene.name}; the truth removes only what the truth found"
    )
