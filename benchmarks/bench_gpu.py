"""Speed and memory at the true sizes of Qwen2-VL-2B and 7B, on one GPU.

    python -m benchmarks.bench_gpu [--only score,attack] [--models 2b] [--device cuda]

Random weights are made on the device, so nothing is downloaded; torch, transformers, accelerate and
peft are all that is needed. Prints a line a figure and writes `benchmarks/results/gpu-<card>.md`.
`--device cpu --tiny` tries the script itself.
"""

import argparse
import gc
import importlib.util
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import gpu_parts
from benchmarks.gpu_parts import TINY_SIZES, Sizes
from benchmarks.gpu_report import RESULTS, Figures, Report
from benchmarks.measure import clock, seconds
from benchmarks.models import QWEN2_VL_2B, QWEN2_VL_7B, TINY, random_policy
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.training import LoraSettings, TrainingConfig

SHAPES = {"2b": QWEN2_VL_2B, "7b": QWEN2_VL_7B, "tiny": TINY}
PARTS = ("score", "attack", "respond", "train")
BACK_ENDS = ("sdpa", "eager", "flash_attention_2")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for and write the report."""
    options = parser().parse_args(arguments)
    device = torch.device(options.device)
    models = ["tiny"] if options.tiny else options.models
    sizes = TINY_SIZES if options.tiny else Sizes()
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    ceiling = matrix_ceiling(device, 256 if options.tiny else 8192)
    report = Report(card, ceiling)
    print(f"{card}: matrix ceiling {ceiling:.1f} TFLOP/s", flush=True)
    for model in models:
        Bench(model, device, sizes, report).run(options.only)
    path = report.write(
        options.output, f"--only {','.join(options.only)} --models {','.join(models)}"
    )
    for goal, measured, met in report.goals():
        print(f"goal {'met' if met else 'MISSED'}: {goal}: {measured}")
    print(path.name)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("--only", type=_names(PARTS), default=list(PARTS), help="parts")
    found.add_argument("--models", type=_names(SHAPES), default=["2b", "7b"])
    found.add_argument("--device", default="cuda")
    found.add_argument("--tiny", action="store_true", help="a tiny model and tiny work")
    found.add_argument("--output", type=Path, default=RESULTS, help="folder of the report")
    return found


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        unknown = [name for name in text.split(",") if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, got {unknown}")
        return text.split(",")

    return parse


def matrix_ceiling(device: torch.device, width: int) -> float:
    """TFLOP/s of bfloat16 products of square matrices: the best of ten medians of five."""
    left, right = (torch.randn(width, width, device=device, dtype=torch.bfloat16) for _ in "ab")
    now = clock(device)
    best = float("inf")
    for _ in range(10):
        best = min(best, statistics.median(seconds(lambda: left @ right, now) for _ in range(5)))
    return 2 * width**3 / best / 1e12


class Bench:
    """All parts for one model."""

    def __init__(self, model: str, device: torch.device, sizes: Sizes, report: Report) -> None:
        self.model, self.device, self.sizes, self.report = model, device, sizes, report

    def run(self, parts: Sequence[str]) -> None:
        """Run the parts; score, attack and respond share one policy, training makes its own."""
        if set(parts) - {"train"}:
            policy = self._policy(torch.bfloat16)
            if "score" in parts:
                self.score(policy)
            if "attack" in parts:
                self.attack(policy)
            if "respond" in parts:
                self.respond(policy)
            del policy
        if "train" in parts:
            self.train()

    def score(self, policy: QwenVL) -> None:
        """One question an image at several batch sizes, four turns an image, back ends."""
        sizes = self.sizes
        self._try("score", sizes.score_batches, lambda b: gpu_parts.scoring(policy, sizes, b))
        best = self._best_batch("score")
        self._try(
            "score 4 turns", [4 * max(1, best // 4)],
            lambda b: gpu_parts.scoring(policy, sizes, b, turns=4),
        )  # fmt: skip
        self._back_ends(policy, "score", best, gpu_parts.scoring(policy, sizes, best))

    def attack(self, policy: QwenVL) -> None:
        """Batch sizes with two steps, then the whole attack at the best one, back ends."""
        sizes = self.sizes
        self._try(
            "attack 2 steps", sizes.attack_batches,
            lambda b: gpu_parts.attacking(policy, sizes, b, 2),
        )  # fmt: skip
        best = self._best_batch("attack 2 steps")
        self._try("attack", [best], lambda b: gpu_parts.attacking(policy, sizes, b,
                                                                  sizes.attack_steps))  # fmt: skip
        self._back_ends(policy, "attack 2 steps", best, gpu_parts.attacking(policy, sizes, best, 2))

    def respond(self, policy: QwenVL) -> None:
        """Sampling and scoring of rejected responses."""
        sizes = self.sizes
        self._try(
            "respond", sizes.respond_batches, lambda b: gpu_parts.responding(policy, sizes, b)
        )

    def train(self) -> None:
        """Adapters on bfloat16 weights; all weights in float32 under autocast (2B only)."""
        self._train("train LoRA", torch.bfloat16, LoraSettings(), checkpointing=False)
        self._train("train LoRA, checkpointed", torch.bfloat16, LoraSettings(), checkpointing=True)
        if self.model == "7b":
            self.report.note("7b train full: not tried, float32 weights, gradients, moments and "
                             "reference alone are 166 GB")  # fmt: skip
        else:
            self._train("train full", torch.float32, None, checkpointing=False)

    def _policy(self, dtype: torch.dtype) -> QwenVL:
        return random_policy(SHAPES[self.model], device=str(self.device), dtype=dtype)

    def _train(
        self, part: str, dtype: torch.dtype, lora: LoraSettings | None, *, checkpointing: bool
    ) -> None:
        sizes = self.sizes
        groups = sizes.pairs + sizes.prompts
        config = TrainingConfig(
            num_generations=sizes.generations, max_new_tokens=sizes.rollout_tokens,
            groups_per_step=groups, micro_batch_groups=sizes.micro_batch_groups, lora=lora,
            gradient_checkpointing=checkpointing, bf16=True, save_every=0, probe_every=0,
            stream_norm_every=0, warmup_steps=0,
        )  # fmt: skip
        self._clear()
        try:
            taken, flops = gpu_parts.train_steps(self._policy(dtype), sizes, config)
        except torch.OutOfMemoryError:
            self.report.note(f"{self.model} {part}: does not fit")
            return
        batch, median = sizes.micro_batch_groups, statistics.median(taken)
        self.report.add(
            Figures(self.model, part, "sdpa", batch, groups, median, flops, self._peak())
        )

    def _try(
        self, part: str, batches: Sequence[int], make: Callable[[int], Callable[[], object]]
    ) -> None:
        """Time a part at every batch size, up to the first that does not fit."""
        for batch in batches:
            try:
                self.report.add(self._measured(part, "sdpa", batch, make(batch)))
            except torch.OutOfMemoryError:
                self.report.note(f"{self.model} {part}: a batch of {batch} does not fit")
                return

    def _measured(
        self, part: str, attention: str, batch: int, work: Callable[[], object],
        flops: float | None = None,
    ) -> Figures:  # fmt: skip
        """Warm up, count, and time one part; FLOPs are counted unless they are known."""
        self._clear()
        if flops is None:
            with FlopCounterMode(display=False) as counter:
                work()
            flops = float(counter.get_total_flops())
        else:
            work()
        now = clock(self.device)
        rounds = self.sizes.rounds if part.startswith("score") else 1
        median = statistics.median(seconds(work, now) for _ in range(rounds))
        return Figures(self.model, part, attention, batch, batch, median, flops, self._peak())

    def _back_ends(self, policy: QwenVL, part: str, batch: int, work: Callable[[], object]) -> None:
        """The same work under the other attention back ends; FLOPs are those counted with sdpa."""
        known = self.report.best(self.model, part)
        for attention in BACK_ENDS[1:]:
            if attention == "flash_attention_2" and not importlib.util.find_spec("flash_attn"):
                self.report.note(f"{self.model} {part}: flash_attention_2 is not installed")
                continue
            policy.model.set_attn_implementation(attention)
            try:
                flops = known.flops if known else None
                self.report.add(self._measured(part, attention, batch, work, flops))
            except torch.OutOfMemoryError:
                self.report.note(f"{self.model} {part}: {attention} does not fit at {batch}")
        policy.model.set_attn_implementation(BACK_ENDS[0])

    def _best_batch(self, part: str) -> int:
        best = self.report.best(self.model, part)
        if best is None:
            raise RuntimeError(f"{self.model} {part}: not even the smallest batch fits")
        return best.batch

    def _clear(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak(self) -> int | None:
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device)


if __name__ == "__main__":
    main()
