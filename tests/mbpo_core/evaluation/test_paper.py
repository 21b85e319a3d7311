"""The paper's tables, and the places of our figures in them."""

import re
from pathlib import Path

import pytest

from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.paper import columns, ours, paper_rows, source

DOCS = Path(__file__).parents[3] / "docs" / "recipes.md"


def test_the_tables_are_complete():
    rows = paper_rows()
    assert [sum(r.table == t for r in rows) for t in (1, 2, 3)] == [12, 6, 5]
    assert all(len(row.values) == len(columns()) == 10 for row in rows)
    by_name = {(r.table, r.policy, r.row): r.values for r in rows}
    assert len(by_name) == len(rows)
    same = by_name[2, "Qwen2-VL-7B", "offline adversarial"]
    assert by_name[3, "Qwen2-VL-7B", "(20,4)"] == same
    assert "2506.08022" in source()[0]


def test_the_page_about_recipes_prints_the_same_numbers():
    numbers = {tuple(map(float, re.findall(r"(?<![\w(,.])\d+(?:\.\d+)?(?![\w,)])", line)))
               for line in DOCS.read_text().splitlines() if line.startswith("|")}  # fmt: skip
    for row in paper_rows():
        assert any(row.values == found[-10:] for found in numbers), row


def test_a_figure_is_found_by_the_closest_measure_and_put_on_the_papers_scale():
    by_name = {column.name: column for column in columns()}
    near = {"benchmark": "mmbench", "kind": "all", "metric": "circular", "value": 0.789}
    far = {"benchmark": "lmms-eval/mmbench_en_dev", "kind": "all", "metric": "gpt_eval_score",
           "value": 78.9}  # fmt: skip
    value, which = ours([far, near], by_name["MMBench"])
    assert value == pytest.approx(78.9) and which == "mmbench circular (all)"
    there = "lmms-eval/mmbench_en_dev gpt_eval_score (all)"
    assert ours([far], by_name["MMBench"]) == (78.9, there)
    assert ours([near | {"kind": "other"}, far | {"value": None}], by_name["MMBench"]) is None
    assert [c.name for c in by_name.values() if c.better < 0] == [
        "MMHal rate", "CHAIR_s", "CHAIR_i"
    ]  # fmt: skip


def test_every_place_is_a_benchmark_of_ours_or_of_lmms_eval():
    for column in columns():
        for benchmark, *_ in column.ours:
            assert benchmark in BENCHMARKS or benchmark.startswith("lmms-eval/")
