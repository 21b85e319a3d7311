"""One picture and one question for the base and the trained model, with the picture and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mbpo_core.config import Recipe
from mbpo_core.data.images import ImagePolicy, decode_png, prepare_image
from mbpo_core.information_gain import information_gain
from mbpo_core.models.preprocessing import blank_like, to_units
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.records import Refusal
from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.export_origin import settings_of
from tasks.ingest import FACTOR
from tasks.models import forget_policy, open_policy

ON_IMAGE, ON_BLANK = "image", "blank"


@dataclass(frozen=True)
class Answer:
    """What one model says."""

    model: str
    """`base` or `trained`."""
    shown: str
    """`image`, or `blank`: a black picture of the same size."""
    text: str
    finished: bool
    """False where it was cut at the limit of tokens."""
    iig_mean: float
    """Image information gain of this very answer under this model, nats a token (eq. 4)."""


def recipe_of(store: ArtifactStore, ref: ArtifactRef) -> Recipe:
    """Return the recipe of the latest run that trained or used this checkpoint.

    Raises ValueError for an artifact that is no checkpoint, or of which no run tells the recipe.
    """
    if ref.stage != "train":
        raise ValueError(
            f"{ref.short} is no checkpoint; `mbpo ls train` lists those that there are"
        )
    if settings := settings_of(store, ref):
        return Recipe.model_validate(settings)
    raise ValueError(f"no run on record used {ref.short}, so its base model is not known")


def tried(
    store: ArtifactStore, ref: ArtifactRef, image: bytes, questions: Sequence[str], device: str,
    *, tokens: int, temperature: float = 0.0, seed: int = 0,
) -> list[list[Answer]]:  # fmt: skip
    """Return for each question the answers of base and trained model, on the picture and a blank.

    Args:
        store: where the checkpoint lies.
        ref: of the checkpoint.
        image: the bytes of an image file; brought to size as `ingest` does.
        questions: asked one by one, each without the others.
        device: where the models run, one after the other.
        tokens: longest answer.
        temperature: 0 is greedy.
        seed: of the draws, where the temperature is not 0.

    Raises ValueError for an image or a question that the recipe's own stages would refuse.
    """
    recipe = recipe_of(store, ref)
    pixels = _prepared(recipe, image)
    found: list[list[Answer]] = [[] for _ in questions]
    for name, folder in (("base", None), ("trained", store.files(ref) / "model")):
        policy = open_policy(recipe.policy, device, folder)
        for answers, question in zip(found, questions, strict=True):
            answers += _answers(name, policy, pixels, question, tokens, temperature, seed)
        forget_policy()
    return found


def _prepared(recipe: Recipe, image: bytes) -> Tensor:
    config = recipe.ingest
    prepared = prepare_image(
        image,
        ImagePolicy(
            factor=FACTOR,
            min_pixels=config.min_pixels,
            max_pixels=config.max_pixels,
            max_source_pixels=config.max_source_pixels,
        ),
    )
    if isinstance(prepared, Refusal):
        raise ValueError(f"the image cannot be used, {prepared.reason}: {prepared.detail}")
    return torch.from_numpy(decode_png(prepared.png)).permute(2, 0, 1).contiguous()


def _answers(
    name: str, policy: QwenVL, pixels: Tensor, question: str, tokens: int, temperature: float,
    seed: int,
) -> list[Answer]:  # fmt: skip
    prompt = policy.prompt_ids(question, *pixels.shape[1:])
    shown = {ON_IMAGE: pixels, ON_BLANK: blank_like(pixels)}
    drawn = policy.sample(
        [prompt] * 2, to_units(list(shown.values()), policy.device), [seed] * 2,
        temperature=temperature, top_p=1.0, max_new_tokens=tokens,
    )  # fmt: skip
    rows = [PromptedResponse(what, prompt, each.ids, pixels)
            for what, each in zip(shown, drawn, strict=True)]  # fmt: skip
    gains = information_gain(policy, rows)
    return [
        Answer(name, what, policy.decode(each.ids), each.finished, gain.iig_mean)
        for what, each, gain in zip(shown, drawn, gains, strict=True)
    ]
