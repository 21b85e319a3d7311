"""Stands where vLLM would: takes what vLLM 0.33.0 takes, refuses the rest, draws by our policy.

Installed as the module `vllm`. It expands the image pad itself, as vLLM does, and records calls.
"""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from mbpo_core.models.loading import load_policy
from mbpo_core.models.preprocessing import to_units

CALLS = "VLLM_STANDIN_CALLS"
"""Environment variable: a file that gets one JSON line a call."""


@dataclass
class SamplingParams:
    """Fields and bounds of `vllm.SamplingParams` that we use."""

    seed: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = 16
    stop_token_ids: list[int] = field(default_factory=list)
    ignore_eos: bool = False
    logit_bias: dict[int, float] | None = None
    detokenize: bool = True

    def __post_init__(self):
        assert 0 <= self.temperature <= 2 and 0 < self.top_p <= 1 and self.max_tokens >= 1
        assert self.seed is None or -(2**63) <= self.seed < 2**63
        assert len(self.logit_bias or {}) <= 1024


class Drawn:
    """A completion: its log-probabilities must not be looked at."""

    def __init__(self, ids):
        self.token_ids = tuple(ids)

    def __getattr__(self, name):
        raise AssertionError(f"{name} of vLLM's output was read")


class LLM:
    """The engine."""

    def __init__(
        self, model, *, dtype, load_format, trust_remote_code, generation_config, seed,
        max_model_len, gpu_memory_utilization, limit_mm_per_prompt, mm_processor_kwargs,
    ):  # fmt: skip
        record(model=model, dtype=dtype, load_format=load_format, seed=seed,
               trust_remote_code=trust_remote_code, generation_config=generation_config,
               gpu_memory_utilization=gpu_memory_utilization, limit=limit_mm_per_prompt,
               kwargs=mm_processor_kwargs, max_model_len=max_model_len)  # fmt: skip
        torch.set_num_threads(1)
        self.policy = load_policy(model, dtype=dtype)

    def generate(self, prompts, sampling_params, *, use_tqdm=True):
        assert len(prompts) == len(sampling_params)
        record(prompts=[prompt["prompt_token_ids"] for prompt in prompts],
               seeds=[params.seed for params in sampling_params])  # fmt: skip
        first = sampling_params[0]
        assert all(replace(params, seed=first.seed) == first for params in sampling_params)
        assert first.ignore_eos and first.stop_token_ids == list(self.policy.eos_ids)
        assert set(first.logit_bias) == set(self.policy.suppressed) and not first.detokenize
        images = [picture(prompt) for prompt in prompts]
        pairs = zip(prompts, images, strict=True)
        ids = [self._expanded(prompt["prompt_token_ids"], image) for prompt, image in pairs]
        drawn = self.policy.sample(
            ids, to_units(images), [params.seed for params in sampling_params],
            temperature=first.temperature, top_p=first.top_p, max_new_tokens=first.max_tokens,
        )  # fmt: skip
        return [SimpleNamespace(prompt_token_ids=prompt, outputs=[Drawn(row.ids)])
                for prompt, row in zip(ids, drawn, strict=True)]  # fmt: skip

    def _expanded(self, ids, image):
        pad = self.policy.image_token_id
        assert ids.count(pad) == 1, "vLLM replaces each pad by the whole image"
        _, rows, columns = self.policy.grid(*image.shape[1:])
        at = ids.index(pad)
        return ids[:at] + [pad] * (rows * columns // 4) + ids[at + 1 :]


def picture(prompt):
    """Return the image of a prompt as uint8 [3, H, W]."""
    return torch.from_numpy(np.array(prompt["multi_modal_data"]["image"])).permute(2, 0, 1)


def record(**call):
    if path := os.environ.get(CALLS):
        with Path(path).open("a") as file:
            file.write(json.dumps(call) + "\n")


def install(folder: Path, version: str = "0.33.0") -> None:
    """Make a folder that, on PYTHONPATH, has the package `vllm` in this version."""
    root = str(Path(__file__).parents[1])
    (folder / f"vllm-{version}.dist-info").mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"
    (folder / f"vllm-{version}.dist-info" / "METADATA").write_text(metadata)
    (folder / "vllm.py").write_text(
        f"import sys; sys.path.append({root!r})\nfrom tests.vllm_standin import *\n"
    )
