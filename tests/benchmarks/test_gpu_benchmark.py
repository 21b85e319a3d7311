"""The GPU benchmark runs to its end on a CPU, at tiny shapes; no time is asserted."""

import re

import pytest

from benchmarks.bench_gpu import main
from benchmarks.gpu_report import Figures, Report

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


def test_parts_can_be_chosen(tmp_path):
    main(["--device", "cpu", "--tiny", "--only", "respond", "--output", str(tmp_path)])
    text = (tmp_path / "gpu-cpu.md").read_text()
    assert "| tiny | respond |" in text and "| tiny | score |" not in text


def test_unknown_parts_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "scores"])
    assert "expected some of score, attack, respond, train" in capsys.readouterr().err


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
