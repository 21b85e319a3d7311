"""The run of the paper's size, in small: the same code with sixty records."""

import inspect
import itertools
import json
import re
from types import SimpleNamespace

import pytest

import flows.pipeline
from benchmarks import bench_size, cost
from benchmarks.cost import GPUS, MEASURED, table, wall
from benchmarks.cost_work import Assumed, Costs, Work
from benchmarks.gpu_report import Figures, Report
from benchmarks.size import pipeline, report
from benchmarks.size.run import RECIPE, Place, settings, stage_figures
from benchmarks.size.source import LARGE, SMALL
from benchmarks.size.watch import NOTES, Seen
from benchmarks.size.worker import stubbed
from benchmarks.stages import run_inline
from mbpo_core.recipes import configured
from storage.store import ArtifactStore
from tasks.registry import ORDER
from tests.servers import CHECKOUT

TINY = {
    "ingest.shard_rows": 20, "score.shard_rows": 20, "select.presample": 40, "select.k": 12,
    "mine.shard_rows": 5, "respond.shard_rows": 5, "train.groups_per_step": 4,
    "pair.held_out": 3, "answer.shard_rows": 10,
}  # fmt: skip
PAGE = CHECKOUT / "docs" / "scale.md"


@pytest.fixture(scope="module")
def measured():
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def test_sixty_records_go_through_every_stage_with_the_stub(tmp_path):
    place = Place(tmp_path, 60, 16)
    with stubbed():
        made = run_inline(configured(RECIPE, settings(place, TINY)), place.root)
    (place.root / NOTES).touch()
    store = ArtifactStore(place.root)
    manifests = {stage: store.manifest(each.ref) for stage, each in made.items()}
    found = stage_figures(place.root, manifests, Seen(place.root))
    assert list(found) == list(ORDER)
    assert [found[stage]["shards"] for stage in ("ingest", "score", "mine")] == [3, 3, 3]
    assert found["select"]["rows"] == 60 and found["mine"]["rows"] == 12
    assert not any(manifests["ingest"].reasons.values()), manifests["ingest"].reasons
    assert not manifests["mine"].reasons.get("negatives")
    sides = set(store.table(made["ingest"].ref, "samples", ["width"])["width"].to_pylist())
    assert sides == {SMALL, LARGE}
    assert found["mine"]["stub_seconds"] > 0 == found["ingest"]["stub_seconds"]
    assert all(each["worker_mib"] > 0 for each in found.values())


@pytest.mark.slow
@pytest.mark.server
def test_the_flow_runs_on_the_stubs_workers_and_is_measured(tmp_path, capsys):
    words = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    words += ["--folder", str(tmp_path), "--sizes", "60", "--distinct", "16"]
    bench_size.main(words)
    (found,) = json.loads((tmp_path / bench_size.RESULTS).read_text(encoding="utf-8"))
    assert found["records"] == 60 and list(found["stages"]) == list(ORDER)
    assert found["task_runs"] == sum(each["shards"] for each in found["stages"].values())
    assert found["prefect_bytes"] > 0 and all(
        found["peak_mib"][role] for role in ("flow", "server")
    )
    assert found["asked"]["plan_seconds"] > 0
    first = capsys.readouterr().out
    bench_size.main(words)  # what has a result is not run again
    assert capsys.readouterr().out == first


def work(**changes):
    return Work(**{"stage": "score", "rows": 800, "shards": 8, "device": 1.0} | changes)


def test_the_last_wave_of_shards_is_paid_in_full():
    free = Assumed(load=0.0)
    assert [wall(work(), gpus, free, 1e9) for gpus in (1, 3, 8, 64)] == [800, 300, 100, 100]
    assert wall(work(cpu=0.5, overhead=2.0), 8, free, 1e9) == 152
    assert wall(work(bytes=1e6), 8, Assumed(load=7.0, disk=1.0), 1e8) == pytest.approx(
        100 + 0.1 + 7 + 8
    )


def test_training_shares_a_step_among_as_many_gpus_as_it_has_groups():
    training = work(shards=1, ranks=32)
    half = Assumed(load=0.0, efficiency=0.5)
    assert [wall(training, gpus, half, 1e9) for gpus in (1, 2, 32, 64)] == [800, 800, 50, 50]


def test_device_seconds_follow_the_rate_and_the_count(measured):
    recipe = configured(RECIPE, {})
    slow, fast = (
        {each.stage: each for each in Costs(recipe, 163_000, measured, Assumed(tflops=t)).works()}
        for t in (100.0, 200.0)
    )
    assert [slow[s].rows for s in ("ingest", "score", "mine")] == [163_000, 163_000, 10_000]
    assert [slow[s].shards for s in ("ingest", "score", "mine", "respond")] == [80, 80, 157, 79]
    for stage in ("score", "mine"):
        assert slow[stage].device == pytest.approx(2 * fast[stage].device)
    # 20 steps forward and backward, and three more; vision tower four patches a token.
    tokens = 401_408 / 784
    flops = 2e9 * (0.676 * 4 * tokens + (8.291 - 0.676) * (tokens + 200))
    assert slow["mine"].device == pytest.approx(43 * flops / 1e14)


def test_tflops_of_a_gpu_report_are_used(tmp_path):
    found = Report("Card X", 900.0)
    for part, seconds in (("score", 2.0), ("score", 1.0), ("train LoRA", 4.0)):
        model = "7b" if part.startswith("train") else "2b"
        found.add(Figures(model, part, "sdpa", 8, 8, seconds, 4e14))
    found.add(Figures("7b", "attack", "sdpa", 8, 8, 1.0, None))
    found.write(tmp_path, "--only score")
    assert cost.measured_tflops(tmp_path) == {"score": 400.0, "train": 100.0}
    assert cost.measured_tflops(tmp_path / "none") == {}


def test_the_command_takes_a_measured_rate(capsys):
    cost.main(["--tflops", "350", "--gpus", "1,16"])
    printed = capsys.readouterr().out
    assert "| 1 GPU | 16 GPU |" in printed and "'tflops': 350.0" in printed


def test_the_page_says_what_was_measured(measured):
    page = PAGE.read_text(encoding="utf-8")
    runs = measured["runs"]
    costs = Costs(configured(RECIPE, {}), 163_000, measured)
    for lines in (table(costs, GPUS), report.sizes(runs), report.stages(runs)):
        assert "\n".join(lines) in page, "\n".join(lines)
    grown = {"ingest": "ingest", "score": "score", "pair": "pair", "flow": None}
    for name, stage in grown.items():
        told = re.search(rf"{name}`? (-?\d+) MiB", page)
        assert float(told[1]) == round(report.slope(runs, stage)), name


def test_results_hold_together(measured):
    runs = measured["runs"]
    assert [run["records"] for run in runs] == sorted(run["records"] for run in runs)
    for run in runs:
        shards = {stage: each["shards"] for stage, each in run["stages"].items()}
        assert run["task_runs"] == sum(shards.values())
        assert run["stages"]["score"]["rows"] == run["records"]
    for few, many in itertools.pairwise(runs):
        assert few["stages"]["ingest"]["bytes"] < many["stages"]["ingest"]["bytes"]


def test_the_stubs_flow_takes_what_the_projects_own_takes_and_hands_it_on(monkeypatch):
    monkeypatch.setattr("tasks.pool.WORKER", "set back after the test")
    own = inspect.signature(flows.pipeline.mbpo.fn)
    assert list(inspect.signature(pipeline.mbpo.fn).parameters) == list(own.parameters)
    heard = SimpleNamespace(fn=lambda *those, **named: own.bind(*those, **named).arguments)
    monkeypatch.setattr(flows.pipeline, "mbpo", heard)
    given = {name: object() for name in own.parameters}
    assert pipeline.mbpo.fn(**given) == given
