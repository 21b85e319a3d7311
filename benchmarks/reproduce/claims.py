"""What the paper says, as predicates over paired differences, and what was aimed at here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.reproduce.paired import Difference, Runs, alone, paired

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "not decided"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Claim:
    """`a - factor * b` (or `a` alone) lies on one side of a bound."""

    text: str
    source: str
    """Where it is said; `goal`: an aim of this comparison, not a statement of the paper."""
    column: str
    a: str
    """A row."""
    b: str | None = None
    """Another row; None: `a` alone."""
    factor: float = 1.0
    below: bool = True
    """Below the bound (CHAIR: less is better), else above it."""
    bound: float = 0.0

    def difference(self, runs: Mapping[str, Runs]) -> Difference:
        """Return the figure that the claim is about."""
        a = runs.get(self.a, {})
        if self.b is None:
            return alone(a, self.column)
        return paired(a, runs.get(self.b, {}), self.column, self.factor)


def _chair(text: str, source: str, a: str, b: str, factor: float = 1.0) -> Claim:
    return Claim(text, source, "CHAIR_i", a, b, factor)


_ATTACKS = ("(10,4)", "(20,2)", "(20,4)", "(20,8)")
CLAIMS: tuple[Claim, ...] = (
    _chair("MBPO hallucinates less than the base model", "Table 1", "full", "base"),
    _chair("random offline pairs help", "Table 2", "offline-random", "base"),
    _chair("adversarial offline pairs help", "Table 2", "offline-adversarial", "base"),
    _chair("online questions alone help", "Table 2", "online", "base"),
    _chair(
        "adversarial pictures help more than random ones", "Table 2",
        "offline-adversarial", "offline-random",
    ),
    _chair("both streams help more than pairs alone", "Table 2", "full", "offline-adversarial"),
    _chair("both streams help more than questions alone", "Table 2", "full", "online"),
    Claim("answers get better where the prior is wrong", "Table 1", "accuracy, counter", "full",
          "base", below=False),
    *(_chair(f"(5,4) hallucinates least: less than {pair}", "Table 3", "offline-adversarial", pair)
      for pair in _ATTACKS),
    Claim("the gain of chosen responses rises in training", "Fig. 4",
          "rise of the chosen gain", "offline-adversarial", below=False),
    Claim("that of rejected ones stays low: it rises less", "Fig. 4",
          "rise of the gap", "offline-adversarial", below=False),
    Claim("the online reward rises in training", "Fig. 4", "rise of the reward", "online",
          below=False),
    _chair("selection by gain beats selection at random", "App. A.1", "full", "random-selection"),
    _chair("selection by gain beats that of low gain", "App. A.1", "full", "low-iig"),
    _chair("CHAIR_i of the base model at least halved", "goal", "full", "base", 0.5),
    _chair("less than offline random", "goal", "full", "offline-random"),
    _chair("less than DPO on the same data", "goal", "full", "dpo"),
    _chair("less than SFT on the same data", "goal", "full", "sft"),
    Claim("no more than a point lost on typical colours", "goal", "accuracy, typical", "full",
          "base", below=False, bound=-0.01),
    _chair("less than with rejected responses of other pairs", "control", "full", "shuffled"),
)  # fmt: skip


def verdict(claim: Claim, found: Difference) -> str:
    """Return whether a claim holds; both intervals must agree, or it is not decided."""
    if found.student is None:
        return NOT_RUN
    if found.bounds is None:
        return OPEN
    low, high = found.bounds
    if not claim.below:
        low, high = -high, -low
    bound = claim.bound if claim.below else -claim.bound
    if high < bound:
        return HOLDS
    return FAILS if low > bound else OPEN
