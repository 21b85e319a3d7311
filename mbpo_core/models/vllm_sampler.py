"""Drawing through vLLM: the same prompts, pixels and seeds as the policy's own `sample`.

Written against vLLM 0.33.0. vLLM expands one image pad by itself, so a prompt goes there with one,
and what it made of it is compared with ours. The engine draws tokens and nothing else: whoever
needs their log-probabilities has the policy measure them.
"""

import base64
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from mbpo_core.data.images import encode_png
from mbpo_core.models.preprocessing import scaled
from mbpo_core.models.protocol import Sampled
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.models.sampling import check_settings, cut_at_eos
from mbpo_core.models.vllm_engine import MOST_FORBIDDEN

TEMPERATURES = (0.01, 2.0)
"""vLLM raises temperatures between 0 and the first silently, and refuses those above the second."""


class Engine(Protocol):
    """What draws: `vllm_engine.Engine`, in this process or in another."""

    def draw(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """See `vllm_engine.Engine.draw`."""
        ...


def model_arguments(policy: QwenVL, folder: str, dtype: str, memory_share: float) -> dict[str, Any]:
    """Arguments of `vllm.LLM` for the model that the policy has in this folder.

    Weights are read from safetensors alone, no code of the checkpoint is run and none of its own
    sampling settings is used. `memory_share` of the device's memory, in (0, 1], is vLLM's.
    """
    config = policy.image_config
    return {
        "model": folder,
        "dtype": dtype,
        "load_format": "safetensors",
        "trust_remote_code": False,
        "generation_config": "vllm",
        "seed": 0,
        "max_model_len": policy.max_length,
        "gpu_memory_utilization": memory_share,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        # Images have their size already; within these bounds it is left alone.
        "mm_processor_kwargs": {
            "min_pixels": config.factor**2,
            "max_pixels": config.max_pixels,
        },
    }


class VllmSampler:
    """A `Sampler` whose tokens vLLM draws.

    Differs from `QwenVL.sample`: equal seeds give other draws, since the noise is another; images
    must be on the 8-bit lattice, as stored ones are; temperatures are those that vLLM takes.
    """

    def __init__(self, policy: QwenVL, engine: Engine) -> None:
        """`policy` knows ids, sizes and limits; it is not run."""
        if len(policy.suppressed) > MOST_FORBIDDEN:
            raise ValueError(
                f"vLLM forbids {MOST_FORBIDDEN} ids at most, this model has "
                f"{len(policy.suppressed)} that must never be drawn"
            )
        self._policy = policy
        self._engine = engine

    def sample(
        self,
        prompts: Sequence[list[int]],
        images: Sequence[Tensor],
        seeds: Sequence[int],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
    ) -> list[Sampled]:
        """One response per row, as `Sampler.sample`.

        Errors: as `QwenVL.sample`, before anything is drawn (one bad row would end the whole call
        in vLLM); ValueError for an image off the 8-bit lattice, for an image of a size that vLLM
        would change, and for a temperature that it does not take; RuntimeError where it did not do
        what was asked.
        """
        self._policy.check_prompts(prompts, images, seeds, max_new_tokens)
        check_settings(temperature, top_p)
        low, high = TEMPERATURES
        if temperature != 0 and not low <= temperature <= high:
            raise ValueError(f"vLLM takes temperature 0 or {low} to {high}, got {temperature}")
        numbers = {key: n for n, key in enumerate(dict.fromkeys(id(image) for image in images))}
        unique = {id(image): image for image in images}
        request = {
            "images": [base64.b64encode(self._png(image)).decode() for image in unique.values()],
            "rows": [
                {
                    "prompt": self._with_one_pad(prompt, image),
                    "image": numbers[id(image)],
                    "seed": s,
                }
                for prompt, image, s in zip(prompts, images, seeds, strict=True)
            ],
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_new_tokens,
            "stop": list(self._policy.eos_ids),
            "forbidden": self._policy.suppressed,
        }
        answers = self._engine.draw(request)
        return [
            self._sampled(prompt, answer, max_new_tokens)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _with_one_pad(self, prompt: list[int], image: Tensor) -> list[int]:
        """Leave one image pad of the run that the grid needs."""
        _, rows, columns = self._policy.grid(*image.shape[1:])
        count = rows * columns // self._policy.image_config.merge_size**2
        pad = self._policy.image_token_id
        start = prompt.index(pad) if pad in prompt else 0
        if prompt.count(pad) != count or prompt[start : start + count] != [pad] * count:
            raise ValueError(
                f"the image needs one run of {count} image tokens, the prompt has "
                f"{prompt.count(pad)}"
            )
        return prompt[: start + 1] + prompt[start + count :]

    def _png(self, image: Tensor) -> bytes:
        """The stored form of a model input: lossless, or ValueError."""
        levels = (image.detach().cpu().double() * 255).round()
        if not torch.equal(scaled(levels), image.detach().cpu().float()):
            raise ValueError("vLLM takes 8-bit images: this one lies between grey levels")
        height, width = image.shape[1:]
        most = self._policy.image_config.max_pixels
        if height * width > most:
            raise ValueError(
                f"vLLM would resize an image of {height} x {width} pixels: more than {most}"
            )
        return encode_png(levels.to(torch.uint8).permute(1, 2, 0).numpy())

    def _sampled(self, prompt: list[int], answer: dict[str, Any], most: int) -> Sampled:
        if answer["prompt"] != prompt:
            raise RuntimeError(
                f"vLLM read a prompt of {len(answer['prompt'])} tokens where {len(prompt)} were "
                f"meant: it expands the image otherwise"
            )
        sampled = cut_at_eos(answer["ids"], self._policy.eos_ids)
        if not sampled.ids or len(sampled.ids) > most:
            raise RuntimeError(f"vLLM drew {len(sampled.ids)} tokens, asked for 1 to {most}")
        if not sampled.finished and len(sampled.ids) < most:
            raise RuntimeError(f"vLLM stopped after {len(sampled.ids)} tokens without an EOS id")
        if forbidden := set(sampled.ids) & set(self._policy.suppressed):
            raise RuntimeError(f"vLLM drew ids that it was told never to: {sorted(forbidden)}")
        return sampled
