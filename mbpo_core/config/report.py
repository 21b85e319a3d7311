"""How much of a run its report page holds."""

from __future__ import annotations

from pydantic import Field

from mbpo_core.config.base import Frozen


class ReportConfig(Frozen):
    """Sizes of the page; nothing here changes a number (all assumed)."""

    rows: int = Field(10_000, ge=1)
    """Rows of the gallery: selected samples first, then the others."""
    pictures: int = Field(500, ge=0)
    """Samples whose pictures are in the page, at most: three small ones each."""
    picture_bytes: int = Field(6_000_000, ge=0)
    """Of all of these pictures together: photographs reach it before `pictures`."""
    picture_side: int = Field(256, ge=32, le=1024)
    """Longest side of a picture in the page, in pixels; larger ones are reduced."""
