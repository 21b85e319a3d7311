"""What can go wrong in the store, each with a name that a caller can catch."""


class StoreError(Exception):
    """Base of every error that the store raises on its own account."""


class IncompleteArtifact(StoreError):
    """A commit was refused: shards, rows or ids that were promised are not there."""


class UnknownArtifact(StoreError, LookupError):
    """No committed artifact answers to this name."""


class AmbiguousArtifact(StoreError, LookupError):
    """Several artifacts answer to this name; the message lists them."""


class DamagedArtifact(StoreError):
    """A committed artifact's manifest cannot be read."""


class LockBusy(StoreError):
    """Another process builds this artifact and the caller did not want to wait."""


class DiskError(StoreError):
    """The disk of the store is full or does not let itself be written; the message names it."""
