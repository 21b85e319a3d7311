"""A case for each miner and each of its parts, with tiny random checkpoints of genuine classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from mbpo_core.config import mining as config
from mbpo_core.mining.protocol import MineItem
from mbpo_core.models.protocol import Policy, PromptedResponse
from mbpo_core.testbed.scenes import draw
from mbpo_core.testbed.truth import pixels
from mbpo_core.testbed.world import asked, scenes
from tests.mbpo_core.mining.published_models import save_clip, save_detector, save_segmenter
from tests.mbpo_core.tiny_models import random_image

WORDLESS = "wordless"
"""A chosen response without a noun."""


@dataclass(frozen=True)
class Weights:
    """Where the checkpoints lie."""

    root: Path

    def checkpoint(self, name: str) -> config.Checkpoint:
        return config.Checkpoint(name=str(self.root / name))

    @property
    def lama(self) -> str:
        return str(self.root / "lama.pt")


class Negative(nn.Module):
    """Stands for LaMa: paints over everything, the mask or not."""

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        return 1 - image


def save_tagger(folder: Path) -> None:
    """A vision transformer that names objects which the scenes may hold."""
    torch.manual_seed(0)
    labels = dict(enumerate(("banana", "tomato", "cloud", "fish", "leaf", "ball")))
    model = ViTForImageClassification(
        ViTConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=28,
            patch_size=14,
            id2label=labels,
            problem_type="multi_label_classification",
        )
    )
    nn.init.zeros_(model.classifier.weight)  # every label is there: all parts have work to do
    nn.init.ones_(model.classifier.bias)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(folder)


def save_weights(root: Path) -> Weights:
    save_detector(root / "detector")
    save_segmenter(root / "segmenter")
    save_clip(root / "ranker")
    save_tagger(root / "tagger")
    torch.jit.script(Negative()).save(root / "lama.pt")
    return Weights(root)


def grounded_sam(weights: Weights) -> config.GroundedSamFinder:
    return config.GroundedSamFinder(
        detector=weights.checkpoint("detector"),
        segmenter=weights.checkpoint("segmenter"),
        box_threshold=0.05,
        text_threshold=0.05,
    )


FINDERS: dict[str, Callable[[Weights], config.Finder]] = {
    "cells": lambda weights: config.CellFinder(share=0.2),
    "grounded_sam": grounded_sam,
    "truth": lambda weights: config.TruthFinder(),
}
TAGGERS: dict[str, Callable[[Weights], config.Tagger]] = {
    "nouns": lambda weights: config.NounTagger(),
    "classifier": lambda weights: config.ClassifierTagger(model=weights.checkpoint("tagger")),
}
INPAINTERS: dict[str, Callable[[Weights], config.Inpainter]] = {
    "opencv": lambda weights: config.OpenCVInpainter(grow=1),
    "ns": lambda weights: config.OpenCVInpainter(method="ns", grow=0),
    "lama": lambda weights: config.LamaInpainter(path=weights.lama),
    "truth": lambda weights: config.TruthInpainter(),
}
RANKERS: dict[str, Callable[[Weights], config.Ranker]] = {
    "policy": lambda weights: config.PolicyRanker(),
    "clip": lambda weights: config.ClipRanker(model=weights.checkpoint("ranker")),
}


def removal(
    tagger: str, finder: str, inpainter: str, ranker: str, weights: Weights
) -> config.RemovalMiner:
    return config.RemovalMiner(
        tagger=TAGGERS[tagger](weights),
        finder=FINDERS[finder](weights),
        inpainter=INPAINTERS[inpainter](weights),
        ranker=RANKERS[ranker](weights),
    )


def in_regions(finder: str, weights: Weights) -> config.DiffusionNoiseMiner:
    return config.DiffusionNoiseMiner(finder=FINDERS[finder](weights))


REMOVALS = (
    ("nouns", "truth", "truth", "policy"),
    ("nouns", "cells", "opencv", "policy"),
    ("nouns", "truth", "ns", "clip"),
    ("nouns", "grounded_sam", "opencv", "policy"),
    ("classifier", "cells", "opencv", "policy"),
    ("classifier", "truth", "lama", "clip"),
)
CASES: dict[str, Callable[[Weights], config.Miner]] = {
    "pgd": lambda weights: config.PGDMiner(steps=2),
    "pgd-best": lambda weights: config.PGDMiner(steps=2, epsilon=None, iterate="best"),
    "blank": lambda weights: config.BlankMiner(),
    "uniform_noise": lambda weights: config.UniformNoiseMiner(),
    "crop": lambda weights: config.CropMiner(),
    "global": lambda weights: config.DiffusionNoiseMiner(scope="global", t=900),
    "random-20": lambda weights: config.DiffusionNoiseMiner(scope="random-20"),
    **{f"regions-{name}": partial(in_regions, name) for name in FINDERS},
    **{"-".join(("removal", *names)): partial(removal, *names) for names in REMOVALS},
}


def knows_the_truth(miner: config.Miner) -> bool:
    return "truth" in (getattr(miner, name, None) and getattr(miner, name).kind
                       for name in ("finder", "inpainter"))  # fmt: skip


def mine_items(policy: Policy, kinds: Sequence[str] = ("describe", "color")) -> list[MineItem]:
    """Questions about two scenes of the embedded world, and an answer without a noun."""
    found = [pair for scene in scenes("pool", 2, seed=5) for pair in asked(scene, kinds)]
    items = [
        _item(policy, f"{scene.name}-{question.kind}", pixels(draw(scene)), question.text,
              question.answer, f"{scene.name}-{question.kind}")
        for scene, question in found
    ]  # fmt: skip
    first = items[0]
    return [*items, _item(policy, WORDLESS, first.image, "Why?", "?!", first.source_id)]


def photographs(policy: Policy) -> list[MineItem]:
    """Images of other sizes, that no truth knows anything of."""
    answer = "A red tomato and a yellow banana."
    return [
        _item(policy, f"{height}x{width}", random_image(i, height, width), "What is it?", answer)
        for i, (height, width) in enumerate(((84, 56), (56, 112)))
    ]


def _item(
    policy: Policy, name: str, image: Tensor, question: str, chosen: str, source_id: str = ""
) -> MineItem:
    prompt = policy.prompt_ids(question, *image.shape[1:])
    row = PromptedResponse(name, prompt, policy.response_ids(chosen), image)
    return MineItem(row, question, chosen, source_id)
