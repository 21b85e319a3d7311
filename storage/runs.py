"""Run records: which artifact each stage of a run used, in `root/runs/<run_id>.json`."""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from storage.errors import LockBusy
from storage.files import atomic_write_text
from storage.locks import file_lock
from storage.refs import ArtifactRef

logger = logging.getLogger(__name__)

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class RunRecord:
    """One run of a recipe and the artifacts that it used, built or found."""

    run_id: str
    recipe: str
    started_at: str
    """UTC, ISO 8601."""
    stages: dict[str, ArtifactRef] = field(default_factory=dict)
    status: str = "running"
    settings: dict[str, Any] = field(default_factory=dict)
    """The whole recipe as JSON values, so that what was made can be made again."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        stages = {stage: ref.to_dict() for stage, ref in self.stages.items()}
        return {**vars(self), "stages": stages}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        stages = {stage: ArtifactRef.from_dict(ref) for stage, ref in value["stages"].items()}
        return cls(**{**value, "stages": stages})


def start_run(
    root: Path, run_id: str, recipe: str, settings: Mapping[str, Any] | None = None
) -> RunRecord:
    """Record that a run began; a run that is tried again keeps its start and its stages.

    It is the latest from now on, even when the clock was set back.
    """
    with records_lock(root):
        now = _after(read_runs(root))
        known = _path(root, run_id).exists()
        record = read_run(root, run_id) if known else RunRecord(run_id, recipe, now)
        settings = dict(settings or {})
        return _write(root, replace(record, recipe=recipe, status="running", settings=settings))


def record_stage(root: Path, run_id: str, stage: str, ref: ArtifactRef) -> RunRecord:
    """Record which artifact a stage of the run used."""
    with records_lock(root):
        record = read_run(root, run_id)
        return _write(root, replace(record, stages={**record.stages, stage: ref}))


def finish_run(root: Path, run_id: str, status: str) -> RunRecord:
    """Record how the run ended, such as `completed` or `failed`."""
    with records_lock(root):
        return _write(root, replace(read_run(root, run_id), status=status))


def read_run(root: Path, run_id: str) -> RunRecord:
    """Read one record; raises FileNotFoundError for a run that never started."""
    text = _path(root, run_id).read_text(encoding="utf-8")
    return RunRecord.from_dict(json.loads(text))


def read_runs(root: Path) -> list[RunRecord]:
    """Read all records, the oldest first; one that cannot be read is skipped with a warning."""
    records = []
    for path in sorted((Path(root) / "runs").glob("*.json")):
        try:
            records.append(read_run(root, path.stem))
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("skipped run record %s: %s", path, error)
    return sorted(records, key=lambda record: (record.started_at, record.run_id))


def _after(records: list[RunRecord]) -> str:
    now = datetime.now(UTC)
    for record in records:
        with suppress(ValueError, TypeError):  # a damaged record holds nobody up
            now = max(now, datetime.fromisoformat(record.started_at) + timedelta(microseconds=1))
    return now.isoformat(timespec="microseconds")


def records_lock(root: Path) -> AbstractContextManager[None]:
    """Hold the records of runs and the tags: what is kept and what is not hangs on them.

    Stages of one run may end at the same time in several threads or processes.
    """
    return file_lock(Path(root) / "locks" / "runs.lock")


@contextmanager
def in_progress(root: Path, run_id: str) -> Iterator[None]:
    """Hold a run for as long as this process works on it; taken before `start_run`."""
    with file_lock(_lock(root, run_id)):
        yield


def is_in_progress(root: Path, record: RunRecord) -> bool:
    """Say whether a process works on a run; one that died says `running` for ever and does not."""
    if record.status != "running" or not _lock(root, record.run_id).exists():
        return False
    try:
        with file_lock(_lock(root, record.run_id), wait=False):
            return False
    except LockBusy:
        return True


def _lock(root: Path, run_id: str) -> Path:
    return Path(root) / "locks" / "runs" / f"{_path(root, run_id).stem}.lock"


def _path(root: Path, run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise ValueError(f"run id must be letters, digits, '.', '_' or '-', got {run_id!r}")
    return Path(root) / "runs" / f"{run_id}.json"


def _write(root: Path, record: RunRecord) -> RunRecord:
    text = json.dumps(record.to_dict(), indent=1, sort_keys=True)
    atomic_write_text(_path(root, record.run_id), text + "\n")
    return record
