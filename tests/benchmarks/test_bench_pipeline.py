"""The benchmarks of the pipeline run at their smallest and print what others read."""

import re
import time

import pytest

from benchmarks import bench_pipeline, bench_scaling
from benchmarks.pipeline_run import Run, breakdown
from benchmarks.stages import run_inline
from benchmarks.timing import exponent, length, union, within
from tests.pipelines import SMALL, small_recipe

RATIO = re.compile(r"ratio ([a-z][a-z0-9_]*) (-?\d+\.\d{3})")
PARTS = ("start_to_first_shard", "shards_without_model", "load_and_read", "between_shards",
         "last_shard_to_end")  # fmt: skip


def read(printed):
    """Return (name, figures) of each line, and the ratios by name."""
    lines = printed.splitlines()
    ratios = {m[1]: float(m[2]) for line in lines if (m := RATIO.fullmatch(line))}
    figures = []
    for line in (line for line in lines if not line.startswith("ratio ")):
        name, _, rest = line.partition(": ")
        pairs = [word.split("=") for word in rest.split()]
        figures.append((name, {key: float(value) for key, value in pairs}))
    assert len(ratios) + len(figures) == len(lines), printed
    return figures, ratios


def test_select_and_ingest_print_figures_and_ratios(capsys):
    words = ["select", "ingest", "--rows", "300", "--images", "6", "12", "--kinds", "parquet"]
    bench_pipeline.main(words)
    figures, ratios = read(capsys.readouterr().out)
    assert [name for name, _ in figures] == ["select", "ingest parquet", "ingest parquet"]
    select, few, many = (each for _, each in figures)
    assert select["rows"] == 300 and 0 < select["chosen"] < 300
    assert (few["images"], many["images"]) == (6, 12)
    assert all(each["peak_mib"] >= each["before_mib"] > 0 for each in (few, many))
    assert set(ratios) == {
        "select_goal_over_cpu_seconds", "select_goal_over_wall_seconds",
        "ingest_memory_parquet", "ingest_memory_parquet_above_imports",
    }  # fmt: skip


def test_scaling_prints_an_exponent_for_each_stage(capsys):
    bench_scaling.main(["--sizes", "4", "8"])
    figures, ratios = read(capsys.readouterr().out)
    stages = ("score", "attack", "ingest", "select")
    assert [name for name, _ in figures] == [f"scaling {stage}" for stage in stages]
    assert all(set(each) == {"n4", "n8"} for _, each in figures)
    assert set(ratios) == {
        f"scaling_{stage}_{which}" for stage in stages for which in ("exponent", "last_exponent")
    }


def test_every_second_of_a_run_is_told_once(tmp_path):
    started = time.time()
    made = run_inline(small_recipe(), tmp_path)
    flow = (started, time.time())
    parts = breakdown(Run(flow, flow, [each.ref for each in made.values()]), tmp_path)
    assert all(parts[part] > 0 for part in PARTS)
    assert parts["outside"] == pytest.approx(sum(parts[part] for part in PARTS))
    assert parts["outside"] + parts["model"] == pytest.approx(flow[1] - flow[0])
    assert parts["model"] > 0


@pytest.mark.slow
@pytest.mark.server
def test_the_embedded_run_is_told_by_what_it_spent_its_time_on(capsys):
    words = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    bench_pipeline.main(["run", "inline", *words])
    figures, ratios = read(capsys.readouterr().out)
    assert [name for name, _ in figures] == [
        "embedded run", "cached run", "inline", "inline cached"
    ]  # fmt: skip
    run, cached, inline, again = (each for _, each in figures)
    assert run["outside_seconds"] == pytest.approx(
        sum(run[f"{part}_seconds"] for part in PARTS), rel=1e-2
    )
    assert 0 < run["model_seconds"] < run["flow_seconds"] < run["command_seconds"]
    assert cached["flow_seconds"] < run["flow_seconds"]
    assert again["wall_seconds"] < inline["wall_seconds"]
    assert 0 < ratios["pipeline_outside_share"] < 1
    assert ratios["pipeline_outside_seconds"] > 0


def test_intervals_are_counted_once():
    assert union([(3.0, 4.0), (0.0, 1.0), (0.5, 2.0)]) == [(0.0, 2.0), (3.0, 4.0)]
    assert length([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)]) == 4.0
    assert length(within([(0.0, 2.0), (5.0, 9.0)], (1.0, 6.0))) == 2.0


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_that_power(power):
    sizes = [10, 20, 40, 80]
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)
