"""The page and the figures of the reproduction, and that what is committed is made of the runs."""

import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.reproduce import svg
from benchmarks.reproduce.__main__ import IMAGES, RUNS, TRIALS, _order
from benchmarks.reproduce.bases import Base, committed_records
from benchmarks.reproduce.claims import CLAIMS
from benchmarks.reproduce.figures import figure4, table2
from benchmarks.reproduce.ledger import Ledger, settings_id
from benchmarks.reproduce.rows import GROUPS, ROWS
from benchmarks.reproduce.runs import run_of
from benchmarks.reproduce.tables import final_runs, report
from benchmarks.reproduce.trials import SETTINGS, committed_settings
from tests.benchmarks.reproduce_records import record, runs
from tests.servers import CHECKOUT

PAGE = CHECKOUT / "benchmarks/reproduce/results.md"
CURVES = {"chosen": [[0, 1.0], [100, 2.0]], "rejected": [[0, 0.5], [100, 0.4]],
          "reward": [[step, 0.5 + step / 400] for step in range(1, 101)]}  # fmt: skip
ROWS_THERE = ("full", "sft", "online", "offline-adversarial")
SOME = {name: runs(name, 3, bases=("base-0",), chair=0.1 * n, curves=CURVES)
        for n, name in enumerate(ROWS_THERE, start=1)}  # fmt: skip
SOME["base"] = {("base-0", 0): record("base", chair=0.6)}


def test_the_page_has_every_claim_every_row_and_says_what_was_not_run():
    page = report(SOME)
    for claim in CLAIMS:
        assert f"| {claim.text} |" in page
    for group in GROUPS.values():
        assert group.title in page
        for name in group.rows:
            assert f"\n| {name} | " in page
    assert "| dpo | not run |" in page and "| sft | not run |" not in page
    assert "| mbpo-shuffled |" in page  # the controls of `make compare`
    widths = {}
    for block in page.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        widths[block] = {line.count("|") for line in rows}
    assert all(len(each) <= 1 for each in widths.values())


def test_final_runs_are_those_of_the_recorded_base_models_and_the_settings(tmp_path):
    base = Base(0, tmp_path, "the print")
    records = {"base-0": {"seed": 0, "fingerprint": "the print"}}
    ledger = Ledger(tmp_path / "runs.jsonl")
    written = [("full", 1, "the print"), ("full", 2, "another"), ("base", 0, "the print")]
    for name, seed, print_ in written:
        each = run_of(ROWS[name], {}, base, "final", seed)
        made = record(name, seed=seed, recipe=settings_id(each.recipe), fingerprint=print_)
        ledger.append(made, each.recipe)
    found = final_runs(ledger.read(), {}, records=records)
    assert {name: list(units) for name, units in found.items() if units} == {
        "full": [("base-0", 1)], "base": [("base-0", 0)]
    }  # fmt: skip
    other = {"full": {"train.learning_rate": 7e-4}}
    assert not final_runs(ledger.read(), other, records=records)["full"]


def test_whole_pairs_come_early():
    bases = [Base(seed, CHECKOUT, str(seed)) for seed in (0, 1)]
    order = [(seed, base.seed, row) for seed, base, row in _order(("a", "b"), 2, bases)]
    assert order[:4] == [(0, 0, "a"), (0, 0, "b"), (0, 1, "a"), (0, 1, "b")] and len(order) == 8


def test_figures_are_well_formed_and_show_every_run():
    page = ElementTree.fromstring(table2(SOME))
    dots = [each for each in page.iter() if each.get("class", "").endswith(" dot")]
    assert len(dots) == 2 * (1 + 3 * len(ROWS_THERE)) + 1  # two panels, and the legend
    words = "".join(page.itertext())
    assert "not run" in words and "full" in words
    drawn = figure4(SOME)
    assert drawn.count("<polygon") == 3 and "rejected" in drawn
    assert ElementTree.fromstring(figure4({})) is not None


@pytest.mark.parametrize("values", [[0.31, 0.34], [0.0, 1.0], [-2.0, 55.0], [0.5], []])
def test_ticks_enclose_what_they_measure(values):
    ticks = svg.ticks(values)
    assert ticks == sorted(set(ticks)) and 2 <= len(ticks) <= 8
    assert all(ticks[0] <= each <= ticks[-1] for each in values)


def test_the_committed_page_and_figures_are_those_of_the_committed_runs():
    found = final_runs(RUNS.read(), committed_settings() if SETTINGS.is_file() else {})
    assert PAGE.read_text() == report(found)
    assert (IMAGES / "reproduce-table2.svg").read_text() == table2(found)
    assert (IMAGES / "reproduce-figure4.svg").read_text() == figure4(found)


@pytest.mark.parametrize("ledger", [RUNS, TRIALS], ids=["runs", "trials"])
def test_dpo_and_sft_were_trained_on_as_many_pairs_as_the_adversarial_row(ledger):
    pairs = {}
    for each in ledger.read().records:
        contestant, _, number = each.row.partition(" #")
        if contestant in ("offline-adversarial", "dpo", "sft"):
            pairs.setdefault((each.base, each.seed, number), set()).add(each.groups[0])
    assert all(len(found) == 1 for found in pairs.values()), pairs


@pytest.mark.skipif(not RUNS.path.is_file(), reason="nothing was run on the final part yet")
def test_the_committed_runs_are_final_ones_of_recorded_base_models():
    prints = {name: found["fingerprint"] for name, found in committed_records().items()}
    assert SETTINGS.is_file()
    for each in RUNS.read().records:
        assert each.part == "final" and prints[each.base] == each.fingerprint
        assert each.row in ROWS and len(each.scenes["counter"]["asked"]) == 100


def test_two_base_models_without_seeds_make_no_interval():
    two = runs("base", 1, chair=0.5)
    line = next(text for text in report({"base": two}).splitlines() if text.startswith("| base |"))
    values = [found.metrics["counter"]["all"]["chair_i"] for found in two.values()]
    assert f"| {sum(values) / 2:.3f} ({values[0]:.3f}, {values[1]:.3f}) |" in line
    drawn, seeded = table2({"base": two}), table2({"base": runs("base", 2, chair=0.5)})
    assert "plain line" in seeded.split("not run")[0]
    assert "plain line" not in drawn.split("not run")[0]
