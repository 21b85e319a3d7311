"""AdaViP's negative image: the same picture with one object removed, the one that matters most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mbpo_core.mining.protocol import (
    Altered,
    ImageRanker,
    Inpainter,
    MineItem,
    Region,
    RegionFinder,
    Tagger,
    Tried,
)

NO_OBJECT = "no_object"
NO_CANDIDATE = "no_candidate"
NO_REGION = "no_region"
TOO_LARGE = "too_large"
UNCHANGED = "unchanged"
NOT_FINITE = "not_finite"
HIGHER_SCORE = "higher_score"


@dataclass(frozen=True)
class ObjectRemoval:
    """`Alteration` of AdaViP, steps 1 and 2: v_l = argmin over the tags of S(y_w, v without tag).

    Each tag is looked for, its region filled, and the candidate scored; the lowest score wins, the
    earlier tag among equals. `Altered.tried` has every tag: the scored ones first, lowest first,
    then the others in the order of the tags, each but the winner with a reason: "higher_score",
    "no_region", "too_large", "unchanged" (the filled picture is the clean one), "not_finite" (its
    score). Without a winner the item's reason is "no_object" if no tag was found in the picture,
    else "no_candidate". `area` is the share of pixels that differ in the winner.
    Errors: ValueError if `max_area` is not in (0, 1].
    Differs from the paper: thresholds are not printed, nor whether there is a limit to the size of
    an object; tags, boxes, fill and score are whatever the four parts are.
    """

    tagger: Tagger
    """Names the objects (paper: Recognize Anything)."""
    finder: RegionFinder
    """Finds them (paper: Grounding DINO and a mask per box)."""
    inpainter: Inpainter
    """Removes them (paper: big-LaMa)."""
    ranker: ImageRanker
    """Scores the candidates (paper: CLIP, summed over the sentences of y_w)."""
    max_area: float = 0.5
    """Largest share of the picture that counts as an object (assumed)."""

    def __post_init__(self) -> None:
        """Refuse a share outside (0, 1]."""
        if not 0 < self.max_area <= 1:
            raise ValueError(f"max_area must be in (0, 1], got {self.max_area}")

    def __call__(self, items: Sequence[MineItem]) -> list[Altered]:
        """Alter the images of one pack. A result depends on its own item only."""
        tags = self.tagger(items)
        regions = self.finder(items, tags)
        tried = [
            [self._found(tag, region) for tag, region in zip(of_item, found, strict=True)]
            for of_item, found in zip(tags, regions, strict=True)
        ]
        tried = self._removed(items, tried)
        tried = self._ranked(items, tried)
        return [_best(item, of_item) for item, of_item in zip(items, tried, strict=True)]

    def _found(self, tag: str, region: Region | None) -> Tried:
        if region is None:
            return Tried(tag, reason=NO_REGION)
        too_large = _share(region.mask) > self.max_area
        return Tried(tag, region=region, reason=TOO_LARGE if too_large else None)

    def _removed(self, items: Sequence[MineItem], tried: list[list[Tried]]) -> list[list[Tried]]:
        places = _open_places(tried)
        regions = [tried[i][j].region for i, j in places]
        images = self.inpainter([items[i] for i, _ in places], regions) if places else []
        for (i, j), image in zip(places, images, strict=True):
            changed = bool((image != items[i].image).any())
            fields = {"image": image} if changed else {"reason": UNCHANGED}
            tried[i][j] = replace(tried[i][j], **fields)
        return tried

    def _ranked(self, items: Sequence[MineItem], tried: list[list[Tried]]) -> list[list[Tried]]:
        places = _open_places(tried)
        images = [tried[i][j].image for i, j in places]
        scores = self.ranker([items[i] for i, _ in places], images) if places else []
        for (i, j), score in zip(places, scores, strict=True):
            fields = {"image_score": score} if math.isfinite(score) else {"reason": NOT_FINITE}
            tried[i][j] = replace(tried[i][j], **fields)
        return tried


def _open_places(tried: list[list[Tried]]) -> list[tuple[int, int]]:
    """(item, tag) of all that have no reason yet to be left out."""
    return [(i, j) for i, row in enumerate(tried) for j, one in enumerate(row) if not one.reason]


def _best(item: MineItem, tried: list[Tried]) -> Altered:
    scored = sorted(  # stable: the earlier tag among equals
        (one for one in tried if one.image_score is not None), key=lambda one: one.image_score
    )
    others = [one for one in tried if one.image_score is None]
    if not scored:
        found = any(one.region is not None for one in tried)
        reason = NO_CANDIDATE if found else NO_OBJECT
        return Altered(None, reason, scope="regions", tried=tuple(others))
    winner = replace(scored[0], used=True)
    losers = [replace(one, reason=HIGHER_SCORE) for one in scored[1:]]
    return Altered(
        winner.image,
        scope="regions",
        area=_share((winner.image != item.image).any(dim=0)),
        tried=(winner, *losers, *others),
    )


def _share(mask: Tensor) -> float:
    return int(mask.sum()) / mask.numel()
