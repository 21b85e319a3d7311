"""Small artifacts that are made from each other, and runs that used them."""

import pyarrow as pa

from storage.identity import Identity
from storage.runs import finish_run, record_stage, start_run
from storage.tables import TableSpec, rows_to_table, schema_text

ROWS = TableSpec("things", pa.schema([("thing_id", pa.int64())]))
STAGES = ("first", "second", "third")


def make(store, stage, number, inputs=(), rows=1):
    """Commit a small artifact whose content is its number's alone."""
    made = Identity(stage, 1, schema_text([ROWS]), {"number": number})
    table = rows_to_table([{"thing_id": number * 1000 + row} for row in range(rows)], ROWS)
    with store.lock(stage, made.key):
        store.write_shard(stage, made.key, 0, {"things": table})
        named = {f"input{place}": ref for place, ref in enumerate(inputs)}
        return store.commit(
            stage, made.key, [0], tables=[ROWS], identity=made, inputs=named, run_id="r"
        )


def record(store, run_id, refs, recipe="mbpo", status="completed", config=None):
    start_run(store.root, run_id, recipe, config)
    for ref in refs:
        record_stage(store.root, run_id, ref.stage, ref)
    finish_run(store.root, run_id, status)


def left(store):
    return {ref for ref, _ in store.refs()}


def chain(store, number):
    first = make(store, "first", number)
    second = make(store, "second", number, [first])
    return [first, second, make(store, "third", number, [second])]
