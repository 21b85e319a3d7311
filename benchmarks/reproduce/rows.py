"""Which configurations there are, as data: contestants, and rows that change one thing in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mbpo_core.config import Recipe
from mbpo_core.config.training import SFT, Preference
from mbpo_core.recipes import configured

Changes = Mapping[str, Any]

STEPS = 100
GROUPS_PER_STEP = 12
SPLITS = ("consistent", "counter")
SCENES = {"dev": 60, "final": 100}
"""Of each split: trials on `dev`, everything that is reported on `final`."""
PARTS = {"dev": ("dev", 0), "final": ("test", 1)}
"""Owner of the scenes and their seed. `make compare` has read the test scenes of seed 0: those of
seed 1 are fresh ones of the same owner, and nothing else in this project reads them."""


@dataclass(frozen=True)
class Contestant:
    """A method whose training settings were chosen by trials of its own, as many as the others'."""

    recipe: str
    changes: Changes = field(default_factory=dict)
    """What makes the method; the chosen settings come on top."""


CONTESTANTS: dict[str, Contestant] = {
    "full": Contestant("mbpo"),
    "offline-random": Contestant("mbpo-offline-random"),
    "offline-adversarial": Contestant("mbpo-offline-adversarial"),
    "online": Contestant("mbpo-online"),
    "dpo": Contestant(
        "mbpo-offline-adversarial", {"train.objective": Preference().model_dump(mode="json")}
    ),
    "sft": Contestant(
        "mbpo-offline-adversarial", {"train.objective": SFT().model_dump(mode="json")}
    ),
}
"""`dpo` and `sft` see the very pairs that `full` makes: equal data, steps and groups a step."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str
    contestant: str | None
    """Whose chosen settings it runs with; None: nothing is trained."""
    changes: Changes = field(default_factory=dict)
    """All that differs from the contestant."""
    about: str = ""


@dataclass(frozen=True)
class Group:
    """Rows that are printed together, and the row that the others are subtracted from."""

    title: str
    rows: tuple[str, ...]
    against: str
    seeds: int


def _attack(steps: int, size: int, epsilon: int | str | None = "") -> dict[str, Any]:
    changes: dict[str, Any] = {"mine.steps": steps, "mine.step_size": f"{size}/255"}
    if epsilon != "":
        changes["mine.epsilon"] = None if epsilon is None else f"{epsilon}/255"
    return changes


_PAIRS = ((10, 4), (20, 2), (20, 4), (20, 8))
_BALLS = (8, 16, 32, None)
_ROWS = (
    Row("base", None, about="the base model as it is"),
    *(Row(name, name) for name in CONTESTANTS),
    Row("shuffled", "full", {"pair.rejected": "shuffled"}, "rejected responses of other pairs"),
    *(Row(f"({n},{size})", "offline-adversarial", _attack(n, size)) for n, size in _PAIRS),
    Row("random-selection", "full", {"select.key": None}, "400 drawn at random"),
    Row("low-iig", "full", {"select.key": "low_iig_mean"}, "the 400 of lowest gain"),
    Row("iig-sum", "full", {"select.key": "iig_sum"}, "gain as a sum"),
    Row("other-advantages", "full", {}, "the other reading of the offline rewards"),
    *(Row(f"epsilon-{ball}", "full", _attack(20, 4, ball), "20 steps") for ball in _BALLS),
)
ROWS: dict[str, Row] = {row.name: row for row in _ROWS}

GROUPS: dict[str, Group] = {
    "table2": Group(
        "Table 2: what each stream gives",
        ("base", "offline-random", "offline-adversarial", "online", "full"),
        "full",
        5,
    ),
    "controls": Group(
        "Controls on the data of full MBPO", ("full", "dpo", "sft", "shuffled"), "full", 5
    ),
    "table3": Group(
        "Table 3: steps and step size (1/255) of the attack, offline adversarial",
        ("offline-adversarial", *(f"({n},{size})" for n, size in _PAIRS)),
        "offline-adversarial",
        3,
    ),
    "selection": Group(
        "Selection by gain, at random, and by low gain",
        ("full", "random-selection", "low-iig"),
        "full",
        3,
    ),
    "advantages": Group(
        "Offline advantages: pair against raw", ("full", "other-advantages"), "full", 3
    ),
    "gain": Group("Gain: mean per token against sum", ("full", "iig-sum"), "full", 3),
    "epsilon": Group(
        "Radius of the attack (1/255), 20 steps of 4",
        ("full", *(f"epsilon-{ball}" for ball in _BALLS)),
        "full",
        3,
    ),
}
"""In the order in which they are run. (5,4) of Table 3 is `offline-adversarial` itself."""


def overrides_of(row: Row, settings: Mapping[str, Changes]) -> dict[str, Any]:
    """Return what makes a row: its contestant's method, the chosen settings, its own changes."""
    assert row.contestant is not None
    chosen = dict(settings.get(row.contestant, {}))
    own = dict(row.changes)
    if row.name == "other-advantages":
        own |= other_advantages(chosen)
    return {**CONTESTANTS[row.contestant].changes, **chosen, **own}


def other_advantages(chosen: Changes) -> dict[str, Any]:
    """Return the reading of the offline rewards that the chosen settings of `full` do not take."""
    pair = chosen.get("train.objective.advantages", "pair") == "pair"
    return {"train.objective.advantages": "raw" if pair else "pair"}


def recipe_of(
    row: Row,
    settings: Mapping[str, Changes],
    *,
    model: dict[str, Any],
    part: str,
    seed: int,
    scenes: int | None = None,
    changes: Changes | None = None,
) -> Recipe:
    """Return the recipe of one run.

    Args:
        row: which row; one that trains.
        settings: chosen training settings by contestant.
        model: the base model, as `policy` and `scorer` of a recipe.
        part: `dev` for trials, `final` for what is reported.
        seed: of the run; it draws the pre-selection, responses, rollouts and the order of groups.
        scenes: of each split; default: `SCENES`.
        changes: anything else, for tests.
    """
    assert row.contestant is not None
    common = {
        "seed": seed,
        "select.seed": seed,
        "policy": model,
        "scorer": model,
        "evaluate.benchmarks": benchmarks(part, scenes),
        "evaluate.bootstrap": 100,  # intervals are over seeds and scenes, not of one run
        "answer.models": ["trained"],
        "train.probe_every": 20,
        "train.probe_groups": 32,
        "train.stream_norm_every": 0,
        "train.save_every": 1000,
    }
    made = overrides_of(row, settings) | common | dict(changes or {})
    return configured(CONTESTANTS[row.contestant].recipe, made)


def benchmarks(part: str, scenes: int | None = None) -> list[dict[str, Any]]:
    """Return what is asked: every kind of question about the scenes of both splits."""
    owner, seed = PARTS[part]
    count = SCENES[part] if scenes is None else scenes
    return [
        {"kind": "embedded", "split": split, "part": owner, "seed": seed, "scenes": count}
        for split in SPLITS
    ]
