import json

import pytest

from mbpo_core.training import LoraSettings, TrainingConfig
from mbpo_core.training.log import TrainingLog


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.0},
        {"num_generations": 1},
        {"top_p": 0.0},
        {"max_steps": 0},
        {"iterations": 2, "save_every": 3},
        {"groups_per_step": 0},
        {"probe_every": -1},
        {"curriculum": "hard_to_easy"},
        {"levels": 0},
    ],
)
def test_a_setting_out_of_range_is_named(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        TrainingConfig(**changes)
    with pytest.raises(ValueError, match="rank >= 1"):
        LoraSettings(rank=0)


def test_the_log_keeps_the_rows_up_to_the_checkpoint(tmp_path):
    log = TrainingLog(tmp_path, keep_steps=-1)
    log.add("steps", [{"step": step, "loss": 0.1 * step} for step in (1, 2, 3)])
    log.add("probes", [{"step": 0}])
    with (tmp_path / "steps.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')  # cut by a kill
    again = TrainingLog(tmp_path, keep_steps=2)
    assert again.tables["steps"] == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}]
    again.add("steps", [{"step": 3, "loss": 7.0}])
    lines = (tmp_path / "steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    assert TrainingLog(tmp_path, keep_steps=-1).tables == {
        "steps": [],
        "probes": [],
        "rollouts": [],
        "benchmarks": [],
        "skipped": [],
    }


def test_a_spoilt_line_is_named_and_other_ranks_touch_nothing(tmp_path):
    (tmp_path / "steps.jsonl").write_text('{"step": 1}\nspoilt\n{"step": 2}\n')
    reader = TrainingLog(tmp_path, keep_steps=9, writes=False)
    reader.add("steps", [{"step": 3}])
    assert reader.tables["steps"] == []
    with pytest.raises(ValueError, match=r"steps\.jsonl, line 2 is not JSON"):
        TrainingLog(tmp_path, keep_steps=9)
    assert (tmp_path / "steps.jsonl").read_text().count("\n") == 3


def test_a_figure_that_is_not_a_number_is_not_written(tmp_path):
    log = TrainingLog(tmp_path, keep_steps=-1)
    with pytest.raises(ValueError, match="JSON compliant"):
        log.add("steps", [{"step": 1, "loss": float("nan")}])
