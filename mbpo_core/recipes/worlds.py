"""What recipes run on: the embedded world, or a Qwen policy on a published data set.

A method is the same function in every world; a world brings data, models and the numbers that so
small (or so large) a model needs.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mbpo_core.config import (
    AnswerConfig,
    EmbeddedBenchmark,
    EmbeddedModel,
    EmbeddedSource,
    EvaluateConfig,
    FileSource,
    Frozen,
    IngestConfig,
    Model,
    PairConfig,
    PretrainedModel,
    Recipe,
    RespondConfig,
    ScoreConfig,
    SelectConfig,
    TrainConfig,
)
from mbpo_core.config.mining import (
    CellFinder,
    Finder,
    Inpainter,
    OpenCVInpainter,
    PGDMiner,
    TruthFinder,
    TruthInpainter,
)
from mbpo_core.config.responses import Injector, ResponseSource, RuleInjector
from mbpo_core.config.training import HybridGRPO

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


class World(Frozen):
    """Data, models and the numbers that go with them."""

    suffix: str
    """Of the names of its recipes."""
    scorer: Model
    policy: Model
    ingest: IngestConfig
    score: ScoreConfig = ScoreConfig()
    select: SelectConfig = SelectConfig()
    pgd: PGDMiner = PGDMiner()
    respond: RespondConfig = RespondConfig()
    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()
    answer: AnswerConfig = AnswerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    rollouts: HybridGRPO = HybridGRPO()
    text: ResponseSource = "dataset"
    """Where the text preference pairs of the baselines come from."""
    injector: Injector | None = None
    """What puts errors into right answers; None = nothing that runs without being set up."""
    finder: Finder = CellFinder()
    inpainter: Inpainter = OpenCVInpainter()
    unranked: SelectConfig = SelectConfig(key=None, presample=None, k=None, pool="all")
    """Selection of the methods that rank nothing: all samples, closed-ended ones too."""
    published: bool = True
    """Whether what the papers print about their optimisation makes sense here."""
    pairs_epochs: int = 1
    """Epochs over the pairs, at most: `train.max_steps` may end them earlier."""
    rates: dict[str, float] = Field(default_factory=dict)
    """Learning rates by recipe."""

    def recipe(self, name: str, *, sources: tuple[ResponseSource, ...], **parts: Any) -> Recipe:
        """Return a recipe of this world.

        `parts` are the recipe's own `mine` and `select`; `score` and `pair` replace single settings
        of the world's; the others (`objective`, `curriculum`, epochs, steps) are the training's.
        """
        respond = {"sources": sources}
        if "injected" in sources:
            respond["injector"] = self.injector
        train = {name: parts.pop(name) for name in _TRAIN if name in parts}
        rate = {"learning_rate": self.rates[name]} if name in self.rates else {}
        return Recipe(
            name=name + self.suffix,
            scorer=self.scorer,
            policy=self.policy,
            ingest=self.ingest,
            score=_with(self.score, parts.get("score", {})),
            select=parts.get("select", self.select),
            mine=parts["mine"],
            respond=_with(self.respond, respond),
            pair=_with(self.pair, parts.get("pair", {})),
            train=_with(self.train, rate | train),
            answer=self.answer,
            evaluate=self.evaluate,
        )


_TRAIN = ("objective", "curriculum", "offline_epochs", "online_epochs", "max_steps")


def _with(value: Any, changes: dict[str, Any]) -> Any:
    """Return a copy with settings replaced, checked anew."""
    return type(value).model_validate(dict(value) | changes)


def embedded() -> World:
    """The embedded world: minutes on two CPU cores.

    Differs from the papers where a model of a million parameters needs it: PGD takes five steps of
    4/255 inside of 20/255, their whole reach (twenty steps turn many rejected texts of so small a
    model into gibberish); 100 optimiser steps of 12 groups, 1,200 uses of groups in every recipe;
    learning rates chosen on scenes of their own (`benchmarks/README.md`); yes/no answers that carry
    their reason. No preference data exist here: the text pairs of the baselines take a wrong answer
    of the base model on the clean image. Regions and removed objects are the true ones.
    """
    return World(
        suffix="",
        scorer=EmbeddedModel(),
        policy=EmbeddedModel(),
        ingest=IngestConfig(
            source=EmbeddedSource(scenes=400), long_yes_no=True, min_pixels=28 * 28, shard_rows=512
        ),
        score=ScoreConfig(max_length=256, shard_rows=512, answer_tokens=48),
        select=SelectConfig(presample=1200, k=400),
        pgd=PGDMiner(steps=5, epsilon=20 / 255, shard_rows=50),
        respond=RespondConfig(max_new_tokens=64, shard_rows=100, min_mean_logp=-3.0),
        pair=PairConfig(held_out=0, max_online=400),
        train=TrainConfig(
            learning_rate=1e-4,
            groups_per_step=12,
            micro_batch_groups=12,
            max_steps=100,
            lr_scheduler="constant",
            gradient_checkpointing=False,
            bf16=False,
            probe_every=20,
            stream_norm_every=10,
        ),
        answer=AnswerConfig(max_new_tokens=64),
        evaluate=EvaluateConfig(
            benchmarks=(
                EmbeddedBenchmark(split="consistent"),
                EmbeddedBenchmark(split="counter"),
            )
        ),
        rollouts=HybridGRPO(max_new_tokens=24),
        text="clean",
        injector=RuleInjector(),
        finder=TruthFinder(),
        inpainter=TruthInpainter(),
        unranked=SelectConfig(key=None, presample=700, k=700),
        published=False,
        pairs_epochs=6,
        rates=RATES,
    )


RATES: dict[str, float] = {
    "mbpo": 2e-4,
    "mbpo-offline-random": 1e-4,
    "mbpo-offline-adversarial": 2e-4,
    "mbpo-online": 1e-4,
    "mfpo": 5e-5,
    "adavip": 2.5e-5,
    "adavip-fixed": 2.5e-5,
    "dpo": 5e-5,
    "sft": 2e-4,
    "mdpo": 1e-4,
    "povid": 1e-4,
    "bpo": 2e-4,
}
"""Learning rates of the embedded recipes by name, each the best of the same trials on `dev`."""


def qwen2_vl_7b() -> World:
    """Qwen2-VL-7B on MMSeed-163K: scorer 2B and policy 7B (MBPO: paper), everything else tagged."""
    return _qwen("-qwen2-vl-7b", QWEN2_VL_7B)


def qwen2_5_vl_7b() -> World:
    """Qwen2.5-VL-7B on MMSeed-163K: scorer 2B and policy 7B (MBPO: paper), the rest tagged."""
    return _qwen("-qwen2.5-vl-7b", QWEN2_5_VL_7B)


def _qwen(suffix: str, policy: Model) -> World:
    source = IngestConfig(source=MMSEED)
    return World(suffix=suffix, scorer=QWEN2_VL_2B, policy=policy, ingest=source)


WORLDS = (embedded, qwen2_vl_7b, qwen2_5_vl_7b)
