"""The fault harness: a few trials for real, and what is committed of the many."""

import json
import subprocess
import sys

import pytest

from benchmarks.faults import report
from benchmarks.faults.damage import spoil
from benchmarks.faults.events import Events, read_events, redone, redone_whole
from benchmarks.faults.trials import Trial
from tests.servers import CHECKOUT


def harness(root, *options):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--root", root, *options],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=550,
    )  # fmt: skip
    lines = (root / "trials.jsonl").read_text().splitlines()
    return done, [json.loads(line) for line in lines]


def test_the_committed_results_are_good_and_the_table_of_the_page_is_theirs():
    rows = json.loads(report.RESULTS.read_text())
    assert rows and all(row["passed"] + row["skipped"] == row["trials"] for row in rows)
    page = report.PAGE.read_text()
    assert report.with_table(page, report.table(rows)) == page


def test_a_family_that_was_done_again_replaces_its_rows_and_no_others():
    line = {"stage": "score", "state": "passed", "redone": 1, "seconds": 2.0}
    first = [
        line | {"fault": "kill", "case": "flow"},
        line | {"fault": "prefect", "case": "server"},
    ]
    again = [line | {"fault": "prefect", "case": "server", "redone": 0}] * 3
    rows = report.merged(report.rows_of(first), report.rows_of(again))
    assert [(row["case"], row["trials"], row["redone_at_most"]) for row in rows] == [
        ("flow", 1, 1), ("server", 3, 0)
    ]  # fmt: skip


def test_a_stage_that_came_later_is_added_and_half_of_a_row_replaces_nothing():
    line = {"fault": "kill", "case": "flow", "state": "passed", "redone": 1, "seconds": 2.0}
    old = report.rows_of([line | {"stage": "score"}, line | {"stage": "mine"}])
    (row,) = report.merged(old, report.rows_of([line | {"stage": "report", "redone": 2}]))
    assert (row["stages"], row["trials"], row["passed"]) == (["mine", "report", "score"], 3, 3)
    assert (row["redone_at_most"], row["seconds"], row["skipped"]) == (2, 6, 0)
    with pytest.raises(ValueError, match=r"again for all of \['mine', 'score'\]"):
        report.merged(old, report.rows_of([line | {"stage": "mine"}, line | {"stage": "report"}]))


@pytest.mark.slow
def test_kills_and_damage_in_one_stage_for_real(tmp_path):
    """Each failure of a promise would end with status 1.

    tests/storage/test_store_crash.py and tests/tasks/test_pool.py kill in seconds.
    """
    done, lines = harness(tmp_path, "--only", "kill,damage", "--stages", "select",
                          "--instants", "1", "--match", "a")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line["state"] for line in lines} == {"passed"}
    assert {line["fault"] for line in lines} == {"kill", "damage"}
    again, more = harness(tmp_path, "--only", "kill", "--stages", "select",
                          "--instants", "1", "--match", "a")  # fmt: skip
    assert again.returncode == 0 and len(more) == len(lines)  # nothing is done twice


@pytest.mark.slow
def test_every_fault_in_one_stage(tmp_path):
    done, lines = harness(tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {line["state"] for line in lines} <= {"passed", "skipped"}


def test_what_is_computed_again_is_counted_and_what_was_stored_is_told_apart(tmp_path):
    events = Events(tmp_path / "events")
    for what, shard in [("begin", 0), ("end", 0), ("begin", 1), ("begin", 1), ("end", 1)]:
        events.tell(what, stage="mine", shard=shard)
    assert redone(read_events(tmp_path / "events")) == 1
    assert redone_whole(read_events(tmp_path / "events")) == []
    events.tell("begin", stage="mine", shard=0)
    assert redone_whole(read_events(tmp_path / "events")) == [("mine", 0)]


@pytest.mark.parametrize(("how", "size"), [("cut", None), ("flipped", 100), ("gone", -1)])
def test_damage_spares_what_shares_its_bytes(tmp_path, how, size):
    (tmp_path / "whole").write_bytes(bytes(100))
    (tmp_path / "link").hardlink_to(tmp_path / "whole")
    path = spoil([tmp_path / "link"], how, Trial("damage", how, "mine").random())
    assert (tmp_path / "whole").read_bytes() == bytes(100)
    found = path.read_bytes() if path.exists() else None
    if size == -1:
        assert found is None
    else:
        assert found != bytes(100) and (len(found) == size if size else len(found) < 100)
