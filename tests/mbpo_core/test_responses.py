import string

import pytest
import torch

from mbpo_core.models.preprocessing import to_unit
from mbpo_core.responses import (
    RefusalRules,
    RespondRow,
    longest_run,
    refuse,
    repetition_share,
    sample_rejected,
)
from mbpo_core.seeds import seed_for
from tests.mbpo_core.tiny_models import random_image

RULES = RefusalRules()
ANYTHING = RefusalRules(max_repetition=1.0, max_run=10**6)
SETTINGS = {"run_seed": 3, "top_p": 0.95, "max_new_tokens": 8}
CAPTION = (
    "There is a yellow banana at the top left, a red apple at the top right and a green frog at "
    "the bottom right. The background is plain and nothing else can be seen in the picture."
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("...", "empty"),
        ("A red bird.", "equal_to_chosen"),
        (" a  RED\nbird!", "equal_to_chosen"),
        ('"a red bird"', "equal_to_chosen"),
        ("a red birds", None),
        ("a blue bird", None),
        (CAPTION, None),
        ("2000 birds", None),
        ("red " * 20, "degenerate"),
        ("haha" * 10, "degenerate"),
        ("the bird is red and " * 5, "degenerate"),
        ("one bird" + "!" * 30, "degenerate"),
    ],
)
def test_reasons(text, reason):
    assert refuse(text, "a red bird", RULES) == reason


def test_repetition_counts_trigrams_that_occurred_before():
    assert repetition_share("a b c a b c") == 1 - 3 / 4
    assert repetition_share("a b c d e f") == 0
    assert repetition_share("a b") == 0


@pytest.mark.parametrize(
    ("text", "count"), [("", 1), ("a b c", 1), ("aaa", 3), ("no no no", 3), ("abcabcab", 2)]
)
def test_longest_run(text, count):
    assert longest_run(text) == count


def test_unfinished_is_refused_only_if_told():
    assert refuse("a blue bird", "x", RULES, finished=False) is None
    told = RefusalRules(refuse_unfinished=True)
    assert refuse("a blue bird", "x", told, finished=False) == "unfinished"
    assert refuse("a blue bird", "x", told, finished=True) is None


def test_floor_on_the_mean_logp():
    rules = RefusalRules(min_mean_logp=-4.0)
    assert refuse("a blue bird", "x", rules, mean_logp=-4.0) is None
    assert refuse("a blue bird", "x", rules, mean_logp=-4.1) == "implausible"
    assert refuse("a blue bird", "x", rules, mean_logp=float("nan")) == "implausible"
    with pytest.raises(ValueError, match="mean_logp is needed"):
        refuse("a blue bird", "x", rules)


@pytest.fixture
def rows(tiny_policy, tiny_rows):
    """Rows for a model that writes letters: random bytes would often be refused as empty."""
    letters = [tiny_policy.response_ids(letter)[0] for letter in string.ascii_lowercase]
    barred = torch.full((tiny_policy.model.lm_head.out_features,), -1e3)
    barred[letters] = 0.0
    tiny_policy.model.lm_head.register_forward_hook(lambda m, a, out: out + barred)
    return [
        RespondRow(
            sample_id=row.sample_id,
            prompt=row.prompt,
            chosen="a red bird",
            clean=row.image,
            negative=random_image(100 + index, *row.image.shape[1:]),
        )
        for index, row in enumerate(tiny_rows)
    ]


def test_draws_under_the_negative_image_with_the_samples_seed(tiny_policy, rows):
    found = sample_rejected(tiny_policy, rows, ANYTHING, attempts=1, **SETTINGS)
    for row, response in zip(rows, found, strict=True):
        (expected,) = tiny_policy.sample(
            [row.prompt],
            [to_unit(row.negative)],
            [seed_for(3, row.sample_id, "respond", 0)],
            temperature=1.0,
            top_p=0.95,
            max_new_tokens=8,
        )
        assert (response.ids, response.finished) == (expected.ids, expected.finished)
        assert response.sample_id == row.sample_id
        assert response.text == tiny_policy.decode(response.ids)


def test_scores_stand_beside_the_response(tiny_policy, rows):
    found = sample_rejected(tiny_policy, rows, ANYTHING, attempts=1, **SETTINGS)
    for row, response in zip(rows, found, strict=True):
        images = [to_unit(row.clean), to_unit(row.negative), to_unit(row.clean) * 0]
        scores = [
            response.clean_token_logps,
            response.negative_token_logps,
            response.blank_token_logps,
        ]
        for image, score in zip(images, scores, strict=True):
            (expected,) = tiny_policy.token_logps([row.prompt], [response.ids], [image])
            torch.testing.assert_close(torch.tensor(score), expected, rtol=0, atol=1e-5)


def test_a_refused_attempt_is_followed_by_the_next_for_that_row_only(tiny_policy, rows):
    first = sample_rejected(tiny_policy, rows, ANYTHING, attempts=1, **SETTINGS)
    rows[1] = RespondRow(**{**vars(rows[1]), "chosen": first[1].text})
    again = sample_rejected(tiny_policy, rows, ANYTHING, attempts=3, **SETTINGS)
    assert [response.attempt for response in again] == [0, 1, 0]
    assert [response.refused for response in again] == [[], ["equal_to_chosen"], []]
    assert all(response.reason is None for response in again)
    assert [again[0].ids, again[2].ids] == [first[0].ids, first[2].ids]
    assert again[1].ids != first[1].ids


def test_a_row_that_is_always_refused_comes_back_with_its_reasons(tiny_policy, rows):
    rules = RefusalRules(max_repetition=1.0, max_run=10**6, min_mean_logp=0.0)
    found = sample_rejected(tiny_policy, rows, rules, attempts=3, **SETTINGS)
    for response in found:
        assert response.reason == "implausible"
        assert response.refused == ["implausible"] * 2
        assert response.attempt == 2
        assert len(response.clean_token_logps) == len(response.ids)


def test_seeds_are_those_of_the_run(tiny_policy, rows):
    one = sample_rejected(tiny_policy, rows, ANYTHING, attempts=1, **SETTINGS)
    assert one == sample_rejected(tiny_policy, rows, ANYTHING, attempts=1, **SETTINGS)
    other = sample_rejected(tiny_policy, rows, ANYTHING, attempts=1, **(SETTINGS | {"run_seed": 4}))
    assert all(a.ids != b.ids for a, b in zip(one, other, strict=True))
    with pytest.raises(ValueError, match="attempts must be at least 1"):
        sample_rejected(tiny_policy, rows, ANYTHING, attempts=0, **SETTINGS)


def test_plausible_is_what_the_clean_image_makes_likely(tiny_policy, rows):
    """A floor between the means under the two images: only the clean one counts."""
    (found,) = sample_rejected(tiny_policy, rows[:1], ANYTHING, attempts=1, **SETTINGS)
    clean, negative = (
        sum(logps) / len(logps) for logps in (found.clean_token_logps, found.negative_token_logps)
    )
    assert clean != negative
    rules = RefusalRules(**{**vars(ANYTHING), "min_mean_logp": (clean + negative) / 2})
    (judged,) = sample_rejected(tiny_policy, rows[:1], rules, attempts=1, **SETTINGS)
    assert judged.ids == found.ids
    assert judged.reason == (None if clean > negative else "implausible")
