"""Phrases to regions: Grounding DINO finds a box, SAM turns it into a mask (MFPO, AdaViP)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    GroundingDinoForObjectDetection,
    MMGroundingDinoForObjectDetection,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SamModel,
)
from transformers.models.grounding_dino.modeling_grounding_dino import SPECIAL_TOKENS

from mbpo_core.mining.protocol import MineItem, Region
from mbpo_core.mining.published import as_picture, open_published

DETECTORS = {
    "grounding-dino": GroundingDinoForObjectDetection,
    "mm-grounding-dino": MMGroundingDinoForObjectDetection,
}
SEGMENTERS = {"sam": SamModel}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detection:
    """The best box of one phrase."""

    box: tuple[float, float, float, float]
    """(left, top, right, bottom) in pixels, inside the image."""
    score: float
    """Probability of the phrase's best token, in (0, 1)."""


@dataclass
class Prompt:
    """The phrases that one forward pass of the detector looks for."""

    ids: list[int]
    """[CLS] phrase . phrase . ... [SEP]"""
    spans: dict[int, slice] = field(default_factory=dict)
    """Index of a phrase: where its tokens are in `ids`."""


@dataclass(frozen=True)
class GroundingDino:
    """Text-grounded detector: the best box of each phrase in one image.

    A box counts for a phrase if the most probable token of the whole prompt is above
    `box_threshold` there and one of the phrase's own above `text_threshold`, as in the
    post-processing of transformers; of these the one with the most probable token of the phrase.
    Images go through alone: padded to a common size, they would change each other's features.
    """

    model: PreTrainedModel
    """One of `DETECTORS`."""
    image_processor: BaseImageProcessor
    """Its own, of the PIL kind: the same pixels with and without torchvision."""
    tokenizer: PreTrainedTokenizerBase
    """Its own (BERT)."""
    box_threshold: float = 0.25
    """Default of transformers (assumed: neither paper gives one)."""
    text_threshold: float = 0.25
    """Default of transformers (assumed: neither paper gives one)."""

    def __post_init__(self) -> None:
        """Refuse thresholds that are no probabilities and a tokenizer of another model."""
        for name in ("box_threshold", "text_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        tokens = [self.tokenizer.cls_token, self.tokenizer.sep_token, ".", "?"]
        ids = self.tokenizer.convert_tokens_to_ids(tokens)
        if ids != SPECIAL_TOKENS:  # the model cuts its text at these, whatever the tokenizer
            raise ValueError(f"tokens {tokens} must have ids {SPECIAL_TOKENS}, got {ids}")

    def prompts(self, phrases: Sequence[str]) -> list[Prompt]:
        """Phrases joined by stops, in as many prompts as `max_text_len` of the model needs.

        Stops and question marks in a phrase are dropped, as they would cut it in two; a phrase
        without any other token is in no prompt, nor one that is too long for a prompt of its own
        (logged; never cut).
        """
        cls, sep, stop, _ = SPECIAL_TOKENS
        limit = self.model.config.max_text_len
        packed: list[Prompt] = []
        for index, phrase in enumerate(phrases):
            ids = self._phrase_ids(phrase)
            if len(ids) + 3 > limit:
                logger.warning("a phrase of %d tokens is not looked for, at most %d fit: %.60r",
                               len(ids), limit - 3, phrase)  # fmt: skip
                continue
            if not packed or len(packed[-1].ids) + len(ids) + 2 > limit:
                packed.append(Prompt([cls]))
            if ids:
                start = len(packed[-1].ids)
                packed[-1].spans[index] = slice(start, start + len(ids))
                packed[-1].ids += [*ids, stop]
        return [Prompt([*prompt.ids, sep], prompt.spans) for prompt in packed if prompt.spans]

    @torch.no_grad()
    def __call__(self, image: Tensor, phrases: Sequence[str]) -> list[Detection | None]:
        """Best box of each phrase in an image uint8 `[3, H, W]`; None below the thresholds.

        Errors: ValueError for another dtype or shape.
        """
        pixels = self.image_processor(images=as_picture(image), return_tensors="pt")
        pixels = pixels.to(self.model.device)
        found: list[Detection | None] = [None] * len(phrases)
        for prompt in self.prompts(phrases):
            ids = torch.tensor([prompt.ids], device=self.model.device)
            output = self.model(**pixels, input_ids=ids)
            probabilities, boxes = output.logits[0].sigmoid(), output.pred_boxes[0]
            corners = corners_in_pixels(boxes, height=image.shape[1], width=image.shape[2])
            for index, span in prompt.spans.items():
                found[index] = self._best(probabilities, corners, span)
        return found

    def _phrase_ids(self, phrase: str) -> list[int]:
        ids = self.tokenizer(phrase.strip().lower(), add_special_tokens=False).input_ids
        return [token for token in ids if token not in SPECIAL_TOKENS]

    def _best(self, probabilities: Tensor, corners: Tensor, span: slice) -> Detection | None:
        scores = probabilities[:, span].amax(dim=1)
        kept = (probabilities.amax(dim=1) > self.box_threshold) & (scores > self.text_threshold)
        best = int(scores.where(kept, -1).argmax())
        if not kept[best]:
            return None
        left, top, right, bottom = corners[best].tolist()
        return Detection((left, top, right, bottom), float(scores[best]))


@dataclass(frozen=True)
class Sam:
    """Segmenter: a mask for each box of one image."""

    model: SamModel
    """Image encoder, prompt encoder, mask decoder."""
    image_processor: BaseImageProcessor
    """Its own, of the PIL kind."""

    @torch.no_grad()
    def __call__(self, image: Tensor, boxes: Tensor) -> list[Tensor]:
        """Masks bool `[H, W]` for boxes `[N, 4]` in pixels: of SAM's three the one it trusts most.

        An empty mask never wins; where all three are empty, the box itself is the mask.
        Errors: ValueError unless the image is uint8 `[3, H, W]`.
        """
        inputs = self.image_processor(images=as_picture(image), return_tensors="pt")
        (height, width), (high, wide) = (
            inputs[key][0].tolist() for key in ("original_sizes", "reshaped_input_sizes")
        )
        scale = torch.tensor([wide / width, high / height] * 2)
        output = self.model(
            pixel_values=inputs["pixel_values"].to(self.model.device),
            input_boxes=(boxes * scale)[None].to(self.model.device),
            multimask_output=True,
        )
        masks = self.image_processor.post_process_masks(
            output.pred_masks.cpu(), inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )[0]
        return [
            _best_mask(three, trust, box)
            for three, trust, box in zip(masks, output.iou_scores[0].cpu(), boxes, strict=True)
        ]


@dataclass(frozen=True)
class GroundedSam:
    """`RegionFinder` of published models: Grounding DINO for the box, SAM for the mask.

    A result depends on its own item only, and the score of a region is the detector's.
    Differs from the paper: neither MFPO nor AdaViP gives thresholds, prompts, or which of several
    boxes or masks is taken; here one box a phrase and one mask a box (assumed).
    """

    detector: GroundingDino
    """Finds the box."""
    segmenter: Sam
    """Turns it into a mask."""

    def __call__(
        self, items: Sequence[MineItem], phrases: Sequence[Sequence[str]]
    ) -> list[list[Region | None]]:
        """Return a region, or None where no box is above the thresholds, per phrase and item."""
        return [self._find(item, wanted) for item, wanted in zip(items, phrases, strict=True)]

    def _find(self, item: MineItem, phrases: Sequence[str]) -> list[Region | None]:
        found = self.detector(item.image, phrases)
        hits = [(phrase, hit) for phrase, hit in zip(phrases, found, strict=True) if hit]
        if not hits:
            return [None] * len(phrases)
        masks = self.segmenter(item.image, torch.tensor([hit.box for _, hit in hits]))
        regions = iter(
            Region(phrase, mask, hit.score) for (phrase, hit), mask in zip(hits, masks, strict=True)
        )
        return [None if hit is None else next(regions) for hit in found]


def load_grounded_sam(
    detector: str,
    segmenter: str,
    device: str = "cpu",
    *,
    detector_revision: str | None = None,
    segmenter_revision: str | None = None,
    box_threshold: float = 0.25,
    text_threshold: float = 0.25,
) -> GroundedSam:
    """Open a Grounding DINO and a SAM from local folders, or hub ids at pinned commits.

    Errors: as `open_published`; ValueError for SAM 2 and 3, whose image processors need
    torchvision, for thresholds outside [0, 1), and for a tokenizer that does not fit.
    """
    finder, folder = open_published(detector, DETECTORS, revision=detector_revision, device=device)
    sam, sam_folder = open_published(
        segmenter, SEGMENTERS, revision=segmenter_revision, device=device
    )
    return GroundedSam(
        GroundingDino(
            finder,
            AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False),
            AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
            box_threshold,
            text_threshold,
        ),
        Sam(
            sam,
            AutoImageProcessor.from_pretrained(sam_folder, backend="pil", trust_remote_code=False),
        ),
    )


def corners_in_pixels(boxes: Tensor, *, height: int, width: int) -> Tensor:
    """Relative (centre x, centre y, width, height) to corners in pixels, both `[Q, 4]`.

    Corners are (left, top, right, bottom); what sticks out of the image is cut off.
    """
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    size = boxes.new_tensor([width, height])
    low, high = (centre - half).clamp(0, 1) * size, (centre + half).clamp(0, 1) * size
    return torch.cat([low, high], dim=1)


def _best_mask(masks: Tensor, trust: Tensor, box: Tensor) -> Tensor:
    empty = ~masks.flatten(1).any(dim=1)
    if empty.all():
        logger.warning("all masks of a box are empty: the box itself is taken")
        return _filled(box, masks.shape[1], masks.shape[2])
    return masks[int(trust.masked_fill(empty, -torch.inf).argmax())]


def _filled(box: Tensor, height: int, width: int) -> Tensor:
    """Mask of all pixels that a box touches, at least one."""
    left, top = int(box[0].clamp(max=width - 1)), int(box[1].clamp(max=height - 1))
    right, bottom = int(box[2].ceil()), int(box[3].ceil())
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask
