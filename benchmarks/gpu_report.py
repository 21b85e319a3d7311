"""The results file of the GPU benchmark: figures of every part, goals, and what did not fit."""

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figures:
    """One line of the table."""

    model: str
    """"2b", "7b" or "tiny"."""
    part: str
    """What was done."""
    attention: str
    """Back end of transformers."""
    batch: int
    """Samples (score, attack, respond) or groups (train) at once."""
    samples: int
    """Samples done in `seconds`."""
    seconds: float
    """Wall time, median of the repetitions."""
    flops: float | None = None
    """Executed in that time (`torch.utils.flop_counter`); None where the counter cannot see it."""
    peak_bytes: int | None = None
    """Of device memory; None on a CPU."""

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds

    @property
    def tflops(self) -> float | None:
        """TFLOP/s achieved."""
        return None if self.flops is None else self.flops / self.seconds / 1e12


@dataclass
class Report:
    """What a run has found so far."""

    card: str
    """Name of the device."""
    ceiling: float
    """TFLOP/s of large matrix products, measured."""
    lines: list[Figures] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, line: Figures) -> None:
        """Keep a line and print it."""
        self.lines.append(line)
        print(" | ".join(_cells(line, self.ceiling)), flush=True)

    def note(self, text: str) -> None:
        """Keep a remark (what did not fit, what a back end refused) and print it."""
        self.notes.append(text)
        print(f"note: {text}", flush=True)

    def best(self, model: str, part: str) -> Figures | None:
        """The fastest line of a part."""
        found = [line for line in self.lines if (line.model, line.part) == (model, part)]
        return max(found, key=lambda line: line.rate, default=None)

    def write(self, folder: Path, asked: str) -> Path:
        """`gpu-<card>.md` in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", self.card.lower()).strip("-")
        path = folder / f"gpu-{name}.md"
        path.write_text("\n".join(self._markdown(asked)) + "\n")
        return path

    def goals(self) -> list[tuple[str, str, bool]]:
        """What was asked for, what was measured, whether it is met; only of what was run."""
        found = []
        for part, least in (("score", 0.45), ("attack", 0.40)):
            line = self.best("2b", part)
            if line and line.tflops is not None:
                share = line.tflops / self.ceiling
                found.append((f"2B {part}: at least {least:.0%} of the ceiling", f"{share:.1%}",
                              share >= least))  # fmt: skip
        attack = self.best("2b", "attack")
        if attack:
            hours = 10_000 / attack.rate / 3600
            found.append(("2B, 10,000 images x 20 steps: under 2 GPU-hours (extrapolated)",
                          f"{hours:.2f} h", hours < 2))  # fmt: skip
        lora = [
            line
            for line in self.lines
            if line.model == "7b" and line.part.startswith("train LoRA") and line.peak_bytes
        ]
        if lora:
            line = min(lora, key=lambda line: line.peak_bytes)
            found.append(("7B LoRA training step: within 80 GB",
                          f"{line.peak_bytes / 1e9:.1f} GB ({line.part})",
                          line.peak_bytes < 80e9))  # fmt: skip
        return found

    def _markdown(self, asked: str) -> list[str]:
        lines = [
            f"# {self.card}",
            "",
            f"`python -m benchmarks.bench_gpu {asked}` with torch {torch.__version__}, "
            f"transformers {transformers.__version__}, Python {platform.python_version()}. "
            "Random weights in bfloat16; adapters, and weights that are trained in full, in "
            "float32 under autocast.",
            "",
            f"Matrix ceiling, measured: {self.ceiling:.1f} TFLOP/s. FLOPs are those executed, by "
            "`torch.utils.flop_counter`; what is shared or skipped is not counted.",
            "",
            "| goal | measured | |",
            "|---|---|---|",
            *(f"| {a} | {b} | {'met' if met else '**missed**'} |" for a, b, met in self.goals()),
            "",
            "| " + " | ".join(HEADINGS) + " |",
            "|" + "---|" * len(HEADINGS),
            *("| " + " | ".join(_cells(line, self.ceiling)) + " |" for line in self.lines),
        ]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return lines


HEADINGS = ("model", "part", "attention", "batch", "samples/s", "TFLOP/s", "of ceiling", "peak GB")


def _cells(line: Figures, ceiling: float) -> Sequence[str]:
    tflops = line.tflops
    return (
        line.model, line.part, line.attention, str(line.batch), f"{line.rate:.3g}",
        "not counted" if tflops is None else f"{tflops:.3g}",
        "" if tflops is None else f"{tflops / ceiling:.1%}",
        "" if line.peak_bytes is None else f"{line.peak_bytes / 1e9:.1f}",
    )  # fmt: skip
