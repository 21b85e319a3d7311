"""The recipe: *what* is computed. A frozen value that refuses unknown keys and enters fingerprints.

How it is computed (devices, workers, folders) is `tasks.runtime.Runtime`, which never does.
Every default carries how it is known: `paper`, `inferred`, `second-hand`, `R1-V` (the training code
that the authors of MBPO name) or `assumed` (a sensible value without evidence).
"""

from mbpo_core.config import mining, responses, training
from mbpo_core.config.base import EmbeddedModel, Frozen, Model, PretrainedModel
from mbpo_core.config.data import (
    EmbeddedSource,
    FileSource,
    IngestConfig,
    ScoreConfig,
    SelectConfig,
    Source,
)
from mbpo_core.config.evaluation import (
    PUBLISHED,
    AnswerConfig,
    Benchmark,
    EmbeddedBenchmark,
    EvaluateConfig,
    GivenResponses,
    HeldOutBenchmark,
    PublishedBenchmark,
)
from mbpo_core.config.mining import PGDMiner
from mbpo_core.config.recipe import Recipe, parse_override
from mbpo_core.config.report import ReportConfig
from mbpo_core.config.responses import PairConfig, RespondConfig
from mbpo_core.config.training import HybridGRPO, Lora, TrainConfig

__all__ = [
    "PUBLISHED", "AnswerConfig", "Benchmark", "EmbeddedBenchmark", "EmbeddedModel",
    "EmbeddedSource", "EvaluateConfig", "FileSource", "Frozen", "GivenResponses",
    "HeldOutBenchmark", "HybridGRPO", "IngestConfig", "Lora", "Model", "PGDMiner", "PairConfig",
    "PretrainedModel", "PublishedBenchmark", "Recipe", "ReportConfig", "RespondConfig",
    "ScoreConfig",
    "SelectConfig", "Source", "TrainConfig", "mining", "parse_override", "responses", "training",
]  # fmt: skip
