"""The catalogue follows the stages without holding them up."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from storage.catalog import rebuild_catalog
from storage.store import ArtifactStore


class CatalogueKeeper:
    """Rebuilds the catalogue beside the next stage; changes that queue up cost one rebuild."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="catalogue")
        self._newest: Future[Path] | None = None

    def refresh(self) -> None:
        """Rebuild soon; one that has not begun yet will see what is there now."""
        newest = self._newest
        if newest is None or newest.running() or newest.done():
            self._newest = self._thread.submit(rebuild_catalog, self._store)

    def finish(self) -> None:
        """Rebuild a last time and wait for it; raises what it raises."""
        self.refresh()
        self._thread.shutdown()
        assert self._newest is not None
        self._newest.result()
