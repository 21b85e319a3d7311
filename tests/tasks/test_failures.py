"""A stage is not committed where too many of its rows failed; nothing of it is lost."""

import json
import re

import pytest
from typer.testing import CliRunner

from flows.cli import app
from mbpo_core.records import Reason
from storage.catalog import query
from tasks.failures import AT_LEAST, FAILURES, TooManyFailuresError, is_failure
from tasks.inline import inline
from tasks.pipeline import Choice
from tasks.registry import STAGES
from tests.pipelines import rows, run, runtime, small_recipe
from tests.tasks.test_bad_input import png, record

INGEST = Choice(only=("ingest",))


def recipe_with(folder, good, missing):
    (folder / "good.png").write_bytes(png())
    records = [record(f"good-{n}", "good.png", f"<image>\n{n}?") for n in range(good)]
    records += [record(f"gone-{n}", f"gone-{n}.png") for n in range(missing)]
    path = folder / "data.json"
    path.write_text(json.dumps(records))
    return small_recipe(ingest__source={"kind": "files", "path": str(path)})


def ingest(recipe, root, **how):
    return run(recipe, runtime(root, **how), INGEST, run_shards=inline())["ingest"]


def test_too_many_failures_stop_a_stage_and_nothing_is_computed_twice(tmp_path):
    recipe, root = recipe_with(tmp_path, 50, AT_LEAST + 2), tmp_path / "store"
    with pytest.raises(TooManyFailuresError) as caught:
        ingest(recipe, root)
    told = str(caught.value)
    assert told.startswith(
        "ingest: 12 of 62 rows failed (19.4%, allowed are 2.0%): 12 missing_file"
    )
    assert "gone-0: missing_file (gone-0.png: No such file or directory)" in told
    assert "--runtime max_failures=0.2 " in told and '{"max_failures": 0.2}' in told
    found = query(root, re.search(r'mbpo sql "(.*)"', told)[1]).fetchall()
    assert len(found) == 12
    with pytest.raises(TooManyFailuresError):
        ingest(recipe, root, max_failures=0.19)
    accepted = ingest(recipe, root, max_failures=0.2)
    assert accepted.computed == () and len(rows(root, "ingest", "samples")) == 62
    assert ingest(recipe, root, max_failures=0.0).ref == accepted.ref  # judged once


@pytest.mark.parametrize(
    ("good", "missing", "allowed", "stops"),
    [
        (5, AT_LEAST - 1, 0.02, False),  # a pilot: a few bad rows are no pattern
        (5, AT_LEAST, 0.02, True),
        (5, AT_LEAST, 0.5, True),
        (AT_LEAST, AT_LEAST, 0.5, False),
        (0, 3, 0.02, True),  # nothing is left
        (0, 3, 1.0, False),
    ],
)
def test_the_share_counts_from_a_number_of_failures_on(tmp_path, good, missing, allowed, stops):
    recipe = recipe_with(tmp_path, good, missing)
    if stops:
        with pytest.raises(TooManyFailuresError):
            ingest(recipe, tmp_path / "store", max_failures=allowed)
    else:
        ingest(recipe, tmp_path / "store", max_failures=allowed)


def test_the_command_line_says_it_in_words_and_takes_the_share(tmp_path, monkeypatch):
    recipe = recipe_with(tmp_path, 5, 12)
    source = ["--source", recipe.ingest.source.path, "--root", str(tmp_path / "store")]
    command = ["stage", "ingest", *source, "--workers", "1"]
    stopped = CliRunner().invoke(app, command)
    assert stopped.exit_code == 1 and "12 of 17 rows failed" in stopped.output
    assert "Traceback" not in stopped.output
    done = CliRunner().invoke(app, [*command, "--runtime", "max_failures=0.71"])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app, [*command, "--runtime", "max_failures=2"]).exit_code == 2


def test_every_stage_says_where_its_failures_stand_and_by_which_column():
    assert FAILURES.keys() == STAGES.keys()
    for name, counted in FAILURES.items():
        (spec,) = [spec for spec in STAGES[name].tables if spec.name == counted.table]
        assert {counted.name, "reason"} <= set(spec.schema.names)


def test_what_the_page_says_of_reasons_is_what_is_counted():
    """docs/poison.md has a row for each reason of ingest, on the side where it is counted."""
    from tests.servers import CHECKOUT

    page = (CHECKOUT / "docs" / "poison.md").read_text()
    table = dict(re.findall(r"^\| `([a-z_]+)` \| (failure|by design) \|", page, re.MULTILINE))
    for reason in Reason:
        side = "failure" if is_failure(str(reason), FAILURES["ingest"]) else "by design"
        assert table[str(reason)] == side, reason
    counted = {reason for each in FAILURES.values() for reason in each.reasons}
    assert {reason for reason in counted if table.get(reason) != "failure"} == set()
