"""The exact lmms-eval command for a checkpoint folder."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mbpo_core.models.preprocessing import ImageConfig

MODELS: Final = ("qwen2_vl", "qwen2_5_vl")
"""Values of `model_type` in config.json; lmms-eval's wrappers bear the same names."""
START_MODULE: Final = "mbpo_core.evaluation.lmms.start"
OFFLINE: Final = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_UNSAFE: Final = re.compile(r"[,=\"'{}\[\]\s]")
"""lmms-eval splits model arguments at commas and reads quotes and braces in them; the output folder
goes through the same parser."""


@dataclass(frozen=True)
class Command:
    """What to run, and with which variables beside the caller's own."""

    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def shell(self) -> str:
        """One line that a POSIX shell understands, whatever the paths hold."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*variables, shlex.join(self.argv)])


def build(
    checkpoint: Path,
    tasks: Sequence[str],
    output: Path,
    *,
    python: str = "python",
    device: str = "cuda",
    include: Path | None = None,
    max_pixels: int | None = None,
    limit: int | None = None,
    import_path: Path | None = None,
    offline: bool = False,
) -> Command:
    """Return the command that evaluates a checkpoint; nothing is run or written.

    On the CPU our start module goes before lmms-eval (see `start`); elsewhere it is the plain
    `python -m lmms_eval`. Both area limits are always passed: the wrappers' own defaults
    (602,112 pixels at most for Qwen2-VL, 200,704 at least for Qwen2.5-VL) are not the checkpoint's.
    Times in the results are UTC, where lmms-eval would write those of Singapore.

    Args:
        checkpoint: folder with config.json and preprocessor_config.json.
        tasks: names as lmms-eval knows them.
        output: folder that lmms-eval writes results and samples to.
        python: interpreter that has lmms-eval.
        device: of torch: `cuda`, `cuda:1`, `cpu`; `auto` spreads the model over all GPUs.
        include: folder with task YAMLs of our own.
        max_pixels: largest area of an image in pixels; default: the checkpoint's.
        limit: only so many questions of each task.
        import_path: folder that holds `mbpo_core`, where the interpreter does not find it itself.
        offline: never ask the hub.

    Raises:
        FileNotFoundError: no config.json or preprocessor_config.json.
        ValueError: another architecture, no task, numbers below 1, a path that lmms-eval's parser
            would cut into pieces.
    """
    checkpoint, output = checkpoint.absolute(), output.absolute()
    _check(tasks, (checkpoint, output), {"max_pixels": max_pixels, "limit": limit})
    on_cpu = device == "cpu"
    argv = [python, "-m", START_MODULE if on_cpu else "lmms_eval"]
    argv += ["--model", architecture(checkpoint)]
    argv += ["--model_args", _model_args(checkpoint, device, max_pixels)]
    argv += ["--tasks", ",".join(tasks)]
    argv += ["--include_path", str(include.absolute())] if include is not None else []
    argv += ["--batch_size", "1"]  # its scores change with the batch size
    argv += ["--device", "cuda" if device == "auto" else device]
    argv += ["--limit", str(limit)] if limit is not None else []
    argv += ["--log_samples", "--output_path", str(output), "--timezone", "UTC"]
    environment = {} if import_path is None else {"PYTHONPATH": str(import_path.absolute())}
    return Command(tuple(argv), environment | (dict.fromkeys(OFFLINE, "1") if offline else {}))


def _check(tasks: Sequence[str], paths: tuple[Path, ...], numbers: dict[str, int | None]) -> None:
    if not tasks:
        raise ValueError("expected at least one lmms-eval task")
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    for path in paths:
        if _UNSAFE.search(str(path)):
            raise ValueError(
                f"lmms-eval cannot take a path with commas, quotes, brackets, '=' or spaces: {path}"
            )


def architecture(checkpoint: Path) -> str:
    """Return the wrapper's name for a checkpoint folder, from its config.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no JSON object, or names a model that is neither Qwen2-VL nor Qwen2.5-VL.
    """
    path = checkpoint / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no config.json in {checkpoint}: not a checkpoint folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    found = config.get("model_type") if isinstance(config, dict) else None
    if found not in MODELS:
        raise ValueError(f"{checkpoint} holds a {found!r} model, expected {' or '.join(MODELS)}")
    return found


def _model_args(checkpoint: Path, device: str, max_pixels: int | None) -> str:
    images = ImageConfig.from_folder(checkpoint)
    largest = images.max_pixels if max_pixels is None else max_pixels
    if largest < images.min_pixels:
        raise ValueError(
            f"max_pixels must be at least the checkpoint's min_pixels ({images.min_pixels}), "
            f"got {largest}"
        )
    # `device` must not be among them: lmms-eval passes that one itself, from --device.
    return (
        f"pretrained={checkpoint},device_map={device},"
        f"min_pixels={images.min_pixels},max_pixels={largest}"
    )
