"""Rows of figures over groups of answers: groups that are all right, sums over categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from mbpo_core.evaluation.protocol import Answer


def all_right(
    answers: Sequence[Answer],
    group: Callable[[Answer], Hashable],
    *,
    size: int | None = None,
) -> list[tuple[float, float]]:
    """Return for each answer what it adds to (groups that are all right, groups).

    The first answer of a group adds for the whole group, the others add nothing: sums over answers
    are sums over groups.

    Args:
        answers: of one model.
        group: of an answer; None: in no group.
        size: groups of another size are not counted.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for place, answer in enumerate(answers):
        if (name := group(answer)) is not None:
            members[name].append(place)
    terms = [(0.0, 0.0)] * len(answers)
    for places in members.values():
        if size is None or len(places) == size:
            right = all(answers[place].score.correct for place in places)
            terms[places[0]] = (float(right), 1.0)
    return terms


def side_by_side(parts: Sequence[Sequence[Sequence[float]]]) -> list[np.ndarray]:
    """Return the rows of all parts, P times as wide: each part has its own terms, the others 0.

    So a figure of the sums of all parts sees the sums of each, `[..., P * k]`.
    """
    wide = []
    for place, rows in enumerate(parts):
        for row in rows:
            terms = np.zeros((len(parts), len(row)))
            terms[place] = row
            wide.append(terms.ravel())
    return wide
