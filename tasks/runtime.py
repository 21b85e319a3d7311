"""How a recipe is run: folders, devices, workers. Never part of a fingerprint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Runner = Literal["local", "processes", "ray"]


class Runtime(BaseModel):
    """Where and on what the stages run; changes no result, but for the `sampler`.

    Another sampler draws other responses from the same seeds. Stages that draw therefore name it,
    with its version, in their keys; the default leaves no trace there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path = Path(".mbpo")
    """Folder of the artifacts and of `catalog.duckdb`."""
    runner: Runner = "processes"
    """`local`: shards one after the other in the run's own process; `processes`: workers on this
    machine; `ray`: workers on a Ray cluster whose nodes all see `root`."""
    devices: tuple[str, ...] = ("auto",)
    """One long-lived worker process each; `auto` = every GPU, else the CPU. Ray assigns them
    itself: there it is `auto`, or `cpu` to leave GPUs alone."""
    workers: int | None = Field(None, ge=1)
    """Workers on the CPU; default: one a core, at most two where they run models. GPUs have one
    each besides. With Ray: in the whole cluster, and one a CPU by default."""
    ray_address: str | None = None
    """The cluster's, as `head:6379`; `auto`: the one that this machine is part of; default: a Ray
    on this machine alone, for the time of the run."""
    ray_gpus: int | None = Field(None, ge=1)
    """GPUs to ask Ray for, one worker each; default: as many as it has when the run begins. More
    than that make a cluster grow that can."""
    retries: int = Field(2, ge=0)
    """New tries of a shard whose worker died or failed."""
    shard_timeout_seconds: float = Field(6 * 3600, gt=0)
    """A worker that is silent for longer is killed and its shard tried again."""
    max_failures: float = Field(0.02, ge=0, le=1)
    """Share of a stage's rows that may fail (see `tasks.failures`) before it is not committed."""
    train_launcher: tuple[str, ...] = ()
    """Words before `-m tasks.train_process`, as `("accelerate", "launch", "--config_file",
    "deployments/accelerate/ddp.yaml", "--num_processes", "8")`; see docs/training.md."""
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

    @model_validator(mode="after")
    def _ray_assigns_devices(self) -> Self:
        if self.runner == "ray" and self.devices not in (("auto",), ("cpu",)):
            raise ValueError(
                f"with runner=ray devices are `auto` or `cpu`, got {', '.join(self.devices)}: "
                "which GPU a worker has, Ray decides"
            )
        return self

    def slots(self) -> list[str]:
        """Return the device of every worker process."""
        if self.devices != ("auto",):
            return [device for device in self.devices for _ in range(self._copies(device))]
        import torch

        gpus = torch.cuda.device_count()
        if gpus:
            return [f"cuda:{index}" for index in range(gpus)]
        return ["cpu"] * self._copies("cpu")

    def decoders(self) -> int:
        """Return how many workers on the CPU stand beside those on GPUs; 0 without GPUs."""
        return 0 if set(self.slots()) == {"cpu"} else self.workers or os.cpu_count() or 1

    def _copies(self, device: str) -> int:
        if device != "cpu":
            return 1
        return self.workers or min(2, os.cpu_count() or 1)
