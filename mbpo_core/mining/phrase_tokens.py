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
    # known[n]: characters of the text that n tokens settle; half a character settles nothing.
    known = [_common(policy.decode(ids[:n]), text) for n in range(len(ids) + 1)]
    begin, end = (next(n for n, k in enumerate(known) if k >= at) for at in said.span())
    # A token that says the first letter and what stands before it.
    begin -= known[begin] > said.start()
    return range(begin, end)


def _common(one: str, other: str) -> int:
    """Count the characters that both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
