import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.keywords import (
    distance_weights,
    multipartite_rank,
    page_rank,
    promoted,
    topics,
)
from mbpo_core.mining.phrases import Phrase, candidate_phrases

WORDS = ("a", "red", "big", "dog", "dogs", "cat", "table", "tomato", "is", "on", ",", ".")
sentences = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


def phrase(text, *positions):
    return Phrase(text, positions, tuple(text.split()), text.split()[-1])


def linear_solve(weights, damping):
    """r = damping * P^T r + (1 - damping) / n; a node without edges jumps anywhere."""
    n = len(weights)
    sums = weights.sum(axis=1, keepdims=True)
    steps = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), 1 / n)
    return np.linalg.solve(np.eye(n) - damping * steps.T, np.full(n, (1 - damping) / n))


def test_weights_are_inverse_gaps_between_topics_only():
    # Words: red(0) dog(1) on(2) table(3) ... dog(9): gaps from the end of the earlier phrase.
    found = [phrase("red dog", 0), phrase("table", 3), phrase("dog", 9)]
    weights = distance_weights(found, topics(found, 0.74))
    assert topics(found, 0.74) == [1, 2, 1]  # Jaccard distance of red dog and dog: 1 - 1/2
    table_to = [1 / (3 - 0 - 1), 0, 1 / (9 - 3)]
    np.testing.assert_allclose(weights[1], table_to)
    np.testing.assert_allclose(weights, weights.T)
    assert weights[0, 2] == 0


def test_every_pair_of_occurrences_counts():
    # red(0) dog(1) ... cat(4) ... red(10) dog(11): from the end of whichever is earlier.
    found = [phrase("red dog", 0, 10), phrase("cat", 4)]
    assert distance_weights(found, [1, 2])[0, 1] == pytest.approx(1 / 3 + 1 / 6)


def test_the_first_of_a_topic_is_promoted_by_what_leads_to_the_others():
    found = [phrase("red dog", 1), phrase("table", 4), phrase("dog", 9)]
    weights = distance_weights(found, [1, 2, 1])
    result = promoted(weights, found, [1, 2, 1], alpha=1.1)
    boost = 1.1 * math.exp(1 / (1 + 1)) * weights[1, 2]
    assert result[1, 0] == pytest.approx(weights[1, 0] + boost)
    result[1, 0] = weights[1, 0]
    np.testing.assert_array_equal(result, weights)  # nothing else changed, nor the edge back


def test_topics_are_cut_at_the_average_distance():
    # Distances: ab-b 1/2, ab-bc 2/3, b-bc 1/2; average linkage joins the third at 7/12.
    found = [phrase("a b", 0), phrase("b", 5), phrase("b c", 9)]
    assert len(set(topics(found, 0.6))) == 1
    assert len(set(topics(found, 0.55))) == 2
    assert len(set(topics(found, 0.4))) == 3


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_page_rank_solves_its_equations(n, seed, damping):
    rng = np.random.default_rng(seed)
    weights = rng.random((n, n)) * (rng.random((n, n)) < 0.6)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(
        page_rank(weights, damping), linear_solve(weights, damping), atol=2e-9
    )


@settings(deadline=None)
@given(sentences, st.integers(1, 5), st.floats(0, 3))
def test_keywords_are_the_best_candidates(text, k, alpha):
    candidates = [candidate.text for candidate in candidate_phrases(text)]
    ranked = multipartite_rank(text, k, alpha)
    chosen, scores = [p for p, _ in ranked], [s for _, s in ranked]
    assert set(chosen) <= set(candidates)
    assert len(chosen) == len(set(chosen)) <= k
    assert bool(chosen) == bool(candidates)
    assert scores == sorted(scores, reverse=True)
    assert ranked == multipartite_rank(text, k, alpha)
    assert ranked == multipartite_rank(text, 99, alpha)[:k]


def test_nothing_to_rank_and_one_phrase():
    assert multipartite_rank("") == []
    assert multipartite_rank("B. yellow") == []
    assert multipartite_rank("The banana is yellow.") == [("banana", 1.0)]


def test_a_caption_gives_its_objects_even_where_two_share_a_color():
    ranked = multipartite_rank("A red tomato, a red cherry and a blue fish.", k=4)
    assert {text for text, _ in ranked} == {"red tomato", "red cherry", "blue fish"}
    assert sum(score for _, score in ranked) == pytest.approx(1)


def test_equal_scores_go_to_the_earlier_phrase():
    assert [text for text, _ in multipartite_rank("A white cloud and a blue fish.", k=1)] == [
        "white cloud"
    ]


def test_a_phrase_that_says_the_same_is_left_out_but_a_compound_is_not():
    text = "A red dog is at a table. The dog likes a dog leash."
    chosen = [found for found, _ in multipartite_rank(text, k=9)]
    assert len({"red dog", "dog"} & set(chosen)) == 1
    assert {"table", "dog leash"} <= set(chosen)
    both = [found for found, _ in multipartite_rank("A dog is at a dog leash.", k=9)]
    assert set(both) == {"dog", "dog leash"}


def test_a_stronger_adjustment_raises_the_first_phrase_of_a_topic():
    text = "A red dog is near a table and a lamp, a chair and a brown dog."
    scores = [dict(multipartite_rank(text, 9, alpha))["red dog"] for alpha in (0.0, 1.1, 5.0)]
    assert scores == sorted(set(scores))


@pytest.mark.parametrize(
    "bad", [{"k": 0}, {"alpha": -0.1}, {"damping": 1.0}, {"damping": 0.0}], ids=str
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="expected k >= 1"):
        multipartite_rank("A dog.", **bad)
