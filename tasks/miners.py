"""From a miner's settings to the miner, and fingerprints of what it loads besides the policy."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

from mbpo_core.config import mining as config
from mbpo_core.mining.alteration import AlterationMiner
from mbpo_core.mining.attack import PGDMiner
from mbpo_core.mining.blank import Blank
from mbpo_core.mining.cells import CellFinder
from mbpo_core.mining.crop import Crop
from mbpo_core.mining.grounded_sam import GroundedSam, load_grounded_sam
from mbpo_core.mining.inpainting import LamaInpainter, OpenCVInpainter
from mbpo_core.mining.keywords import multipartite_rank
from mbpo_core.mining.noise import DiffusionNoise, UniformNoise
from mbpo_core.mining.pgd import PGD
from mbpo_core.mining.protocol import (
    Alteration,
    ImageRanker,
    Inpainter,
    NegativeMiner,
    RegionFinder,
    Tagger,
)
from mbpo_core.mining.ranking import ClipRanker, PolicyRanker, load_clip_ranker
from mbpo_core.mining.region_noise import RegionNoise
from mbpo_core.mining.removal import ObjectRemoval
from mbpo_core.mining.tags import LabelTagger, NounTagger
from mbpo_core.models.loading import model_fingerprint, model_folder
from mbpo_core.models.protocol import Policy
from mbpo_core.testbed.truth import TruthFinder, TruthInpainter
from storage.files import sha256_file

RANDOM_SHARE = 0.2
"""Of the scope `random-20` (paper)."""


def make_miner(miner: config.Miner, policy: Policy, seed: int, device: str) -> NegativeMiner:
    """Return the miner of these settings.

    `policy` is attacked (PGD) or only asked: for gradients, for scores, for what the image does to
    the chosen response. Raises TypeError for a miner that makes no images.
    """
    if isinstance(miner, config.PGDMiner):
        attack = PGD(miner.epsilon, miner.step_size, miner.steps, miner.iterate)
        return PGDMiner(policy, attack, miner.noise_floor)
    return AlterationMiner(policy, _alteration(miner, policy, seed, device), miner.noise_floor)


def _alteration(miner: config.Miner, policy: Policy, seed: int, device: str) -> Alteration:
    if isinstance(miner, config.BlankMiner):
        return Blank()
    if isinstance(miner, config.UniformNoiseMiner):
        return UniformNoise(run_seed=seed, epsilon=miner.epsilon)
    if isinstance(miner, config.CropMiner):
        return Crop(run_seed=seed, least=miner.least, most=miner.most)
    if isinstance(miner, config.DiffusionNoiseMiner):
        if miner.scope == "regions":
            finder = _finder(miner.finder, policy, device)
            keywords = partial(multipartite_rank, k=miner.keywords)
            return RegionNoise(finder=finder, keywords=keywords, run_seed=seed, t=miner.t)
        scope = "whole" if miner.scope == "global" else "random"
        return DiffusionNoise(run_seed=seed, t=miner.t, scope=scope, share=RANDOM_SHARE)
    if isinstance(miner, config.RemovalMiner):
        return ObjectRemoval(
            _tagger(miner.tagger, device),
            _finder(miner.finder, policy, device),
            _inpainter(miner.inpainter, device),
            _ranker(miner.ranker, policy, device),
        )
    raise TypeError(f"the miner {type(miner).__name__} makes no images")


def _finder(finder: config.Finder, policy: Policy, device: str) -> RegionFinder:
    if isinstance(finder, config.TruthFinder):
        return TruthFinder()
    if isinstance(finder, config.CellFinder):
        return CellFinder(policy, share=finder.share)
    return _grounded_sam(finder, device)


def _tagger(tagger: config.Tagger, device: str) -> Tagger:
    if isinstance(tagger, config.NounTagger):
        return NounTagger()
    return _classifier(tagger, device)


def _inpainter(inpainter: config.Inpainter, device: str) -> Inpainter:
    if isinstance(inpainter, config.TruthInpainter):
        return TruthInpainter()
    if isinstance(inpainter, config.OpenCVInpainter):
        return OpenCVInpainter(inpainter.method, inpainter.radius, inpainter.grow)
    return _lama(inpainter, device)


def _ranker(ranker: config.Ranker, policy: Policy, device: str) -> ImageRanker:
    return (
        PolicyRanker(policy) if isinstance(ranker, config.PolicyRanker) else _clip(ranker, device)
    )


@lru_cache(maxsize=1)
def _grounded_sam(finder: config.GroundedSamFinder, device: str) -> GroundedSam:
    return load_grounded_sam(
        finder.detector.name,
        finder.segmenter.name,
        device,
        detector_revision=finder.detector.revision,
        segmenter_revision=finder.segmenter.revision,
        box_threshold=finder.box_threshold,
        text_threshold=finder.text_threshold,
    )


@lru_cache(maxsize=1)
def _classifier(tagger: config.ClassifierTagger, device: str) -> LabelTagger:
    folder = model_folder(tagger.model.name, tagger.model.revision)
    return LabelTagger.load(folder, device=device, threshold=tagger.threshold)


@lru_cache(maxsize=1)
def _clip(ranker: config.ClipRanker, device: str) -> ClipRanker:
    return load_clip_ranker(ranker.model.name, device, revision=ranker.model.revision)


@lru_cache(maxsize=1)
def _lama(inpainter: config.LamaInpainter, device: str) -> LamaInpainter:
    return LamaInpainter(inpainter.path, device=device, grow=inpainter.grow)


def checkpoints(miner: config.Miner) -> dict[str, str]:
    """Return the fingerprint of each checkpoint that the miner loads, by role.

    Raises what `model_fingerprint` does for a folder or hub id that cannot be read, and OSError for
    a missing file.
    """
    found = {name: model_fingerprint(c.name, c.revision) for name, c in _checkpoints(miner)}
    inpainter = getattr(miner, "inpainter", None)
    if isinstance(inpainter, config.LamaInpainter):
        found["inpainter"] = sha256_file(Path(inpainter.path))
    return found


def _checkpoints(miner: config.Miner) -> Iterator[tuple[str, config.Checkpoint]]:
    parts = {name: value for name, value in miner if name not in miner.idle}
    finder, tagger, ranker = (parts.get(name) for name in ("finder", "tagger", "ranker"))
    if isinstance(finder, config.GroundedSamFinder):
        yield "detector", finder.detector
        yield "segmenter", finder.segmenter
    if isinstance(tagger, config.ClassifierTagger):
        yield "tagger", tagger.model
    if isinstance(ranker, config.ClipRanker):
        yield "ranker", ranker.model
