"""What a user asks of a store, each in a process as fresh as a command's: prints seconds as JSON.

`python -m benchmarks.size.asked RECIPE SETTINGS ROOT`
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mbpo_core.recipes import configured
from storage.catalog import query, rebuild_catalog
from storage.store import ArtifactStore
from tasks.plan import plan
from tasks.runtime import Runtime

SQL = {
    "count": "select count(*) from samples",
    "reasons": "select reason, count(*) from selection group by all order by all",
    "join": """select question, response, iig_mean, recovered
               from samples join scores using (sample_id) join selection using (sample_id)
               join negatives using (sample_id)
               where chosen order by iig_mean desc limit 10""",
}
"""Queries; `join` is the README's."""


def main() -> None:
    """Ask, and print."""
    name, settings, root = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
    recipe, store = configured(name, settings), ArtifactStore(root)
    found = {
        "plan": _seconds(lambda: plan(recipe, Runtime(root=root))),
        "plan_again": _seconds(lambda: plan(recipe, Runtime(root=root))),
        "catalogue": _seconds(lambda: rebuild_catalog(store)),
    }
    for what, sql in SQL.items():
        found[f"sql_{what}"] = _seconds(lambda sql=sql: query(root, sql).fetchall())
    print(json.dumps({what: round(seconds, 3) for what, seconds in found.items()}))


def _seconds(do: Callable[[], object]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
