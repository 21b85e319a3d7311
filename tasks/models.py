"""From a model's description in a recipe to its fingerprint and to the loaded policy."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from mbpo_core.config import EmbeddedModel, Model
from mbpo_core.models.loading import load_policy, model_fingerprint
from mbpo_core.models.qwen_vl import QwenVL
from tasks.clock import around_the_model

logger = logging.getLogger(__name__)
EMBEDDED = Path(__file__).parents[1] / "mbpo_core" / "testbed" / "model"


def model_identity(model: Model) -> str:
    """Return what tells two models apart: the bytes of a folder, or id and revision of a hub."""
    if isinstance(model, EmbeddedModel):
        return f"{model_fingerprint(str(EMBEDDED))} float32 sdpa"
    return f"{model_fingerprint(model.name, model.revision)} {model.dtype} {model.attention}"


def open_policy(
    model: Model, device: str, folder: Path | None = None, dtype: str | None = None
) -> QwenVL:
    """Load a policy, or the one that this process holds.

    `folder` holds other weights of the same kind; `dtype` overrides that of the description.
    """
    if isinstance(model, EmbeddedModel):
        return _load(str(folder or EMBEDDED), None, "float32", device, "sdpa")
    name = str(folder) if folder else model.name
    revision = None if folder else model.revision
    return _load(name, revision, dtype or model.dtype, device, model.attention)


def forget_policy() -> None:
    """Let go of the policy that this process holds; the next one is read from its files."""
    _load.cache_clear()


@lru_cache(maxsize=1)
@around_the_model()
def _load(name: str, revision: str | None, dtype: str, device: str, attention: str) -> QwenVL:
    logger.info("loading %s on %s", name, device)
    return load_policy(name, revision=revision, dtype=dtype, device=device, attn=attention)
