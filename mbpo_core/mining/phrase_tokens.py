"""Which tokens of a response say a phrase."""

import re
from collections.abc import Sequence

from mbpo_core.models.protocol import Policy


def phrase_tokens(policy: Policy, ids: Sequence[int], phrase: str) -> range | None:
    """Places in `ids` of the tokens that say the phrase at its first mention; None where none do.

    `ids` are response ids as `Policy.response_ids` gives them. The phrase is found as whole words,
    whatever their case and the white space between them, with a plural s or es if need be; a token
    that says more (the space before a word, a piece of its neighbour) belongs to it, and so do all
    tokens of a character that is spread over several.
    Errors: none.
    Differs from the paper: MFPO and AdaViP ask detectors and need no such thing.
    """
    text = policy.decode(ids)
    words = r"\s+".join(map(re.escape, phrase.split()))
    said = re.search(rf"(?<!\w){words}(?:e?s)?(?!\w)", text, re.IGNORECASE) if words else None
    if said is None:
        return None
    begins = [policy.decode(ids[:n]) for n in range(len(ids) + 1)]
    # What n tokens settle: of a character that is spread over several, part of them says nothing.
    settled = [_common(begun, text) for begun in begins]
    begin, end = (next(n for n, at in enumerate(settled) if at >= bound) for bound in said.span())
    # The token before says more than what stands before the phrase: it says some of the phrase.
    begin -= len(begins[begin]) > said.start()
    return range(begin, end)


def _common(one: str, other: str) -> int:
    """Count the characters that both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
