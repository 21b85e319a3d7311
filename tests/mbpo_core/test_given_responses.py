"""Rejected responses that are given as texts."""

import pytest
import torch

from mbpo_core.given_responses import given_rejected
from mbpo_core.models.preprocessing import blank_like, to_unit
from mbpo_core.responses import RespondRow
from tests.mbpo_core.tiny_models import random_image


def rows_of(policy, count):
    return [
        RespondRow(
            f"s{i}", policy.prompt_ids("What is there?", 56, 84), "a red bird",
            random_image(i), random_image(100 + i),
        )
        for i in range(count)
    ]  # fmt: skip


def test_texts_are_measured_under_all_three_images(tiny_policy):
    rows = rows_of(tiny_policy, 2)
    found = given_rejected(tiny_policy, rows, ["a blue bird", "no bird at all"])
    assert [each.reason for each in found] == [None, None]
    for row, each in zip(rows, found, strict=True):
        assert each.ids == tiny_policy.response_ids(each.text) and each.finished
        for image, logps in (
            (row.clean, each.clean_token_logps),
            (row.negative, each.negative_token_logps),
            (blank_like(row.clean), each.blank_token_logps),
        ):
            with torch.no_grad():
                (alone,) = tiny_policy.token_logps([row.prompt], [each.ids], [to_unit(image)])
            assert logps == pytest.approx(alone.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" ... ", "empty"),
        ("A red bird.", "equal_to_chosen"),
        ("a <|im_end|> bird", "special_token"),
        ("bird " * 400, "too_long"),
    ],
)
def test_what_makes_no_pair_is_a_row_with_a_reason_and_leaves_its_neighbour_alone(
    tiny_policy, text, reason
):
    rows = rows_of(tiny_policy, 2)
    refused, kept = given_rejected(tiny_policy, rows, [text, "a blue bird"])
    assert (refused.reason, refused.clean_token_logps) == (reason, [])
    assert kept.reason is None
    (alone,) = given_rejected(tiny_policy, rows[1:], ["a blue bird"])
    assert kept.clean_token_logps == pytest.approx(alone.clean_token_logps, abs=1e-5)


def test_repetition_is_no_reason_in_a_text_that_somebody_chose(tiny_policy):
    (found,) = given_rejected(
        tiny_policy, rows_of(tiny_policy, 1), ["no no no no no no no no no no"]
    )
    assert found.reason is None


def test_every_row_needs_a_text(tiny_policy):
    with pytest.raises(ValueError, match="zip"):
        given_rejected(tiny_policy, rows_of(tiny_policy, 2), ["one"])
