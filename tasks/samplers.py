"""What draws responses, by `Runtime.sampler`: the policy, or vLLM in a process of its own."""

from __future__ import annotations

import atexit
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from mbpo_core.config import EmbeddedModel, Model
from mbpo_core.models.loading import model_folder
from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.protocol import Sampled, Sampler
from mbpo_core.models.qwen_vl import QwenVL
from tasks.clock import around_the_model
from tasks.models import EMBEDDED
from tasks.runtime import Runtime
from tasks.vllm_process import VllmProcess

SAMPLER_CODE = (
    "mbpo_core.models.vllm_engine",
    "mbpo_core.models.vllm_sampler",
    "tasks.vllm_process",
)
"""Enters keys of stages that draw with vLLM, and no others."""
INSTALL = "python -m venv .venv-vllm && .venv-vllm/bin/pip install 'vllm>=0.33,<0.34'"


def sampler_version(runtime: Runtime) -> dict[str, str]:
    """Return name and version of a sampler other than the default, as it enters a key.

    Raises ValueError if it is not there.
    """
    return {} if runtime.sampler == "transformers" else {"vllm": _version(_python(runtime))}


def open_sampler(
    model: Model, policy: QwenVL, runtime: Runtime, device: str, folder: Path | None = None
) -> Sampler:
    """Return what draws for a policy: the policy, or the vLLM that this process holds.

    `model` and `folder` are those that the policy was opened with.
    """
    if runtime.sampler == "transformers":
        return policy
    from mbpo_core.models.vllm_sampler import VllmSampler

    return VllmSampler(policy, _engine(policy, *_weights(model, folder), runtime, device))


def drawn_ahead(
    sampler: Sampler, policy: QwenVL, prompts: Sequence[list[int]], images: Sequence[Tensor],
    seeds: Sequence[int], settings: dict[str, Any],
) -> Sampler:  # fmt: skip
    """Return the policy as it is; of another sampler, one that has drawn all these rows already.

    Packs are made for the memory of a forward pass. An engine that batches by itself is fast only
    where it sees many rows. `images` are stored ones, uint8; `seeds` must differ.
    """
    if sampler is policy or not prompts:
        return sampler
    drawn = sampler.sample(prompts, to_units(images), seeds, **settings)
    return _Ahead(sampler, dict(zip(seeds, drawn, strict=True)), settings)


class _Ahead:
    """Draws that are known by their seeds; what is not known is drawn."""

    def __init__(
        self, sampler: Sampler, known: dict[int, Sampled], settings: dict[str, Any]
    ) -> None:
        self._sampler = sampler
        self._known = known
        self._settings = settings

    def sample(
        self, prompts: Sequence[list[int]], images: Sequence[Tensor], seeds: Sequence[int],
        **settings: Any,
    ) -> list[Sampled]:  # fmt: skip
        """Return one response a row."""
        if settings == self._settings and all(seed in self._known for seed in seeds):
            return [self._known[seed] for seed in seeds]
        return self._sampler.sample(prompts, images, seeds, **settings)


def forget_sampler() -> None:
    """End the engine that this process holds, and with it give back its memory."""
    while _held:
        _held.popitem()[1].close()


_held: dict[tuple[Any, ...], VllmProcess] = {}
"""One at most: a second one would find no memory."""
atexit.register(forget_sampler)


@around_the_model()
def _engine(policy: QwenVL, where: Path, dtype: str, runtime: Runtime, device: str) -> VllmProcess:
    from mbpo_core.models.vllm_sampler import model_arguments

    python = _python(runtime)
    key = (where, dtype, runtime.vllm_memory, python, device)
    if key not in _held or not _held[key].alive:
        forget_sampler()
        arguments = model_arguments(policy, str(where), dtype, runtime.vllm_memory)
        _held[key] = VllmProcess(python, arguments, device)
    return _held[key]


def _weights(model: Model, folder: Path | None) -> tuple[Path, str]:
    """Return folder and dtype as `tasks.models.open_policy` opens them."""
    if isinstance(model, EmbeddedModel):
        return folder or EMBEDDED, "float32"
    return folder or model_folder(model.name, model.revision), model.dtype


def _python(runtime: Runtime) -> str:
    return runtime.vllm_python or sys.executable


@lru_cache
def _version(python: str) -> str:
    code = "import importlib.metadata as m; print(m.version('vllm'))"
    try:
        # -P: a folder that happens to be the current one does not count as installed.
        done = subprocess.run(
            [python, "-P", "-c", code], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"no usable Python for vLLM: {python} ({error})") from None
    if done.returncode:
        raise ValueError(
            f"no vLLM for {python}; install it beside this environment ({INSTALL}) and name its "
            "Python: --runtime vllm_python=.venv-vllm/bin/python"
        )
    return done.stdout.strip()
