"""Finished runs of the reproduction: found again, never mistaken, and one for real."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.reproduce import bases, runs
from benchmarks.reproduce.bases import COMMITTED, Base, base_model, problems, recorded
from benchmarks.reproduce.figures import figure4, table2
from benchmarks.reproduce.ledger import Ledger, settings_id
from benchmarks.reproduce.paired import paired, value
from benchmarks.reproduce.rows import ROWS
from benchmarks.reproduce.runs import finished, run_all, run_of
from benchmarks.reproduce.tables import report
from mbpo_core.testbed.build import RECIPE, shortened
from tests.benchmarks.reproduce_records import record
from tests.pipelines import SMALL

BASE = Base(0, COMMITTED, "print of base-0")
OTHER = Base(1, Path("elsewhere"), "print of base-1")
TINY = {name: value for name, value in SMALL.items() if not name.startswith("evaluate.")}


def done(each):
    return record(each.row.name, each.base.name, each.seed, recipe=settings_id(each.recipe),
                  fingerprint=each.base.fingerprint)  # fmt: skip


def test_what_is_done_is_found_and_a_change_of_anything_is_not(tmp_path):
    ledger = Ledger(tmp_path / "runs.jsonl")
    each = run_of(ROWS["full"], {}, BASE, "final", 2)
    ledger.append(done(each), each.recipe)
    found = finished(each, ledger.read())
    assert found == done(each)
    for other in (
        run_of(ROWS["full"], {}, BASE, "final", 3),
        run_of(ROWS["full"], {}, OTHER, "final", 2),
        run_of(ROWS["full"], {}, BASE, "dev", 2),
        run_of(ROWS["iig-sum"], {}, BASE, "final", 2),
        run_of(ROWS["full"], {"full": {"train.learning_rate": 3e-4}}, BASE, "final", 2),
    ):
        assert finished(other, ledger.read()) is None
    moved = replace(OTHER, folder=Path("somewhere-else"))
    again = run_of(ROWS["full"], {}, moved, "final", 2)
    ledger.append(done(again), again.recipe)
    assert finished(run_of(ROWS["full"], {}, OTHER, "final", 2), ledger.read()) == done(again)
    kinds = [json.loads(line)["kind"] for line in ledger.path.read_text().splitlines()]
    assert kinds == ["recipe", "run", "run"]


def test_a_setting_that_the_project_got_later_is_at_its_default_and_one_it_lost_is_not_found(
    tmp_path,
):
    ledger = Ledger(tmp_path / "runs.jsonl")
    each = run_of(ROWS["full"], {}, BASE, "final", 0)
    ledger.append(done(each), each.recipe)
    settings, run = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    del settings["settings"]["train"]["weight_decay"]
    ledger.path.write_text(json.dumps(settings) + "\n" + json.dumps(run) + "\n")
    assert finished(each, ledger.read()) is not None
    settings["settings"]["train"]["gone"] = 1
    ledger.path.write_text(json.dumps(settings) + "\n" + json.dumps(run) + "\n")
    assert finished(each, ledger.read()) is None


def test_a_spoilt_line_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"kind": "run"\n')
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 1"):
        Ledger(path).read()


def test_interrupted_runs_go_on_where_they_were(tmp_path, monkeypatch):
    asked = []

    def measured(each, root):
        asked.append(each.seed)
        if each.seed == 1 and len(asked) < 4:
            raise RuntimeError("broken")
        return done(each)

    monkeypatch.setattr(runs, "measured", measured)
    ledger = Ledger(tmp_path / "runs.jsonl")
    three = [run_of(ROWS["sft"], {}, BASE, "final", seed) for seed in range(3)]
    with pytest.raises(ExceptionGroup, match="1 of 3 runs failed"):
        list(run_all(three, ledger, tmp_path))
    assert [each.seed for each in ledger.read().records] == [0, 2]
    list(run_all(three, ledger, tmp_path))
    assert asked == [0, 1, 2, 1]


def test_a_model_without_the_prejudice_is_no_base_model():
    measured = json.loads((COMMITTED / "measurement.json").read_text())
    assert problems(measured) == []
    measured["splits"]["dev"]["counter"]["accuracy"]["color"]["share"] = 0.99
    assert problems(measured) == ["dev: counter colours 0.99 is not in 0.25 to 0.75"]


def test_another_seed_trains_another_model_and_one_that_fails_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bases, "measure", lambda folder: _measured_as_committed())
    tiny = shortened(RECIPE, 1)
    one, two = (base_model(seed, tmp_path, tiny) for seed in (1, 2))
    assert len({one.fingerprint, two.fingerprint, base_model(0, tmp_path).fingerprint}) == 3
    assert base_model(1, tmp_path, tiny) == one
    monkeypatch.undo()
    path = tmp_path / "bases.json"
    recorded(one, path)
    recorded(one, path)
    with pytest.raises(ValueError, match="gave other weights"):
        recorded(replace(one, fingerprint="other"), path)
    spoilt = json.loads((one.folder / "measurement.json").read_text())
    spoilt["splits"]["test"]["consistent"]["chair_i"]["share"] = 0.9
    (one.folder / "measurement.json").write_text(json.dumps(spoilt))
    with pytest.raises(ValueError, match=r"does not qualify: test: typical CHAIR_i 0\.9"):
        base_model(1, tmp_path, tiny)


def _measured_as_committed():
    return json.loads((COMMITTED / "measurement.json").read_text())


def test_one_run_for_real_from_data_to_the_page(tmp_path):
    """On a copy of the committed model, read as a folder, as other base models are."""
    shutil.copytree(COMMITTED, tmp_path / "base-1")
    base = base_model(1, tmp_path)
    ledger = Ledger(tmp_path / "runs.jsonl")
    full = run_of(ROWS["full"], {}, base, "final", 0, scenes=2, changes=TINY)
    untrained = run_of(ROWS["base"], {}, base, "final", 0, scenes=2)
    found = {each.row.name: done for each, done in run_all([untrained, full], ledger, tmp_path)}
    assert ledger.read().records == list(found.values())
    run = found["full"]
    assert run.steps == 2 and min(run.groups) >= 0 and sum(run.groups) > 0
    assert [step for step, _ in run.curves["chosen"]] == [0, 1, 2]
    for each in found.values():
        counter = each.scenes["counter"]
        assert counter["asked"] == [6, 6] and len(counter["mentions"]) == 2
        share = sum(counter["hallucinated"]) / sum(counter["mentions"])
        assert value(each, "CHAIR_i") == pytest.approx(share, abs=1e-5)
        assert value(each, "accuracy, counter") == pytest.approx(
            sum(counter["right"]) / 12, abs=1e-5
        )
    by_row = {name: {("base-1", 0): each} for name, each in found.items()}
    assert paired(by_row["full"], by_row["base"], "CHAIR_i").student.n == 1
    assert "one run" in report(by_row) and "<svg" in table2(by_row) + figure4(by_row)
