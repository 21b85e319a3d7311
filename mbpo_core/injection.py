"""Injected errors: the right answer with one plausible mistake in it, as a rejected response."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Rule = Callable[[str, str, random.Random], str | None]
"""(question, chosen, generator) to a wrong answer, or None where the rule has nothing to change."""


class Injector(Protocol):
    """Puts a common error into a right answer (POVID, BPO)."""

    def __call__(self, question: str, chosen: str, seed: int) -> str | None:
        """Return a wrong answer, or None where there is nothing to change; seeded, never equal."""
        ...


@dataclass(frozen=True)
class RuleInjector:
    """`Injector` by rules of one language: the first, in seeded order, that has an error to make.

    Errors: ValueError without rules, or from a call if a rule returns the answer unchanged.
    Differs from the paper: POVID injects with GPT-4V, BPO with a text-only language model (both
    paper); rules make fewer kinds of errors and need to know the language.
    """

    rules: tuple[Rule, ...]
    """Each makes one kind of error; all have the same chance to come first."""

    def __post_init__(self) -> None:
        """Refuse to be empty."""
        if not self.rules:
            raise ValueError("an injector needs at least one rule")

    def __call__(self, question: str, chosen: str, seed: int) -> str | None:
        """Return a wrong answer, or None where no rule has anything to change."""
        rng = random.Random(seed)
        for rule in rng.sample(self.rules, len(self.rules)):
            wrong = rule(question, chosen, rng)
            if wrong == chosen:
                raise ValueError(f"a rule injected no error into {chosen!r}")
            if wrong is not None:
                return wrong
        return None
