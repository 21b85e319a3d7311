"""The selection of samples as a query over whole tables: millions of rows in seconds."""

from importlib.resources import files

import duckdb
import numpy as np
import pyarrow as pa

QUERIES = ("selection", "selection_table")
"""The queries that decide the rows."""


def selection_table(
    samples: pa.Table,
    scores: pa.Table,
    *,
    seed: int,
    presample: int | None,
    k: int | None,
    key: str | None,
) -> pa.Table:
    """Return sample_id, chosen, rank, key, value, reason: one row a sample, in their order.

    `samples` has sample_id and closed, `scores` has sample_id, iig_mean and iig_sum. The rule, and
    what the settings mean, is `sql/selection.sql`. A sample without a score has no row.
    """
    numbered = samples.append_column("position", pa.array(np.arange(samples.num_rows)))
    # One thread: two are no faster here, and workers share the machine.
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("samples", numbered)
        connection.register("scores", scores)
        connection.execute(
            "CREATE TEMP TABLE scored AS SELECT sample_id, closed, position, iig_mean, iig_sum "
            "FROM samples JOIN scores USING (sample_id)"
        )
        connection.execute(
            f"CREATE TEMP TABLE selected AS {query_text('selection')}",
            {"seed": seed, "presample": presample, "k": k, "key": key},
        )
        found = connection.sql(query_text("selection_table"), params={"key": key})
        return found.to_arrow_table()


def query_text(name: str) -> str:
    """Return the text of a query in `storage/sql`."""
    return (files("storage") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
