"""Keywords of a response: its candidate phrases, ranked over a multipartite graph (MFPO, step 1).

The graph is that of F. Boudin, Unsupervised Keyphrase Extraction with Multipartite Graphs (NAACL
2018). scipy and networkx are imported where they are used.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mbpo_core.mining.phrases import Phrase, candidate_phrases

_DIGITS: Final = 9


def multipartite_rank(
    text: str,
    k: int = 3,
    alpha: float = 1.1,
    threshold: float = 0.74,
    damping: float = 0.85,
) -> list[tuple[str, float]]:
    """The `k` best candidate phrases of a text with their PageRank, best first.

    Args:
        text: a response.
        k: how many phrases at most, at least 1 (assumed: MFPO says top k).
        alpha: strength of the weight adjustment, see `promoted` (Boudin; assumed for MFPO).
        threshold: largest distance within a topic, see `topics` (Boudin; assumed for MFPO).
        damping: of PageRank, in (0, 1) (0.85: customary, assumed; MFPO prints none).

    Scores are those of all candidates and sum to 1 over them; ties go to the earlier phrase. Like
    the published code (pke) the graph ranks candidates directly, whatever their topics: "red
    tomato" and "red cherry" share a topic and can both be chosen. A phrase that only says more or
    less about the same head than a better one ("tomato", "red tomato") is left out.

    Errors: ValueError for k < 1, a negative alpha, or a damping outside (0, 1).
    Differs from the paper: MFPO's own edges mix distance and cosine similarity, and its symbols are
    lost; this is Boudin 2018, which it cites. Boudin has no such rule on equal heads.
    """
    if k < 1 or alpha < 0 or not 0 < damping < 1:
        raise ValueError(
            f"expected k >= 1, alpha >= 0 and damping in (0, 1), got {k}, {alpha}, {damping}"
        )
    phrases = candidate_phrases(text)
    groups = topics(phrases, threshold)
    scores = page_rank(promoted(distance_weights(phrases, groups), phrases, groups, alpha), damping)
    chosen: list[int] = []
    for index in sorted(range(len(phrases)), key=lambda i: (-scores[i], i)):
        if len(chosen) < k and not any(_same(phrases[index], phrases[c]) for c in chosen):
            chosen.append(index)
    return [(phrases[index].text, scores[index]) for index in chosen]


def topics(phrases: Sequence[Phrase], threshold: float) -> list[int]:
    """Number of the topic of each phrase: clusters of phrases that share stems.

    Average linkage over Jaccard distances of the sets of stems; clusters are cut at `threshold`.
    """
    if len(phrases) < 2:
        return [1] * len(phrases)
    from scipy.cluster.hierarchy import fcluster, linkage

    # In the order that linkage expects: the upper triangle, row by row.
    distances = [_jaccard(one, other) for one, other in combinations(phrases, 2)]
    tree = linkage(np.array(distances), method="average")
    return fcluster(tree, t=threshold, criterion="distance").tolist()


def distance_weights(phrases: Sequence[Phrase], groups: Sequence[int]) -> NDArray[np.float64]:
    """w_ij = sum over pairs of occurrences of 1 / gap, `[N, N]`, 0 within a topic.

    The gap is the distance from the last word of the earlier phrase to the first of the later one.
    """
    weights = np.zeros((len(phrases), len(phrases)))
    for i, j in combinations(range(len(phrases)), 2):
        if groups[i] != groups[j]:
            weights[i, j] = weights[j, i] = sum(_inverse_gaps(phrases[i], phrases[j]))
    return weights


def promoted(
    weights: NDArray[np.float64], phrases: Sequence[Phrase], groups: Sequence[int], alpha: float
) -> NDArray[np.float64]:
    """w_ij + alpha * exp(1 / (1 + p_j)) * sum over k of w_ki, `[N, N]`, for the edges i -> j.

    j is the first phrase of its topic, p_j its first position, and k runs over the topic's others:
    what leads to them leads to the first as well.

    Differs from Boudin's eq. 2: it prints the position of i; here, as in the published code, it is
    that of the phrase that is promoted, counted from 1.
    """
    result = weights.copy()
    for group in set(groups):
        first, *others = (i for i, g in enumerate(groups) if g == group)
        boost = alpha * math.exp(1 / (1 + phrases[first].positions[0]))
        result[:, first] += boost * weights[:, others].sum(axis=1)
    return result


def page_rank(weights: NDArray[np.float64], damping: float) -> list[float]:
    """PageRank of the nodes of a weighted directed graph, `[N]`, to convergence.

    `weights[i, j]` belongs to the edge i -> j. Rounded to 9 digits, so that symmetric nodes are
    equal and a ranking does not hang on the last bits.
    """
    import networkx

    graph = networkx.from_numpy_array(weights, create_using=networkx.DiGraph)
    ranks = networkx.pagerank(graph, alpha=damping, tol=1e-12, max_iter=10_000)
    return [round(float(ranks[node]), _DIGITS) for node in range(len(weights))]


def _inverse_gaps(one: Phrase, other: Phrase) -> Iterator[float]:
    for p in one.positions:
        for q in other.positions:
            earlier = one if p < q else other
            yield 1 / (abs(p - q) - (len(earlier.stems) - 1))


def _jaccard(one: Phrase, other: Phrase) -> float:
    both, either = set(one.stems) & set(other.stems), set(one.stems) | set(other.stems)
    return 1 - len(both) / len(either)


def _same(one: Phrase, other: Phrase) -> bool:
    a, b = set(one.stems), set(other.stems)
    return one.stems[-1] == other.stems[-1] and (a <= b or b <= a)
