"""How much an image still supports the chosen response (AdaViP, step 2)."""

import logging
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    CLIPModel,
    PreTrainedTokenizerBase,
)

from mbpo_core.mining.attack import logp_of
from mbpo_core.mining.protocol import MineItem
from mbpo_core.mining.published import as_picture, open_published
from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.protocol import Policy

logger = logging.getLogger(__name__)

_NO_END = ("Mr.", "Mrs.", "Ms.", "Dr.", "St.", "vs.", "e.g.", "i.e.", "etc.")
_NOT_AFTER = "".join(rf"(?<!\b{re.escape(word)})" for word in _NO_END)
_SENTENCE_END = re.compile(
    rf"(?:(?<=[.!?])|(?<=[.!?][\"')\]])){_NOT_AFTER}"
    r"(?<!\b[A-Z]\.)(?<!^\d\.)(?<!^\d\d\.)\s+|\n+",  # initials and list numbers are no ends
    re.MULTILINE,
)


def split_sentences(text: str) -> list[str]:
    """Sentences of a response: cut at line ends and at white space behind a stop, `!` or `?`.

    Not behind a few abbreviations, initials, and the number of a list entry. What holds no letter
    or digit is no sentence.
    Differs from the paper: AdaViP lets LLaMA-3 rewrite the response into self-contained sentences;
    here "It is red" stays as it is, and its "it" means nothing to CLIP.
    """
    parts = (part.strip() for part in _SENTENCE_END.split(text))
    return [part for part in parts if re.search(r"\w", part)]


class ClipRanker:
    """`ImageRanker` of AdaViP: sum over the sentences s of y_w of cos(CLIP(s), CLIP(v')).

    Candidates of one item go through together, those of different items never: a score depends on
    its own item only. CLIP reads 77 tokens; what is longer is cut, counted in `cut_sentences`, and
    warned of once. A response without a sentence ("?!") says nothing to CLIP: its score is NaN.
    Errors: ValueError for another image, or lists of different lengths.
    Differs from the paper: the sentences, see `split_sentences`; which CLIP is not printed.
    """

    def __init__(
        self,
        model: CLIPModel,
        image_processor: BaseImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        """Around a model in eval mode and its own processors."""
        self.model = model
        self.image_processor = image_processor
        self.tokenizer = tokenizer
        self.cut_sentences = 0

    @torch.no_grad()
    def __call__(self, items: Sequence[MineItem], images: Sequence[Tensor]) -> list[float]:
        """Return one score per (item, image uint8 `[3, H, W]`), in [-1, 1] times sentences."""
        scores = [0.0] * len(items)
        for places in _by_item(items, images):
            pictures = [as_picture(images[place]) for place in places]
            sentences = split_sentences(items[places[0]].chosen)
            if not sentences:
                logger.warning("%s: no sentence to score by", items[places[0]].sample_id)
                scores = [math.nan if i in places else score for i, score in enumerate(scores)]
                continue
            cosines = self._cosines(pictures, self._tokens(sentences))
            for place, score in zip(places, cosines.sum(dim=1).tolist(), strict=True):
                scores[place] = score
        return scores

    def _cosines(self, pictures: list, tokens: dict[str, Tensor]) -> Tensor:
        pixels = self.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        output = self.model(pixel_values=pixels.to(self.model.device), **tokens)
        return output.image_embeds @ output.text_embeds.T  # both are of length 1

    def _tokens(self, sentences: list[str]) -> dict[str, Tensor]:
        limit = self.model.config.text_config.max_position_embeddings
        self._count_cut(sentences, limit)
        return self.tokenizer(
            sentences, padding=True, truncation=True, max_length=limit, return_tensors="pt"
        ).to(self.model.device)

    def _count_cut(self, sentences: list[str], limit: int) -> None:
        lengths = [len(ids) for ids in self.tokenizer(sentences, verbose=False).input_ids]
        cut = sum(length > limit for length in lengths)
        if cut and not self.cut_sentences:
            logger.warning("sentences over %d tokens are cut for CLIP (told once)", limit)
        self.cut_sentences += cut


def load_clip_ranker(
    name_or_path: str, device: str = "cpu", *, revision: str | None = None
) -> ClipRanker:
    """Open a CLIP from a local folder, or a hub id at a pinned commit.

    Errors: as `open_published`.
    """
    model, folder = open_published(
        name_or_path, {"clip": CLIPModel}, revision=revision, device=device
    )
    return ClipRanker(
        model,
        AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False),
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
    )


@dataclass(frozen=True)
class PolicyRanker:
    """`ImageRanker` without another model: lp(y_w | q, v') of the policy, in nats, summed.

    Candidates of one item go through together, those of different items never.
    Errors: ValueError as `Policy.token_logps`.
    Differs from the paper: it ranks with CLIP. CLIP asks what is depicted; this asks what the
    policy itself still says, its language prior included.
    """

    policy: Policy
    """The policy that will be trained (assumed)."""

    @torch.no_grad()
    def __call__(self, items: Sequence[MineItem], images: Sequence[Tensor]) -> list[float]:
        """Return one score per (item, image uint8 `[3, H, W]`)."""
        scores = [0.0] * len(items)
        for places in _by_item(items, images):
            rows = [replace(items[place].row, image=images[place]) for place in places]
            views = to_units([row.image for row in rows], self.policy.device)
            for place, score in zip(
                places, logp_of(self.policy, rows)(views).tolist(), strict=True
            ):
                scores[place] = score
        return scores


def _by_item(items: Sequence[MineItem], images: Sequence[Tensor]) -> list[list[int]]:
    """Places of the same sample, each list in order."""
    if len(items) != len(images):
        raise ValueError(f"one image per item, got {len(items)} items and {len(images)} images")
    places: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        places[item.sample_id].append(place)
    return list(places.values())
