"""The rows of the comparison: every recipe, and controls that change one thing in one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mbpo_core.config import Recipe
from mbpo_core.recipes import METHODS, configured
from mbpo_core.recipes.worlds import embedded

RATES = (2.5e-5, 5e-5, 1e-4, 2e-4)
"""The trials of each row: the learning rate, nothing else."""
STEPS = 100
SPLITS = ("consistent", "counter")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    recipe: str
    changes: dict[str, Any] = field(default_factory=dict)
    about: str = ""


def rows() -> list[Row]:
    """Return the recipes in their order, then the controls."""
    names = [method.__name__.replace("_", "-") for method in METHODS]
    selected = {
        "score.signals": ["information_gain"],
        "select": embedded().select.model_dump(mode="json"),
    }
    preference = {"kind": "preference"}
    return [
        *(Row(name, name) for name in names),
        Row("sft-selected", "sft", selected, "control: chosen responses of mbpo's selection"),
        Row(
            "dpo-adversarial",
            "mbpo-offline-adversarial",
            {"train.objective": preference},
            "control: DPO on the very pairs of mbpo-offline-adversarial",
        ),
        Row(
            "mbpo-shuffled",
            "mbpo",
            {"pair.rejected": "shuffled"},
            "control: every rejected response is another pair's",
        ),
    ]


def recipe_of(row: Row, part: str, seed: int, rate: float | None, scenes: int) -> Recipe:
    """Return the recipe of one run.

    Args:
        row: which row.
        part: `dev` for trials, `test` for the table.
        seed: of the run; data and base model are the same for all.
        rate: learning rate of a trial; None = the one that stands in the recipe.
        scenes: of each split.
    """
    benchmarks = [{"kind": "embedded", "split": split, "part": part, "scenes": scenes}
                  for split in SPLITS]  # fmt: skip
    if part == "test":
        benchmarks.append(benchmarks[0] | {"blank": True})
    overrides = row.changes | {
        "seed": seed,
        "evaluate.benchmarks": benchmarks,
        "answer.models": ["base", "trained"] if row.name == BASE_FROM else ["trained"],
        "evaluate.bootstrap": 100,  # intervals of the table are over seeds
        "train.probe_every": 200,
        "train.probe_groups": 8,
        "train.stream_norm_every": 0,
        "train.save_every": 1000,
    }
    if rate is not None:
        overrides["train.learning_rate"] = rate
    elif row.name in CONTROL_RATES:
        overrides["train.learning_rate"] = CONTROL_RATES[row.name]
    return configured(row.recipe, overrides)


BASE_FROM = "mbpo"
"""The row whose runs measure the base model too."""
CONTROL_RATES: dict[str, float] = {
    "sft-selected": 5e-5,
    "dpo-adversarial": 5e-5,
    "mbpo-shuffled": 1e-4,
}
"""Learning rates of the controls, the best of the same trials on `dev`."""
