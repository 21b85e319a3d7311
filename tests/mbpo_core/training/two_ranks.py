"""Run by test_training_ranks.py under torch.distributed: trains and writes what it found."""

import sys
from pathlib import Path

import torch

from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import PlackettLuce
from mbpo_core.training import TrainingConfig, train
from tests.mbpo_core.tiny_models import build_model, build_tokenizer, random_image
from tests.mbpo_core.training.conftest import (
    length_parity,
    offline_group,
    online_group,
    ranked_group,
)

MIXED = [offline_group(i, chosen="a red bird" * (i + 1)) for i in range(4)]
MIXED += [online_group(i) for i in range(4, 7)]
RANKED = [ranked_group(i, chosen="a red bird" * (i % 4 + 1)) for i in range(7)]
CASES = {"hybrid": (HybridGRPO(), MIXED), "plackett_luce": (PlackettLuce(), RANKED)}


def main(folder, groups_per_step, stream_norm_every, case):
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    policy = QwenVL(build_model("qwen2_vl", tokenizer), tokenizer, ImageConfig())
    objective, groups = CASES[case]
    config = TrainingConfig(
        learning_rate=1e-3,
        num_generations=3,
        max_new_tokens=4,
        groups_per_step=groups_per_step,
        micro_batch_groups=1,
        save_every=1,
        probe_every=2,
        probe_groups=2,
        stream_norm_every=stream_norm_every,
    )
    images = {f"image-{i}": random_image(i, 56, 56) for i in range(7)}
    images |= {f"other-{i}": random_image(100 + i, 56, 56) for i in range(7)}
    train(policy, groups, images, config, folder, length_parity, objective=objective, resume=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
