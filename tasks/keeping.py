"""What no run could make again, so that garbage collection keeps it."""

from __future__ import annotations

from storage.manifest import Manifest


def irreplaceable(manifest: Manifest) -> str | None:
    """Return why an artifact cannot be made again; None if a run of its recipe makes it."""
    if manifest.ref.stage == "lmms":
        return "figures that lmms-eval measured elsewhere"
    if any(part.table == "reviews" and part.rows for part in manifest.parts):
        return "reviews that a judge was asked for"
    return None
