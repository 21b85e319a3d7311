"""Tags: which objects of an image could be removed (AdaViP, step 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForImageClassification, PreTrainedModel

from mbpo_core.mining.phrases import candidate_phrases
from mbpo_core.mining.protocol import MineItem
from mbpo_core.models.loading import require_safetensors

MULTI_LABEL = "multi_label_classification"


@dataclass(frozen=True)
class NounTagger:
    """`Tagger` by the chosen response: the nouns of its candidate phrases, in order of appearance.

    Plurals are given in the singular, compounds whole ("traffic light"), colours and words for the
    picture, places and amounts not at all (`phrases.NON_OBJECTS`).

    Errors: none; a response without such nouns has no tags.
    Differs from the paper: AdaViP takes the tags of Recognize Anything, from the image. Nouns of
    the response name only what it speaks of, which is where a removal can hurt it, and may name
    what is not in the image: it is the region finder that finds nothing there.
    """

    limit: int | None = None
    """At most so many tags, None for all (assumed)."""

    def __call__(self, items: Sequence[MineItem]) -> list[list[str]]:
        """Tags of each item."""
        return [self._tags(item.chosen) for item in items]

    def _tags(self, text: str) -> list[str]:
        # A dict keeps the order and drops repeats.
        return list(dict.fromkeys(phrase.noun for phrase in candidate_phrases(text)))[: self.limit]


@dataclass(frozen=True)
class LabelTagger:
    """`Tagger` by a multi-label image classifier: every label whose probability is high enough.

    A tag t is kept if sigmoid(z_t) >= threshold for the classifier's logit z_t; the most probable
    come first, equal ones in the order of the labels.

    Differs from the paper: Recognize Anything is not part of transformers. It reads several
    thousand tags through a decoder of its own, with a threshold for each; this is any image
    classifier of transformers that was trained with `problem_type` multi_label_classification,
    with its own labels and one threshold.
    """

    model: PreTrainedModel
    """`ForImageClassification`, multi-label, in eval mode."""
    processor: Any
    """Its image processor."""
    threshold: float = 0.5
    """Smallest probability of a tag, in (0, 1) (assumed; AdaViP prints none)."""
    batch: int = 16
    """Images at a time; in float32 the tags do not depend on it but for ties at the threshold."""

    def __post_init__(self) -> None:
        """Refuse what cannot give tags.

        Errors: ValueError for a single-label model or settings out of range.
        """
        if self.model.config.problem_type != MULTI_LABEL:
            raise ValueError(
                f"a tagger needs a classifier with problem_type {MULTI_LABEL!r}, "
                f"got {self.model.config.problem_type!r}"
            )
        if not 0 < self.threshold < 1 or self.batch < 1:
            raise ValueError(
                f"expected a threshold in (0, 1) and batch >= 1, got {self.threshold}, {self.batch}"
            )

    @classmethod
    def load(
        cls, folder: Path, *, device: str = "cpu", threshold: float = 0.5, batch: int = 16
    ) -> Self:
        """Open a local checkpoint; nothing is downloaded.

        Errors: FileNotFoundError for a missing folder and for one without *.safetensors, OSError
        for one without a model, ValueError as for the class.
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"tagger folder not found: {folder}")
        require_safetensors(folder)
        model = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        # The PIL back end always exists; another one would resize to other pixels.
        processor = AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
        return cls(model.to(torch.device(device)).eval(), processor, threshold, batch)

    def __call__(self, items: Sequence[MineItem]) -> list[list[str]]:
        """Tags of each item."""
        starts = range(0, len(items), self.batch)
        chunks = [self._probabilities(items[start : start + self.batch]) for start in starts]
        return [self._tags(row) for chunk in chunks for row in chunk]

    @torch.no_grad()
    def _probabilities(self, items: Sequence[MineItem]) -> Tensor:
        """`[B, labels]` on the CPU."""
        images = [item.image.cpu().permute(1, 2, 0).numpy() for item in items]
        pixels = self.processor(
            images=images, return_tensors="pt", input_data_format="channels_last"
        ).pixel_values
        pixels = pixels.to(self.model.device, self.model.dtype)
        return self.model(pixel_values=pixels).logits.float().sigmoid().cpu()

    def _tags(self, probabilities: Tensor) -> list[str]:
        order = probabilities.argsort(descending=True, stable=True).tolist()
        labels = self.model.config.id2label
        kept = [labels[index] for index in order if probabilities[index] >= self.threshold]
        return list(dict.fromkeys(kept))
