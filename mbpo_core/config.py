"""The recipe: *what* is computed. A frozen value that refuses unknown keys and enters fingerprints.

How it is computed (devices, workers, folders) is `tasks.runtime.Runtime`, which never does.
Every default carries how it is known: `paper`, `inferred`, `second-hand`, `R1-V` (the training code
that the authors name) or `assumed` (a sensible value without evidence).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mbpo_core.mining.lattice import lattice_units


class Frozen(BaseModel):
    """A frozen value; an unknown key is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _fraction(value: Any) -> Any:
    """Read `"16/255"` as the number it writes."""
    if isinstance(value, str) and value.count("/") == 1:
        above, below = (float(part) for part in value.split("/"))
        if below == 0:
            raise ValueError(f"division by zero in {value!r}")
        return above / below
    return value


def _lattice(name: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        value = _fraction(value)
        if value is not None:
            lattice_units(value, name)
        return value

    return BeforeValidator(check)


class EmbeddedModel(Frozen):
    """The tiny Qwen2-VL that comes with the project (`mbpo_core.testbed`)."""

    kind: Literal["embedded"] = "embedded"


class PretrainedModel(Frozen):
    """A Qwen2-VL or Qwen2.5-VL checkpoint: a local folder, or a hub id with a pinned revision."""

    kind: Literal["pretrained"] = "pretrained"
    name: str
    revision: str | None = None
    """Commit of the hub repository; needed for a hub id, refused for a folder."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    parameters: float | None = Field(None, gt=0)
    """Billions, for the estimates of `plan` only."""
    vision_parameters: float | None = Field(None, gt=0)
    """Billions of them in the vision tower."""


Model = Annotated[EmbeddedModel | PretrainedModel, Field(discriminator="kind")]


class EmbeddedSource(Frozen):
    """Scenes of the embedded world, written as a LLaVA-style file and read like any other."""

    kind: Literal["embedded"] = "embedded"
    scenes: int = Field(400, ge=1)
    seed: int = 0


class FileSource(Frozen):
    """A JSON, JSONL or Parquet file, or a `datasets` folder, of conversations."""

    kind: Literal["files"] = "files"
    path: str
    image_root: str | None = None
    """Folder that image names are relative to; default: the folder of `path`."""


Source = Annotated[EmbeddedSource | FileSource, Field(discriminator="kind")]


class IngestConfig(Frozen):
    """Which conversations are read, and the one policy for their images."""

    source: Source
    limit: int | None = Field(None, ge=1)
    """Read only the first records: a pilot."""
    min_pixels: int = Field(4 * 28 * 28, ge=28 * 28)
    max_pixels: int = Field(401_408, ge=28 * 28)
    """R1-V; images are resized once, here, and never again."""
    max_source_pixels: int = Field(178_956_970, ge=1)
    """Larger pictures are refused unread (Pillow's own bound for a decompression bomb)."""
    long_yes_no: bool = False
    """Also a gold answer that goes on after yes or no makes a sample closed-ended (assumed)."""
    shard_rows: int = Field(2048, ge=1)


class ScoreConfig(Frozen):
    """Image information gain of every readable sample (eq. 4)."""

    batch_tokens: int = Field(8192, ge=1)
    """Padded tokens that run together (a pack); part of the plan, so of the fingerprint."""
    max_length: int = Field(4096, ge=16)
    """Prompt and response tokens; longer samples are refused, never cut."""
    shard_rows: int = Field(2048, ge=1)


class SelectConfig(Frozen):
    """Random pre-selection, then top k; both sizes are unknown (paper App. A.1 names none)."""

    seed: int = 0
    presample: int | None = Field(30_000, ge=1)
    k: int = Field(10_000, ge=1)
    key: Literal["iig_mean", "iig_sum"] = "iig_mean"
    """Mean per token (assumed): a sum favours long responses."""


class PGDMiner(Frozen):
    """PGD through the attacked model, starting from the clean image (eq. 5)."""

    kind: Literal["pgd"] = "pgd"
    steps: int = Field(20, ge=0)
    """Inferred, strong: Table 3's (20, 4) row equals the main ablation row."""
    step_size: Annotated[float, _lattice("step_size")] = 4 / 255
    """Inferred; the unit 1/255 is inferred, weakly."""
    epsilon: Annotated[float | None, _lattice("epsilon")] = 16 / 255
    """Assumed: no value is printed; `None` leaves only the valid pixel range."""
    iterate: Literal["last", "best"] = "last"
    batch_tokens: int = Field(4096, ge=1)
    shard_rows: int = Field(64, ge=1)
    noise_floor: float = Field(0.1, gt=0)
    """Nats: below it the way to the blank image is no measure (assumed)."""


class RespondConfig(Frozen):
    """Sampling of the rejected response on the negative image (eq. 6); settings assumed."""

    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(256, ge=1)
    attempts: int = Field(4, ge=1)
    """Draws until one is not refused (assumed)."""
    min_mean_logp: float = Field(-6.0, le=0)
    """Nats a token under the clean image; below it a text is gibberish (assumed)."""
    batch_tokens: int = Field(16_384, ge=1)
    shard_rows: int = Field(128, ge=1)


class PairConfig(Frozen):
    """Groups of candidates from responses, and online prompts from closed-ended samples."""

    max_online: int | None = Field(None, ge=0)
    held_out: int = Field(100, ge=0)
    """Closed-ended samples kept from training, for the evaluation (assumed)."""


class HybridGRPO(Frozen):
    """The hybrid loss (eq. 7)."""

    kind: Literal["hybrid_grpo"] = "hybrid_grpo"
    beta: float = Field(0.04, ge=0)
    """R1-V."""
    clip: float = Field(0.2, gt=0)
    """Assumed; acts only where a rollout is used more than once."""
    advantages: Literal["pair", "raw"] = "pair"
    """Reading of the fixed offline rewards: normalised over the pair (assumed), or as they are."""
    aggregate: Literal["sample", "sequence", "token"] = "sample"
    """What the sums are divided by (assumed; the formula's arrangement is lost)."""
    chosen_reward: float = 2.0
    """Second-hand."""
    rejected_reward: float = 0.0
    """Assumed."""
    generations: int = Field(8, ge=2)
    """Rollouts of an online prompt; R1-V."""
    temperature: float = Field(1.0, gt=0)
    """R1-V."""
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(256, ge=1)
    """R1-V."""


class Lora(Frozen):
    """Low-rank adapters on the language model only; no dropout, so that the ratio stays 1."""

    rank: int = Field(64, ge=1)
    alpha: int = Field(128, ge=1)


class TrainConfig(Frozen):
    """Optimisation; full fine-tuning as in R1-V unless `lora` is given."""

    objective: HybridGRPO = HybridGRPO()
    curriculum: Literal["shuffled"] = "shuffled"
    learning_rate: float = Field(1e-6, gt=0)
    """R1-V."""
    groups_per_step: int = Field(32, ge=1)
    """Effective batch size over both streams (assumed; unknown)."""
    micro_batch_groups: int = Field(1, ge=1)
    offline_epochs: int = Field(1, ge=0)
    """Assumed."""
    online_epochs: int = Field(1, ge=0)
    """Paper."""
    max_steps: int | None = Field(None, ge=1)
    warmup_steps: int = Field(0, ge=0)
    lr_scheduler: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    """R1-V."""
    gradient_checkpointing: bool = True
    bf16: bool = True
    """Autocast around float32 weights (R1-V trains in bfloat16 with float32 optimiser states):
    weights that are themselves bfloat16 do not move at a learning rate of 1e-6."""
    freeze_vision: bool = False
    lora: Lora | None = None
    save_every: int = Field(100, ge=1)
    probe_every: int = Field(50, ge=1)
    probe_groups: int = Field(32, ge=0)
    stream_norm_every: int = Field(50, ge=0)
    cpu_threads: int = Field(1, ge=1)
    """Part of what makes a CPU run repeat bit for bit, so part of the fingerprint."""


class EmbeddedBenchmark(Frozen):
    """The questions of the embedded world on one split."""

    kind: Literal["embedded"] = "embedded"
    split: Literal["consistent", "counter"]
    part: Literal["dev", "test"] = "test"
    scenes: int = Field(100, ge=1)


class HeldOutBenchmark(Frozen):
    """Samples of the recipe's own data that no group uses."""

    kind: Literal["held_out"] = "held_out"
    closed: int = Field(200, ge=0)
    open: int = Field(200, ge=0)


Benchmark = Annotated[EmbeddedBenchmark | HeldOutBenchmark, Field(discriminator="kind")]


class EvaluateConfig(Frozen):
    """Greedy answers of the base and of the trained model, and the gain of the gold answers."""

    benchmarks: tuple[Benchmark, ...] = (HeldOutBenchmark(),)
    limit: int | None = Field(None, ge=1)
    max_new_tokens: int = Field(128, ge=1)
    batch_tokens: int = Field(16_384, ge=1)
    shard_rows: int = Field(256, ge=1)
    bootstrap: int = Field(2000, ge=100)
    seed: int = 0


class Recipe(Frozen):
    """One complete run, from data to metrics."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")
    seed: int = 0
    scorer: Model
    """Model of the image information gain (Qwen2-VL-2B: paper)."""
    policy: Model
    attacked: Model | None = None
    """Model that PGD goes through; `None` = the policy (assumed; the paper names none)."""
    ingest: IngestConfig
    score: ScoreConfig = ScoreConfig()
    select: SelectConfig = SelectConfig()
    mine: PGDMiner = PGDMiner()
    respond: RespondConfig = RespondConfig()
    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _select_within_presample(self) -> Recipe:
        presample = self.select.presample
        if presample is not None and presample < self.select.k:
            raise ValueError(
                f"select.k ({self.select.k}) must not exceed select.presample ({presample})"
            )
        return self

    def with_overrides(self, overrides: dict[str, Any]) -> Recipe:
        """Return the recipe with dotted keys replaced, as `{"mine.steps": 5}`.

        Raises ValueError for a key that does not exist, naming the ones that do.
        """
        data = self.model_dump(mode="json")
        for dotted, value in overrides.items():
            *parents, last = dotted.split(".")
            node = data
            for part in parents:
                node = node.get(part) if isinstance(node, dict) else None
            if not isinstance(node, dict) or last not in node:
                known = ", ".join(sorted(node)) if isinstance(node, dict) else "nothing"
                raise ValueError(f"unknown setting {dotted!r}; here stand: {known}")
            node[last] = value
        return Recipe.model_validate(data)


def parse_override(text: str) -> tuple[str, Any]:
    """Read `key=value` as the command line gives it; the value is JSON, else plain text."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
