"""Run by test_training_ranks.py under a launcher: trains and writes what it found."""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import PlackettLuce
from mbpo_core.training import LoraSettings, TrainingConfig, train
from mbpo_core.training.trainer import GroupTrainer
from tests.mbpo_core.tiny_models import build_model, build_tokenizer, random_image
from tests.mbpo_core.training.conftest import (
    length_parity,
    offline_group,
    online_group,
    ranked_group,
)

PAIRS = [offline_group(i, chosen="a red bird" * (i + 1)) for i in range(7)]
MIXED = PAIRS[:4] + [online_group(i) for i in range(4, 7)]
RANKED = [ranked_group(i, chosen="a red bird" * (i % 4 + 1)) for i in range(7)]
CASES = {
    "hybrid": (HybridGRPO(), MIXED),
    "pairs": (HybridGRPO(), PAIRS),
    "plackett_luce": (PlackettLuce(), RANKED),
}
IMAGES = {f"image-{i}": random_image(i, 56, 56) for i in range(7)}
IMAGES |= {f"other-{i}": random_image(100 + i, 56, 56) for i in range(7)}
CONFIG = TrainingConfig(
    learning_rate=1e-3,
    num_generations=3,
    max_new_tokens=4,
    groups_per_step=4,
    micro_batch_groups=1,
    save_every=1,
    probe_every=2,
    probe_groups=2,
    stream_norm_every=0,
)


def run(folder, case="hybrid", *, tied=False, lora=0, resume=False, die=None, **settings):
    """Seven groups, four a step: the last step has three groups for four slots, so one dummy."""
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    policy = QwenVL(build_model("qwen2_vl", tokenizer, tied=tied), tokenizer, ImageConfig())
    objective, groups = CASES[case]
    settings |= {"lora": LoraSettings(lora, 2 * lora)} if lora else {}
    if die is not None:
        _die(**die)
    return train(
        policy, groups, IMAGES, replace(CONFIG, **settings), Path(folder), length_parity,
        objective=objective, resume=resume,
    )  # fmt: skip


def _die(rank, method, step):
    """Kill a rank when it enters a method of the trainer after so many steps."""
    original = getattr(GroupTrainer, method)

    def dying(self, *args, **kwargs):
        if self.args.process_index == rank and self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args, **kwargs)

    setattr(GroupTrainer, method, dying)


if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        run(**arguments)
