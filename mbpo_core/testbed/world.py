"""The embedded world as files: a LLaVA-style JSON and PNG images beside it."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, get_args

from mbpo_core.testbed.questions import CLOSED_KINDS, QUESTION_KINDS, Question, QuestionKind, ask
from mbpo_core.testbed.scenes import TYPICAL_SHARE, Flavour, Scene, draw, make_scene, seed_of

Split = Literal["pool", "dev", "test"]

POOL_TYPICAL_SHARE: Final = 0.5
"""Half of the pool's objects break the prior, so that there is something to learn from it."""

ONLINE_KINDS: Final[tuple[QuestionKind, ...]] = CLOSED_KINDS
"""Closed kinds that the embedded model can answer well enough for online rewards to mean much."""

POOL_KINDS: Final[tuple[QuestionKind, ...]] = (
    "describe", "color", "where", "count", *ONLINE_KINDS,
)  # fmt: skip


def scenes(
    split: Split, n_scenes: int, *, seed: int = 0, flavour: Flavour | None = None
) -> Iterator[Scene]:
    """The first `n_scenes` scenes of a split.

    Args:
        split: "pool" mixes typical and other colours; "dev" and "test" need a flavour.
        n_scenes: how many, at least 1.
        seed: another seed gives other scenes.
        flavour: "consistent" (every colour typical) or "counter" (none); the scenes of both are
            the same but for their colours.

    Raises:
        ValueError: a flavour with "pool" or none with the others, unknown names, no scenes.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {get_args(Split)}, got {split!r}")
    if (split == "pool") != (flavour is None):
        raise ValueError(f"a flavour goes with dev and test only, got {split!r} with {flavour!r}")
    if flavour is not None and flavour not in TYPICAL_SHARE:
        raise ValueError(f"flavour must be one of {list(TYPICAL_SHARE)}, got {flavour!r}")
    if n_scenes < 1:
        raise ValueError(f"n_scenes must be at least 1, got {n_scenes}")
    share = POOL_TYPICAL_SHARE if flavour is None else TYPICAL_SHARE[flavour]
    for index in range(n_scenes):
        yield make_scene(split, index, seed=seed, typical_share=share)


def asked(
    scene: Scene, kinds: Sequence[QuestionKind], seed: int = 0
) -> Iterator[tuple[Scene, Question]]:
    """One question of each kind about the scene; the same ones for equal scene name and seed."""
    for kind in kinds:
        rng = random.Random(seed_of("question", scene.name, seed, kind))
        yield scene, ask(scene, kind, rng)


def _record(scene: Scene, question: Question, image: str) -> dict[str, Any]:
    return {
        "id": f"{scene.name}-{question.kind}",
        "image": image,
        "conversations": [
            {"from": "human", "value": f"<image>\n{question.text}"},
            {"from": "gpt", "value": question.answer},
        ],
        "kind": question.kind,
        "gold": question.gold,
        "options": list(question.options),
        "truth": scene.truth(),
    }


def write_world(
    directory: Path,
    split: Split,
    n_scenes: int,
    seed: int = 0,
    *,
    flavour: Flavour | None = None,
    kinds: Sequence[QuestionKind] | None = None,
) -> Path:
    """Write scenes and their questions; one record per scene and kind.

    Each record is a LLaVA conversation of one turn, with the truth beside it: `id`, `image`
    (relative to `directory`), `conversations`, `kind`, `gold`, `options`, `truth`.

    Args:
        directory: made if missing; files of the same names are replaced.
        split: see `scenes`.
        n_scenes: see `scenes`.
        seed: see `scenes`; it also picks wordings, asked objects and distractors.
        flavour: see `scenes`.
        kinds: what to ask of each scene; default: `POOL_KINDS` for the pool, else every kind.

    Returns:
        The JSON's path (`pool.json`, `dev-consistent.json`, ...); its images lie in the folder
        of the same name beside it.
    """
    chosen = kinds or (POOL_KINDS if split == "pool" else QUESTION_KINDS)
    name = split if flavour is None else f"{split}-{flavour}"
    records = []
    (directory / name).mkdir(parents=True, exist_ok=True)
    for scene in scenes(split, n_scenes, seed=seed, flavour=flavour):
        image = f"{name}/{scene.name}.png"
        draw(scene).save(directory / image)
        records += [_record(*pair, image) for pair in asked(scene, chosen, seed)]
    path = directory / f"{name}.json"
    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return path
