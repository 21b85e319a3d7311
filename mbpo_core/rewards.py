"""Verifier of closed-ended answers: the online reward of hybrid GRPO (eq. 7).

Reward 1 for the right answer, else 0 (assumed; the paper does not say how answers are checked).
Rules are tried in order and each names itself, so that a run can report *how* it was graded.
Nothing is searched for inside of words; two different answers are wrong, even if one of them is
right; what cannot be read is wrong too, but counted apart (`Verdict.parsed`): a model that stops
answering must not look merely mistaken.
"""

from dataclasses import dataclass
from typing import Final

from mbpo_core.data.answers import extract_yes_no
from mbpo_core.data.choices import extract_choice
from mbpo_core.records import CLOSED_KINDS, Options

UNPARSED: Final = ("empty", "unparseable", "contradictory", "unknown_option")
"""Rules of a verdict without an answer: nothing said; no answer found; two different ones; a letter
that no option has."""


@dataclass(frozen=True)
class Verdict:
    """What a completion is worth and how that was found."""

    reward: float
    """1.0 for the right answer, else 0.0."""
    extracted: str | None
    """Capital letter, `yes` or `no`; None where no single answer could be read."""
    rule: str
    """The rule that read the answer, or one of `UNPARSED`."""

    @property
    def parsed(self) -> bool:
        """Whether the completion gives exactly one answer."""
        return self.extracted is not None


def verify(completion: str, kind: str, answer: str, options: Options = ()) -> Verdict:
    """Grade a completion.

    Args:
        completion: any text.
        kind: `multiple_choice` or `yes_no`.
        answer: gold: a letter among the options, or `yes` / `no`.
        options: letters and texts of a multiple choice.

    Raises:
        ValueError: kind or gold answer is none of these. Never raises on a completion.
    """
    if kind not in CLOSED_KINDS:
        raise ValueError(f"kind must be one of {CLOSED_KINDS}, got {kind!r}")
    possible = [letter for letter, _ in options] if kind == "multiple_choice" else ["yes", "no"]
    if answer not in possible:
        raise ValueError(f"the gold answer of {kind} must be one of {possible}, got {answer!r}")
    if kind == "yes_no":
        extracted, rule = extract_yes_no(completion)
    else:
        extracted, rule = extract_choice(completion, options)
    return Verdict(float(extracted == answer), extracted, rule)
