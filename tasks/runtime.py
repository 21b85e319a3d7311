"""How a recipe is run: folders, devices, workers. Never part of a fingerprint."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Runtime(BaseModel):
    """Where and on what the stages run; changes no result, but for the `sampler`.

    Another sampler draws other responses from the same seeds. Stages that draw therefore name it,
    with its version, in their keys; the default leaves no trace there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Path(".mbpo")
    """Folder of the artifacts and of `catalog.duckdb`."""
    devices: tuple[str, ...] = ("auto",)
    """One long-lived worker process each; `auto` = every GPU, else the CPU."""
    workers: int | None = Field(None, ge=1)
    """Workers on the CPU; default: one a core, at most two. GPUs have one each."""
    retries: int = Field(2, ge=0)
    """New tries of a shard whose worker died or failed."""
    shard_timeout_seconds: float = Field(6 * 3600, gt=0)
    """A worker that is silent for longer is killed and its shard tried again."""
    train_launcher: tuple[str, ...] = ()
    """Words before `-m tasks.train_process`, as
    `("python", "-m", "torch.distributed.run", "--nproc_per_node", "8")`."""
    sampler: Literal["transformers", "vllm"] = "transformers"
    """What draws responses in `respond` and `answer`; see docs/sampling.md."""
    vllm_python: str | None = None
    """Python of an environment with vLLM; default: this one."""
    vllm_memory: float = Field(0.5, gt=0, le=1)
    """Share of a GPU's memory that vLLM takes; the policy that measures needs the rest (assumed).
    """
    tflops: float = Field(200.0, gt=0)
    """Sustained TFLOP/s of one device, for estimates where nothing was measured (assumed)."""
    fail: str | None = None
    """Drill: a shard that fails, as `mine/2`; used to practise recovery."""

    def slots(self) -> list[str]:
        """Return the device of every worker process."""
        if self.devices != ("auto",):
            return [device for device in self.devices for _ in range(self._copies(device))]
        import torch

        gpus = torch.cuda.device_count()
        if gpus:
            return [f"cuda:{index}" for index in range(gpus)]
        return ["cpu"] * self._copies("cpu")

    def _copies(self, device: str) -> int:
        if device != "cpu":
            return 1
        import os

        return self.workers or min(2, os.cpu_count() or 1)
