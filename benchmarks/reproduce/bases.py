"""Base models that were trained independently of each other: the committed one, and more by seed.

The weights of the others are made once below the root (20 minutes on one thread) and are not
committed; `bases.json` names their content, so that runs of other weights are never taken for
theirs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import mbpo_core.testbed
from mbpo_core.config import EmbeddedModel, PretrainedModel
from mbpo_core.models.loading import model_fingerprint
from mbpo_core.testbed.build import RECIPE, BuildRecipe, build
from mbpo_core.testbed.measure import measure
from mbpo_core.testbed.questions import CLOSED_KINDS
from storage.files import atomic_write_text

log = logging.getLogger(__name__)

COMMITTED = Path(mbpo_core.testbed.__file__).parent / "model"
RECORDS = Path(__file__).parent / "bases.json"
MEASURED = "measurement.json"


@dataclass(frozen=True)
class Base:
    """A base model."""

    seed: int
    """Of its training; 0 is the committed model."""
    folder: Path
    fingerprint: str
    """Of weights, configuration, tokenizer and measurement: sha256."""

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"base-{self.seed}"

    @property
    def model(self) -> dict[str, Any]:
        """The model as a recipe has it."""
        if self.seed == 0:
            return EmbeddedModel().model_dump(mode="json")
        name = str(self.folder)
        return PretrainedModel(name=name, dtype="float32").model_dump(mode="json")


def base_model(seed: int, root: Path, recipe: BuildRecipe = RECIPE) -> Base:
    """Return a base model; train and measure it first if it is not there.

    Raises ValueError for one that does not qualify as the committed one does.
    """
    folder = COMMITTED if seed == 0 else root / f"base-{seed}"
    if not (folder / MEASURED).is_file():
        _train(seed, folder, recipe)
    measured = json.loads((folder / MEASURED).read_text(encoding="utf-8"))
    if wrong := problems(measured):
        raise ValueError(f"base model {folder} does not qualify: {'; '.join(wrong)}")
    return Base(seed, folder, model_fingerprint(str(folder)))


def _train(seed: int, folder: Path, recipe: BuildRecipe) -> None:
    """Train with another seed than the committed model's and measure as it was measured."""
    log.info("training the base model of seed %d, once; this takes 20 minutes", seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if not (folder / "config.json").is_file():
            build(folder, replace(recipe, seed=seed))
        text = json.dumps(measure(folder), indent=1) + "\n"
    finally:
        torch.set_num_threads(threads)
    atomic_write_text(folder / MEASURED, text)


def problems(measured: Mapping[str, Any]) -> list[str]:
    """Return why a model is no base model: about what the tests ask of the committed one, as data.

    It must see (typical colours right), have the prejudice (other colours wrong, captions that
    hallucinate where the prior is broken) and leave the verifier something to tell apart.
    """
    found = []
    for split, flavours in measured["splits"].items():
        typical, counter = flavours["consistent"], flavours["counter"]
        right = {kind: share["share"] for kind, share in typical["accuracy"].items()}
        prior = {kind: share["share"] for kind, share in counter["accuracy"].items()}
        bounds = {
            "typical colours": (right["color"], 0.95, 1.0),
            "counter colours": (prior["color"], 0.25, 0.75),
            "typical CHAIR_i": (typical["chair_i"]["share"], 0.0, 0.05),
            "counter CHAIR_i": (counter["chair_i"]["share"], 0.2, 1.0),
            **{f"typical {kind}": (right[kind], 0.8, 1.0) for kind in CLOSED_KINDS},
            **{f"counter {kind}": (prior[kind], 0.0, right[kind]) for kind in CLOSED_KINDS},
        }
        found += [f"{split}: {name} {value:g} is not in {low:g} to {high:g}"
                  for name, (value, low, high) in bounds.items()
                  if not low <= value <= high]  # fmt: skip
    return found


def committed_records(path: Path = RECORDS) -> dict[str, dict[str, Any]]:
    """Return the base models that the committed runs are about, by name."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def recorded(base: Base, path: Path = RECORDS) -> None:
    """Put a base model that is new to the records into them.

    Raises ValueError where the records know another one of that name: on another processor the
    same seed can give other weights, and their runs must not be mixed.
    """
    known = committed_records(path)
    if base.name not in known:
        measured = json.loads((base.folder / MEASURED).read_text(encoding="utf-8"))
        known[base.name] = {
            "seed": base.seed,
            "fingerprint": base.fingerprint,
            "dev": _short(measured["splits"]["dev"]),
            "test": _short(measured["splits"]["test"]),
        }
        atomic_write_text(path, json.dumps(known, indent=1) + "\n")
    elif known[base.name]["fingerprint"] != base.fingerprint:
        raise ValueError(
            f"{base.folder} is not the {base.name} of {path.name}: training it again here gave "
            f"other weights. Either run the other base models alone (--bases 0), or take "
            f"{base.name} out of {path.name} and run all its rows again"
        )


def _short(flavours: Mapping[str, Any]) -> dict[str, Any]:
    return {
        flavour: {
            "chair_i": found["chair_i"]["share"],
            **{kind: share["share"] for kind, share in found["accuracy"].items()},
        }
        for flavour, found in flavours.items()
    }
