"""Mistakes in grading answers and in the figures made of the grades."""

from tests.mutation.mutants.mutant import Mutant

_ANSWERS = "mbpo_core/data/answers.py"
_CHOICES = "mbpo_core/data/choices.py"
_REWARDS = "mbpo_core/rewards.py"
_CLOSED = "mbpo_core/data/closed_ended.py"
_OF_REWARDS = ("tests/mbpo_core/test_rewards.py", "tests/mbpo_core/data/test_choices.py")
_OF_CLOSED = ("tests/mbpo_core/data/test_closed_ended.py",)

MUTANTS = (
    Mutant(
        "substring-search-for-yes-and-no",
        "'eyes' says yes and 'not' says no",
        _ANSWERS,
        r'_POLARITY = re.compile(r"\b(?:yes|no)\b")',
        '_POLARITY = re.compile(r"yes|no")',
        _OF_REWARDS,
    ),
    Mutant(
        "first-of-two-answers-wins",
        "of two contradictory answers one is paid",
        _ANSWERS,
        'return (distinct.pop(), rule) if len(distinct) == 1 else (None, "contradictory")',
        "return (min(distinct), rule)",
        _OF_REWARDS,
    ),
    Mutant(
        "thoughts-are-graded",
        "an answer inside of <think> counts",
        _ANSWERS,
        '_THOUGHT.sub("", whole)',
        "whole",
        _OF_REWARDS,
    ),
    Mutant(
        "later-verdict-ignored",
        "'Yes, it is. Actually, no.' is paid as yes: the first word decides alone",
        _ANSWERS,
        'single(first + stated, "first_word")',
        'single(first, "first_word")',
        _OF_REWARDS,
    ),
    Mutant(
        "not-knowing-is-an-answer",
        "'no idea' says no",
        _ANSWERS,
        "if not text or _NO_ANSWER.search(folded):",
        "if not text:",
        _OF_REWARDS,
    ),
    Mutant(
        "denied-verdict-counts",
        "'I cannot say yes' says yes",
        _ANSWERS,
        "if _UNSURE.search(folded) or _DENIED.search(folded):",
        "if _UNSURE.search(folded):",
        _OF_REWARDS,
    ),
    Mutant(
        "gold-searched-in-the-completion",
        "a completion is paid if it holds the gold answer anywhere",
        _REWARDS,
        "float(extracted == answer)",
        "float(answer.casefold() in completion.casefold())",
        _OF_REWARDS,
    ),
    Mutant(
        "letter-that-no-option-has",
        "any single letter is taken for an answer",
        _CHOICES,
        "if match and match[1].upper() in letters:",
        "if match:",
        _OF_REWARDS,
    ),
    Mutant(
        "article-is-a-letter",
        "'The answer is A dog.' chooses A",
        _CHOICES,
        "if not _is_denied(text, match) and not _is_word(text, match)",
        "if not _is_denied(text, match)",
        _OF_REWARDS,
    ),
    Mutant(
        "denied-letter-counts",
        "'The answer is not B' chooses B",
        _CHOICES,
        "if not _is_denied(text, match) and not _is_word(text, match)",
        "if not _is_word(text, match)",
        _OF_REWARDS,
    ),
    Mutant(
        "letter-beats-its-text",
        "'B. cat' chooses B although the text is A's",
        _CHOICES,
        'return single((found, match[1].upper()), "letter_and_text")',
        'return match[1].upper(), "letter_and_text"',
        _OF_REWARDS,
    ),
    Mutant(
        "option-text-inside-a-word",
        "'hotdogs' mentions the option 'dog'",
        _CHOICES,
        r'rf"(?<![a-z0-9]){re.escape(form)}(?![a-z0-9]|[.,]\d)"',
        'rf"{re.escape(form)}"',
        _OF_REWARDS,
    ),
    Mutant(
        "short-option-first",
        "'two dogs' mentions 'dog' because the shorter text is looked for first",
        _CHOICES,
        "return -len(form), form",
        "return len(form), form",
        _OF_REWARDS,
    ),
    Mutant(
        "question-decides-alone",
        "an open answer to a question with options is taken for closed-ended",
        _CLOSED,
        "if letter is not None and rule in _GOLD_RULES:",
        "if letter is not None:",
        _OF_CLOSED,
    ),
    Mutant(
        "phrase-with-no-is-a-verdict",
        "'No parking' on a sign is taken for the answer no",
        _CLOSED,
        "return asks or bool(_VERDICT_FIRST.search(answer))",
        "return True",
        _OF_CLOSED,
    ),
)
