"""The recipe: all settings of one run, and which of them go together."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from pydantic import Field, model_validator

from mbpo_core.config.base import Frozen, Model
from mbpo_core.config.combinations import problems
from mbpo_core.config.data import IngestConfig, ScoreConfig, SelectConfig
from mbpo_core.config.evaluation import AnswerConfig, EvaluateConfig
from mbpo_core.config.mining import AnyMiner, PGDMiner
from mbpo_core.config.report import ReportConfig
from mbpo_core.config.responses import PairConfig, RespondConfig
from mbpo_core.config.training import TrainConfig


class Recipe(Frozen):
    """One complete run, from data to the report on it.

    Raises ValueError for parts that do not go together, with the reason.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")
    seed: int = 0
    scorer: Model
    """Model of the image information gain (Qwen2-VL-2B: paper)."""
    policy: Model
    attacked: Model | None = None
    """Model that PGD goes through; `None` = the policy (assumed; the paper names none)."""
    ingest: IngestConfig
    score: ScoreConfig = ScoreConfig()
    select: SelectConfig = SelectConfig()
    mine: AnyMiner = PGDMiner()
    respond: RespondConfig = RespondConfig()
    pair: PairConfig = PairConfig()
    train: TrainConfig = TrainConfig()
    answer: AnswerConfig = AnswerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _parts_go_together(self) -> Recipe:
        if found := problems(self):
            raise ValueError("; ".join(found))
        return self

    def with_overrides(self, overrides: dict[str, Any]) -> Recipe:
        """Return the recipe with dotted keys replaced, as `{"mine.steps": 5}`.

        Raises ValueError for a key that does not exist, naming the ones that do.
        """
        data = self.model_dump(mode="json")
        for dotted, value in overrides.items():
            *parents, last = dotted.split(".")
            node = data
            for part in parents:
                node = node.get(part) if isinstance(node, dict) else None
            if not isinstance(node, dict) or last not in node:
                known = ", ".join(sorted(node)) if isinstance(node, dict) else "nothing"
                raise ValueError(f"unknown setting {dotted!r}; here stand: {known}")
            node[last] = deepcopy(value)  # a later key may reach into it
        return Recipe.model_validate(data)


def parse_override(text: str) -> tuple[str, Any]:
    """Read `key=value` as the command line gives it; the value is JSON, else plain text."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
