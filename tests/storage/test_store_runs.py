"""Records of runs when the clock does not behave."""

import json
from datetime import UTC, datetime, timedelta

import pytest

import storage.runs
from storage.runs import read_runs, start_run


@pytest.mark.parametrize("hours", [-1, 0, 24])
def test_the_run_that_began_last_is_the_latest_by_any_clock(tmp_path, monkeypatch, hours):
    start_run(tmp_path, "b-first", "mbpo")

    class Jumped(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr(storage.runs, "datetime", Jumped)
    start_run(tmp_path, "a-second", "mbpo")
    assert [record.run_id for record in read_runs(tmp_path)] == ["b-first", "a-second"]


def test_a_damaged_start_in_another_record_holds_nobody_up(tmp_path):
    start_run(tmp_path, "damaged", "mbpo")
    path = tmp_path / "runs" / "damaged.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started_at": "20?6"}))
    record = start_run(tmp_path, "next", "mbpo")
    assert datetime.fromisoformat(record.started_at) <= datetime.now(UTC)
