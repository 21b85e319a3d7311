"""Two ranks do what one does: counts, rollouts, gradients and logs are those of the whole step."""

import pytest

from tests.mbpo_core.training.ranks import assert_same_training, deviation, on_two_ranks
from tests.mbpo_core.training.two_ranks import run

# peft asks transformers by a name that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

LONG = {"offline_epochs": 3, "online_epochs": 3}
CASES = {
    "hybrid": {},
    "lora": {"lora": 4},
    "lora, checkpointed": {"lora": 4, "gradient_checkpointing": True},
    "checkpointed": {"gradient_checkpointing": True},
    "tied": {"tied": True},
    "frozen": {"freeze_vision": True},
    "pairs": {"case": "pairs"},
    "three images a group": {"case": "plackett_luce"},
    "two steps a rollout": {"iterations": 2, "save_every": 2},
    "both kinds beside one, warm": {"temperature": 0.7, "micro_batch_groups": 2},
    "fewer groups than slots": {"groups_per_step": 1},
}


def compared(kind, tmp_path, cases):
    runs = {name: {**LONG, **settings} for name, settings in cases.items()}
    for name, settings in runs.items():
        run(tmp_path / f"one-{name}", **settings)
    on_two_ranks(kind, *({"folder": str(tmp_path / name)} | runs[name] for name in runs))
    for name in runs:  # `pytest -s` shows the figures of docs/training.md
        print(kind, name, deviation(tmp_path / f"one-{name}", tmp_path / name))
        assert_same_training(tmp_path / f"one-{name}", tmp_path / name)


def test_two_ranks_train_the_same_model_as_one(tmp_path):
    """Seven groups, four a step: the last step has three groups for four slots, so one dummy."""
    compared("ddp", tmp_path, {"hybrid": {"stream_norm_every": 2}})


@pytest.mark.slow
def test_ddp_trains_whatever_one_process_does(tmp_path):
    compared("ddp", tmp_path, CASES)


@pytest.mark.slow
def test_fsdp_trains_whatever_one_process_does(tmp_path):
    compared("fsdp", tmp_path, CASES)
