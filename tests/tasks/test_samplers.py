"""Stages that draw, with vLLM's place taken by a stand-in that draws by our policy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.store import ArtifactStore
from tasks.pipeline import Choice
from tasks.plan import plan
from tasks.registry import ORDER, STAGES
from tasks.runtime import Runtime
from tasks.samplers import forget_sampler
from tasks.vllm_process import VllmProcess
from tests import vllm_standin
from tests.pipelines import rows, run, runtime, small_recipe


@pytest.fixture
def with_vllm(tmp_path, monkeypatch):
    """Processes started from here on find the stand-in where vLLM would be; a file of calls."""
    vllm_standin.install(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv(vllm_standin.CALLS, str(tmp_path / "calls"))
    yield tmp_path / "calls"
    forget_sampler()


def test_responses_and_answers_through_vllm(finished, with_vllm, tmp_path):
    """One process draws for all stages' shards; rows are those that the policy draws itself."""
    before, recipe, _ = finished
    root = tmp_path / "store"
    shutil.copytree(before, root)
    how = runtime(root, sampler="vllm", vllm_memory=0.3)
    made = run(recipe, how, Choice(only=("respond", "answer")))
    assert not any(each.hit for each in made.values())
    for stage, table in (("respond", "responses"), ("answer", "answers")):
        manifest = ArtifactStore(root).manifest(made[stage].ref)
        assert manifest.identity["libraries"]["vllm"] == "0.33.0"
        assert rows(root, stage, table) == rows(before, stage, table)
    calls = [json.loads(line) for line in with_vllm.read_text().splitlines()]
    opened = [Path(call["model"]) for call in calls if "model" in call]
    drawn = [call for call in calls if "seeds" in call]
    assert opened[-1].parent.parent.parent.name == "train" and len(set(opened)) == 2
    # All rows of a shard go there together, not pack after pack.
    assert len(drawn[0]["seeds"]) == recipe.respond.shard_rows
    assert {call["gpu_memory_utilization"] for call in calls if "model" in call} == {0.3}
    again = run(recipe, how, Choice(only=("respond", "answer")))
    assert all(each.hit for each in again.values())


def identity(stage, how, **changes):
    return STAGES[stage].identity(small_recipe(**changes), how, {})


def test_only_stages_that_draw_name_their_sampler(with_vllm, tmp_path):
    usual, other = Runtime(root=tmp_path), Runtime(root=tmp_path, sampler="vllm")
    changed = {stage for stage in ORDER if identity(stage, usual).key != identity(stage, other).key}
    assert changed == {"respond", "answer"}
    for stage in changed:
        of_vllm = {"mbpo_core.models.vllm_sampler", "mbpo_core.models.vllm_engine",
                   "tasks.vllm_process"}  # fmt: skip
        assert of_vllm <= set(identity(stage, other).code)
        assert not of_vllm & set(identity(stage, usual).code)
        assert "vllm" not in identity(stage, usual).libraries
    more = Runtime(root=tmp_path, sampler="vllm", vllm_memory=0.9, vllm_python=sys.executable)
    assert identity("respond", more) == identity("respond", other)


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("respond", {"respond__sources": ["injected"], "respond__injector": {"kind": "rules"}}),
        ("answer", {"answer__responses": {"path": __file__}}),
    ],
)
def test_where_nothing_is_drawn_the_sampler_makes_no_difference(stage, changes, tmp_path):
    usual, other = Runtime(root=tmp_path), Runtime(root=tmp_path, sampler="vllm")
    assert identity(stage, usual, **changes) == identity(stage, other, **changes)


def test_a_python_without_vllm_is_named_before_anything_runs(tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    for python, message in (
        (str(fake), "no vLLM for .*pip install 'vllm>=0.33"),
        ("/nowhere/python", "no usable Python for vLLM: /nowhere"),
    ):
        how = runtime(tmp_path, sampler="vllm", vllm_python=python)
        for ask in (run, plan):
            with pytest.raises(ValueError, match=message):
                ask(small_recipe(), how)
        assert not any(tmp_path.glob("artifacts/*/*"))


def fake_vllm(folder, code):
    folder.mkdir()
    (folder / "vllm.py").write_text(code)


def test_errors_of_vllm_are_told_in_its_own_words(tmp_path, monkeypatch):
    fake_vllm(tmp_path / "site", "class LLM:\n def __init__(self, **k): raise ValueError('No GPU')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    with pytest.raises(RuntimeError, match="vLLM: ValueError: No GPU"):
        VllmProcess(sys.executable, {}, "cpu")


def test_a_vllm_that_dies_is_an_error_and_no_endless_wait(tmp_path, monkeypatch):
    code = (
        "import os\nclass LLM:\n def __init__(self, **k): pass\n def generate(*a, **k): os._exit(9)"
    )
    fake_vllm(tmp_path / "site", code + "\nclass SamplingParams: pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    process = VllmProcess(sys.executable, {}, "cpu")
    assert process.alive
    with pytest.raises(RuntimeError, match=r"without an answer \(exit status 9\)"):
        process.draw({"images": [], "rows": []})
    assert not process.alive
    process.close()


def test_the_engine_ends_with_whoever_started_it(tmp_path, monkeypatch):
    fake_vllm(tmp_path / "site", "class LLM:\n def __init__(self, **k): print('said by vLLM')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'site'}:{Path(__file__).parents[2]}"}
    environment.pop("PYTHONUNBUFFERED", None)  # what is said must come out without it
    code = (
        "import os, sys; from tasks.vllm_process import VllmProcess\n"
        "p = VllmProcess(sys.executable, {}, 'cpu'); print(p._process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "said by vLLM" in done.stderr
    pid = int(done.stdout)
    for _ in range(200):
        if not _runs(pid):
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError(f"process {pid} still runs")


def _runs(pid):
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_engine_sees_the_gpu_of_the_policy_alone(tmp_path, monkeypatch):
    code = (
        "import os\nclass LLM:\n def __init__(self, **k):"
        " raise ValueError('sees ' + os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    fake_vllm(tmp_path / "site", code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    for visible, device, seen in (("", "cuda:1", "1"), ("4,7", "cuda:1", "7"), ("5", "cuda", "5")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(RuntimeError, match=f"sees {seen}"):
            VllmProcess(sys.executable, {}, device)
