"""Which samples are closed-ended: multiple choice first, then yes/no, each from the *gold answer*.

Closed-ended samples make the online set (paper App. A.1: "multiple choice and yes/no"). The
question alone does not tell: half of the questions that begin with "Is" and hold "or" ask for one
of two words, and questions without any instruction are answered by yes. So the question gives the
options, and the gold answer decides.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mbpo_core.data.answers import extract_yes_no
from mbpo_core.data.choices import extract_choice
from mbpo_core.records import ClosedKind, Options

_GOLD_RULES: Final = (
    "letter", "option_text", "letter_and_text", "leading_letter", "stated_letter", "stated_text",
)  # fmt: skip
"""Ways to name an option that a gold answer may use; a mere mention is no choice."""
_SHORT_WORDS: Final = 3

_LINE = re.compile(r"^\s*(?:[(\[]([A-Za-z])[)\]][.:]?|([A-Za-z])[.):、])\s*(\S.*)$")
_IN_PARENTHESES = re.compile(r"(?<!\w)\(([A-Za-z])\)[.:]?\s*")
_WITH_SIGN = re.compile(r"(?<![\w(])([A-Za-z])[.:)、]\s+")

_ASKS_YES_NO = re.compile(r"(?i)\byes\b\W{0,3}(?:or|and|/)?\W{0,3}\bno\b")
_AUXILIARY = re.compile(
    r"(?i)^\W*(?:is|are|was|were|do|does|did|can|could|has|have|had|will|would|should|may|might)\b"
)
_VERDICT_FIRST = re.compile(
    r"(?i)^\W*(?:yes|no)(?:\W*$|(?!\W*\d)\s*[,.;:!–—-]"
    r"|\s+(?:it|there|they|he|she|this|that|these|those|you|we|i|not|because|since|as)\b)"
)


@dataclass(frozen=True)
class ClosedEnded:
    """What a closed-ended sample is graded by."""

    kind: ClosedKind
    """`multiple_choice` or `yes_no`."""
    answer: str
    """A capital letter among the options, or `yes` / `no`."""
    options: Options = ()
    """Letters (capital, in order from A) and texts; empty for yes/no. Texts are in Unicode's NFKC
    form: they serve to compare, not to show."""


def detect_closed_ended(
    question: str, answer: str, *, long_yes_no: bool = False
) -> ClosedEnded | None:
    """Say whether a sample is closed-ended; None = open-ended.

    Multiple choice: the question holds a run of options A, B, (C ...) - a line each ("A. x",
    "A) x", "(A) x", "A: x") or within a line - and the gold answer names one of them. A single
    "(A)" is no evidence. It is tested first, since options may themselves be yes and no.

    Yes/no: the gold answer begins with yes or no as a verdict ("No parking" does not) and has at
    most three words, or the question asks for yes or no in these words.

    Args:
        question: text without `<image>`.
        answer: gold answer.
        long_yes_no: also take gold answers that go on after the verdict ("Yes, the banana is
            yellow.") or end on it ("..., so yes."). The paper speaks of "the presence of a yes or
            no" and leaves this open; in conversation data such answers are full sentences that a
            model may well learn from, so the default is to keep them open-ended (assumed).
    """
    for options in _option_runs(unicodedata.normalize("NFKC", question)):
        letter, rule = extract_choice(answer, options)
        if letter is not None and rule in _GOLD_RULES:
            return ClosedEnded("multiple_choice", letter, options)
    verdict, rule = extract_yes_no(answer)
    if verdict is None or not _is_verdict(question, answer, rule):
        return None
    is_short = len(answer.split()) <= _SHORT_WORDS
    if is_short or long_yes_no or _ASKS_YES_NO.search(question):
        return ClosedEnded("yes_no", verdict)
    return None


def _is_verdict(question: str, answer: str, rule: str) -> bool:
    """Whether the gold's yes or no answers the question, rather than being a word in a phrase."""
    if rule == "first_word":
        asks = bool(_AUXILIARY.search(question) or _ASKS_YES_NO.search(question))
        return asks or bool(_VERDICT_FIRST.search(answer))
    return rule == "stated"


def _option_runs(question: str) -> Iterator[Options]:
    """Yield the runs of options found, one way of writing after the other."""
    for capital in (True, False):
        yield from _last_run(_lines(question), capital)
        yield from _last_run(_inline(question, _IN_PARENTHESES), capital)
        yield from _last_run(_inline(question, _WITH_SIGN), capital)


def _lines(question: str) -> Iterator[tuple[str, str]]:
    """Yield (letter, text) of lines with a label; ("", line) of others."""
    for line in question.splitlines():
        match = _LINE.match(line)
        if match:
            # Cut here: a pattern that ends before blanks reads a run of them over and over.
            yield match[1] or match[2], match[3].rstrip()
        elif line.strip():
            yield "", line.strip()


def _inline(question: str, label: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield (letter, text up to the next label); the last text ends with its line."""
    labels = list(label.finditer(question))
    starts = [match.start() for match in labels] + [len(question)]
    for match, end in zip(labels, starts[1:], strict=True):
        text = question[match.end() : end]
        if end == len(question):
            text = text.split("\n")[0]
        yield match[1], text.strip(" ,;.\n")


def _last_run(labelled: Iterable[tuple[str, str]], capital: bool) -> Iterator[Options]:
    """Yield the last run A, B, (C ...) of at least two; other lines within belong to the text."""
    runs: list[list[tuple[str, str]]] = []
    between: list[str] = []
    for letter, text in labelled:
        if letter and letter.isupper() == capital and letter.upper() == "A":
            runs.append([("A", text)])
            between = []
        elif letter and runs and letter == _following(runs[-1], capital):
            last, last_text = runs[-1][-1]
            runs[-1][-1] = (last, "\n".join((last_text, *between)))
            runs[-1].append((letter.upper(), text))
            between = []
        else:
            between.append(text)
    whole = [run for run in runs if len(run) > 1 and all(text for _, text in run)]
    if whole:
        yield tuple(whole[-1])


def _following(run: list[tuple[str, str]], capital: bool) -> str:
    letter = chr(ord(run[-1][0]) + 1)
    return letter if capital else letter.lower()
