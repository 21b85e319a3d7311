"""Miners: how a negative image is made. One class a miner, told apart by `kind`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mbpo_core.config.base import Frozen, lattice


class Checkpoint(Frozen):
    """Weights of another published model: a local folder, or a hub id with a pinned revision."""

    name: str
    revision: str | None = None
    """Commit of the hub repository; needed for a hub id, refused for a folder."""


class CellFinder(Frozen):
    """Superpixels that matter to the policy's own gradient for the phrase: needs no weights."""

    kind: Literal["cells"] = "cells"
    share: float = Field(0.1, gt=0, le=1)
    """Of the image, per phrase (assumed)."""


class GroundedSamFinder(Frozen):
    """Grounding DINO boxes, SAM masks (MFPO and AdaViP; thresholds unknown, so assumed)."""

    kind: Literal["grounded_sam"] = "grounded_sam"
    detector: Checkpoint
    segmenter: Checkpoint
    box_threshold: float = Field(0.25, ge=0, lt=1)
    text_threshold: float = Field(0.25, ge=0, lt=1)


class TruthFinder(Frozen):
    """The exact pixels of the embedded world's objects."""

    kind: Literal["truth"] = "truth"


Finder = Annotated[CellFinder | GroundedSamFinder | TruthFinder, Field(discriminator="kind")]


class NounTagger(Frozen):
    """Nouns of the chosen response (the paper tags the image: differs)."""

    kind: Literal["nouns"] = "nouns"


class ClassifierTagger(Frozen):
    """A multi-label image classifier, as Recognize Anything is one (paper)."""

    kind: Literal["classifier"] = "classifier"
    model: Checkpoint
    threshold: float = Field(0.5, gt=0, lt=1)
    """Assumed; the paper prints none."""


Tagger = Annotated[NounTagger | ClassifierTagger, Field(discriminator="kind")]


class OpenCVInpainter(Frozen):
    """Telea's or the Navier-Stokes method of OpenCV (the paper uses big-LaMa: differs)."""

    kind: Literal["opencv"] = "opencv"
    method: Literal["telea", "ns"] = "telea"
    radius: int = Field(3, ge=1)
    grow: int = Field(2, ge=0)
    """Pixels by which the mask is widened (assumed)."""


class LamaInpainter(Frozen):
    """A LaMa network as a local TorchScript file (paper: big-LaMa)."""

    kind: Literal["lama"] = "lama"
    path: str
    grow: int = Field(2, ge=0)
    """Pixels by which the mask is widened (assumed)."""


class TruthInpainter(Frozen):
    """Redraws the scene of the embedded world without the object."""

    kind: Literal["truth"] = "truth"


Inpainter = Annotated[OpenCVInpainter | LamaInpainter | TruthInpainter, Field(discriminator="kind")]


class PolicyRanker(Frozen):
    """The policy's log-probability of the chosen response (the paper uses CLIP: differs)."""

    kind: Literal["policy"] = "policy"


class ClipRanker(Frozen):
    """CLIP similarity summed over the sentences of the chosen response (paper)."""

    kind: Literal["clip"] = "clip"
    model: Checkpoint


Ranker = Annotated[PolicyRanker | ClipRanker, Field(discriminator="kind")]


class Miner(Frozen):
    """What all miners have in common."""

    batch_tokens: int = Field(4096, ge=1)
    shard_rows: int = Field(64, ge=1)
    noise_floor: float = Field(0.1, gt=0)
    """Nats: below it the way to the blank image is no measure (assumed)."""

    @property
    def makes_images(self) -> bool:
        """Whether there is a negative image after it."""
        return True

    @property
    def draws(self) -> bool:
        """Whether its images depend on the run's seed."""
        return False

    @property
    def idle(self) -> frozenset[str]:
        """Settings that change nothing as the others stand; they stay out of fingerprints."""
        return frozenset()


class NoMiner(Miner):
    """No negative images (DPO on imported pairs, SFT)."""

    kind: Literal["none"] = "none"

    @property
    def makes_images(self) -> bool:
        """There are none."""
        return False


class PGDMiner(Miner):
    """PGD through the attacked model, starting from the clean image (eq. 5)."""

    kind: Literal["pgd"] = "pgd"
    steps: int = Field(20, ge=0)
    """Inferred, strong: Table 3's (20, 4) row equals the main ablation row."""
    step_size: Annotated[float, lattice("step_size")] = 4 / 255
    """Inferred; the unit 1/255 is inferred, weakly."""
    epsilon: Annotated[float | None, lattice("epsilon")] = 16 / 255
    """Assumed: no value is printed; `None` leaves only the valid pixel range."""
    iterate: Literal["last", "best"] = "last"


class BlankMiner(Miner):
    """All-zero pixels: the prior alone (of no paper; it costs nothing to offer)."""

    kind: Literal["blank"] = "blank"


class UniformNoiseMiner(Miner):
    """Uniform pixel noise: MBPO's `offline random` ablation (paper; the range is unknown)."""

    kind: Literal["uniform_noise"] = "uniform_noise"
    epsilon: Annotated[float, lattice("epsilon")] = 64 / 255
    """Largest change of a pixel (assumed)."""

    @property
    def draws(self) -> bool:
        """Noise is drawn."""
        return True


class DiffusionNoiseMiner(Miner):
    """Diffusion noise of step t on the whole image, a random share, or the key regions (MFPO)."""

    kind: Literal["diffusion_noise"] = "diffusion_noise"
    t: int = Field(500, ge=0, le=999)
    """Counted from 0. MFPO 500 (paper), POVID 500 (second-hand), BPO 900, of 1000 (inferred)."""
    scope: Literal["global", "random-20", "regions"] = "regions"
    """Paper: the three rows of MFPO's noise ablation."""
    keywords: int = Field(3, ge=1)
    """Phrases of the chosen response whose regions are noised (assumed)."""
    finder: Finder = CellFinder()
    """`regions` only."""

    @property
    def draws(self) -> bool:
        """Noise is drawn."""
        return True

    @property
    def idle(self) -> frozenset[str]:
        """Without regions nothing is looked for."""
        return frozenset() if self.scope == "regions" else frozenset({"keywords", "finder"})


class CropMiner(Miner):
    """A random crop that keeps a small share of the image, resized back (mDPO)."""

    kind: Literal["crop"] = "crop"
    least: float = Field(0.01, gt=0, le=1)
    """Share of the area that is kept, at least (second-hand)."""
    most: float = Field(0.2, gt=0, le=1)
    """At most (second-hand)."""

    @model_validator(mode="after")
    def _least_and_most(self) -> CropMiner:
        if self.least > self.most:
            raise ValueError(f"least ({self.least}) must not exceed most ({self.most})")
        return self

    @property
    def draws(self) -> bool:
        """The crop is drawn."""
        return True


class RemovalMiner(Miner):
    """One object removed: the one that the chosen response needs most (AdaViP)."""

    kind: Literal["removal"] = "removal"
    tagger: Tagger = NounTagger()
    finder: Finder = CellFinder()
    inpainter: Inpainter = OpenCVInpainter()
    ranker: Ranker = PolicyRanker()


AnyMiner = Annotated[
    PGDMiner
    | NoMiner
    | BlankMiner
    | UniformNoiseMiner
    | DiffusionNoiseMiner
    | CropMiner
    | RemovalMiner,
    Field(discriminator="kind"),
]
