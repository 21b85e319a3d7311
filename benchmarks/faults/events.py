"""What the processes of a run tell about themselves, in a file that outlives all of them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Events:
    """One line a fact; a line is one write, so that no kill leaves half of one."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(self, what: str, **facts: Any) -> None:
        """Append a fact with the process that tells it and the moment."""
        event = {"what": what, "pid": os.getpid(), "at": time.monotonic(), **facts}
        os.write(self._descriptor, (json.dumps(event) + "\n").encode())


def read_events(path: Path) -> list[Event]:
    """Return what was told so far, in order."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def computed(events: list[Event]) -> list[tuple[str, int]]:
    """Return (stage, shard) of every computation that was begun, in order."""
    return [(e["stage"], e["shard"]) for e in events if e["what"] == "begin"]


def redone(events: list[Event]) -> int:
    """Return how many computations of shards were begun that had been begun before."""
    begun = computed(events)
    return len(begun) - len(set(begun))


def redone_whole(events: list[Event]) -> list[tuple[str, int]]:
    """Return the shards that were computed although they had been stored: never excused."""
    stored: set[tuple[str, int]] = set()
    again = []
    for event in events:
        if event["what"] == "end":
            stored.add((event["stage"], event["shard"]))
        elif event["what"] == "begin" and (event["stage"], event["shard"]) in stored:
            again.append((event["stage"], event["shard"]))
    return again
