"""The GPU benchmark runs to its end on a CPU, at tiny shapes; no time is asserted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_parts
from benchmarks.bench_gpu import main
from benchmarks.gpu_report import Figures, Report

PROJECT = Path(__file__).parents[2]

# peft asks transformers by a name that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def test_all_parts_run_and_write_a_report(tmp_path, capsys):
    main(["--device", "cpu", "--tiny", "--output", str(tmp_path)])
    text = (tmp_path / "gpu-cpu.md").read_text()
    parts = set(re.findall(r"^\| tiny \| ([^|]+) \|", text, re.MULTILINE))
    assert parts == {
        "score", "score 4 turns", "attack", "attack 2 steps", "respond", "train LoRA",
        "train LoRA, checkpointed", "train full",
    }  # fmt: skip
    assert "matrix ceiling" in capsys.readouterr().out
    assert str(tmp_path) not in text


def test_one_part_runs_with_torch_and_transformers_alone(tmp_path):
    """As on a GPU machine: nothing that orchestrates or stores is installed."""
    absent = ("prefect", "duckdb", "pyarrow", "pydantic", "datasets", "typer", "torchattacks")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "from benchmarks import bench_attack, bench_score\n"
        "from benchmarks.bench_gpu import main\n"
        f"main(['--device', 'cpu', '--tiny', '--only', 'respond', '--output', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gpu-cpu.md").read_text()
    assert "| tiny | respond |" in text and "| tiny | score |" not in text


def test_unknown_parts_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "scores"])
    assert "expected some of score, attack, respond, train" in capsys.readouterr().err


def test_what_does_not_fit_is_noted_and_the_rest_goes_on(tmp_path, monkeypatch):
    made = gpu_parts.scoring

    def scoring(policy, sizes, batch, turns=1):
        def refuse():
            raise torch.OutOfMemoryError

        return made(policy, sizes, batch, turns) if batch == 1 else refuse

    monkeypatch.setattr(gpu_parts, "scoring", scoring)
    main(["--device", "cpu", "--tiny", "--only", "score", "--output", str(tmp_path)])
    text = (tmp_path / "gpu-cpu.md").read_text()
    assert "- tiny score: a batch of 2 does not fit" in text
    assert "| tiny | score | sdpa | 1 |" in text and "| tiny | score | eager | 1 |" in text


def report(**lines):
    found = Report("Some Card", ceiling=100.0)
    for part, (samples, seconds, flops, peak) in lines.items():
        found.lines.append(Figures("2b", part, "sdpa", 8, samples, seconds, flops, peak))
    return found


def test_goals_follow_from_rates_and_the_ceiling():
    found = report(score=(10, 2.0, 92e12, 0), attack=(10, 10.0, 390e12, 0))
    assert found.lines[0].tflops == 46 and found.lines[1].tflops == 39
    met = {goal.partition(":")[0]: (value, met) for goal, value, met in found.goals()}
    assert met["2B score"] == ("46.0%", True)
    assert met["2B attack"] == ("39.0%", False)
    hours = 10_000 * 10.0 / 10 / 3600
    assert met["2B, 10,000 images x 20 steps"] == (f"{hours:.2f} h", False)


def test_memory_goal_is_of_the_leanest_lora_step(tmp_path):
    found = Report("Some Card", ceiling=100.0)
    for part, peak in (("train LoRA", 90e9), ("train LoRA, checkpointed", 60e9)):
        found.lines.append(Figures("7b", part, "sdpa", 4, 16, 1.0, 1e12, int(peak)))
    assert [(v, m) for _, v, m in found.goals()] == [("60.0 GB (train LoRA, checkpointed)", True)]
    assert found.write(tmp_path, "--only train").name == "gpu-some-card.md"
