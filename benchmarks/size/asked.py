"""What a user asks of a store, each in a process as fresh as a command's: prints seconds as JSON.

`python -m benchmarks.size.asked RECIPE SETTINGS ROOT`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.timing import taken
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
    questions: dict[str, Callable[[], object]] = {
        "plan": lambda: plan(recipe, Runtime(root=root)),
        "plan_again": lambda: plan(recipe, Runtime(root=root)),
        "catalogue": lambda: rebuild_catalog(store),
        **{f"sql_{what}": partial(_answered, root, sql) for what, sql in SQL.items()},
    }
    found = {}
    for what, ask in questions.items():
        with taken() as seconds:
            ask()
        found |= {f"{what}_seconds": seconds.wall, f"{what}_cpu_seconds": seconds.cpu}
    print(json.dumps({what: round(each, 3) for what, each in found.items()}))


def _answered(root: Path, sql: str) -> object:
    return query(root, sql).fetchall()


if __name__ == "__main__":
    main()
