"""MBPO (arXiv 2506.08022) as recipes: the embedded default and the paper's two policies."""

from __future__ import annotations

from mbpo_core.config import (
    EmbeddedBenchmark,
    EmbeddedModel,
    EmbeddedSource,
    EvaluateConfig,
    FileSource,
    HybridGRPO,
    IngestConfig,
    PairConfig,
    PGDMiner,
    PretrainedModel,
    Recipe,
    RespondConfig,
    ScoreConfig,
    SelectConfig,
    TrainConfig,
)

QWEN2_VL_2B = PretrainedModel(
    name="Qwen/Qwen2-VL-2B-Instruct",
    revision="895c3a49bc3fa70a340399125c650a463535e71c",
    parameters=2.209,
    vision_parameters=0.665,
)
QWEN2_VL_7B = PretrainedModel(
    name="Qwen/Qwen2-VL-7B-Instruct",
    revision="eed13092ef92e448dd6875b2a00151bd3f7db0ac",
    parameters=8.291,
    vision_parameters=0.676,
)
QWEN2_5_VL_7B = PretrainedModel(
    name="Qwen/Qwen2.5-VL-7B-Instruct",
    revision="cc594898137f460bfe9f0759e9844b3ce807cfb5",
    parameters=8.292,
    vision_parameters=0.677,
)
MMSEED = FileSource(path="data/mm_seed_no_evo_163k.json", image_root="data/images")


def tiny() -> Recipe:
    """The whole method on the embedded world: minutes on two CPU cores.

    Differs from the paper where a model of a million parameters needs it: five steps of 4/255
    inside of 20/255, their whole reach (twenty steps turn many rejected texts of so small a model
    into gibberish), a learning rate of 1e-4, four epochs over the pairs, and yes/no answers that
    carry their reason.
    """
    return Recipe(
        name="tiny",
        scorer=EmbeddedModel(),
        policy=EmbeddedModel(),
        ingest=IngestConfig(
            source=EmbeddedSource(scenes=400), long_yes_no=True, min_pixels=28 * 28, shard_rows=512
        ),
        score=ScoreConfig(max_length=256, shard_rows=512),
        select=SelectConfig(presample=1200, k=400),
        mine=PGDMiner(steps=5, epsilon=20 / 255, shard_rows=50),
        respond=RespondConfig(max_new_tokens=64, shard_rows=100, min_mean_logp=-3.0),
        pair=PairConfig(held_out=0, max_online=400),
        train=TrainConfig(
            objective=HybridGRPO(max_new_tokens=24),
            learning_rate=1e-4,
            groups_per_step=12,
            micro_batch_groups=12,
            offline_epochs=4,
            online_epochs=1,
            max_steps=200,
            lr_scheduler="constant",
            gradient_checkpointing=False,
            bf16=False,
            probe_every=20,
            stream_norm_every=10,
        ),
        evaluate=EvaluateConfig(
            benchmarks=(
                EmbeddedBenchmark(split="consistent"),
                EmbeddedBenchmark(split="counter"),
            ),
            max_new_tokens=64,
        ),
    )


def mbpo_qwen2_vl_7b() -> Recipe:
    """Qwen2-VL-7B on MMSeed-163K: scorer 2B and policy 7B (paper), everything else as tagged."""
    return Recipe(
        name="mbpo-qwen2-vl-7b",
        scorer=QWEN2_VL_2B,
        policy=QWEN2_VL_7B,
        ingest=IngestConfig(source=MMSEED),
    )


def mbpo_qwen2_5_vl_7b() -> Recipe:
    """Qwen2.5-VL-7B on MMSeed-163K: scorer 2B and policy 7B (paper), everything else as tagged."""
    return Recipe(
        name="mbpo-qwen2.5-vl-7b",
        scorer=QWEN2_VL_2B,
        policy=QWEN2_5_VL_7B,
        ingest=IngestConfig(source=MMSEED),
    )
