"""The entropy of a policy's own answer against what transformers generates."""

import dataclasses
import statistics

import pytest
import torch
from torch.distributions import Categorical
from transformers import GenerationConfig

from mbpo_core.answer_entropy import answer_entropy
from mbpo_core.evaluation import embedded
from mbpo_core.models.preprocessing import blank_like
from tests.mbpo_core.exact.columns import transformers_inputs
from tests.mbpo_core.exact.conftest import embedded_row

LENGTH = 8


def generated(policy, row):
    """The greedy answer of transformers to one row, and the logits that it was drawn from."""
    inputs = transformers_inputs(policy, [dataclasses.replace(row, response=[])], "left")
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=LENGTH,
        suppress_tokens=policy.suppressed,
        eos_token_id=list(policy.eos_ids),
        pad_token_id=policy.pad_id,
        repetition_penalty=1.0,
        temperature=1.0,
        top_k=50,
        output_logits=True,
        return_dict_in_generate=True,
    )
    found = policy.model.generate(**inputs, generation_config=settings)
    return found.sequences[0, len(row.prompt) :].tolist(), torch.cat(found.logits)


def test_it_is_the_entropy_of_what_transformers_generates(policy, rows, kind):
    found = answer_entropy(policy, rows, max_new_tokens=LENGTH)
    for row, answer in zip(rows, found, strict=True):
        ids, logits = generated(policy, row)
        assert (answer.sample_id, answer.ids) == (row.sample_id, ids)
        assert answer.text == policy.decode(ids)
        assert answer.finished == (ids[-1] in policy.eos_ids)
        expected = Categorical(logits=logits).entropy()
        entropies = torch.tensor(answer.token_entropies)
        torch.testing.assert_close(entropies, expected, rtol=0, atol=1e-4)
        assert answer.entropy_mean == pytest.approx(statistics.fmean(answer.token_entropies))
    if kind == "embedded":
        assert {answer.finished for answer in found} == {True, False}


def test_a_row_alone_gives_the_same_and_its_own_response_does_not_matter(policy, rows):
    together = answer_entropy(policy, rows, max_new_tokens=LENGTH)
    for row, answer in zip(rows, together, strict=True):
        other = dataclasses.replace(row, response=row.response[:1])
        (alone,) = answer_entropy(policy, [other], max_new_tokens=LENGTH)
        assert alone.ids == answer.ids
        assert alone.token_entropies == pytest.approx(answer.token_entropies, abs=1e-5)


def test_another_picture_changes_it_and_no_gradient_is_left(policy, rows):
    row = rows[0]
    (before,) = answer_entropy(policy, [row], max_new_tokens=LENGTH)
    changed = dataclasses.replace(row, image=255 - row.image)
    (after,) = answer_entropy(policy, [changed], max_new_tokens=LENGTH)
    assert before.entropy_mean != after.entropy_mean
    assert all(p.grad is None for p in policy.model.parameters())


@pytest.mark.parametrize("kind", ["embedded"])
def test_scenes_that_break_the_prior_are_harder_and_no_picture_is_hardest(policy):
    def mean(rows):
        return statistics.fmean(
            answer.entropy_mean for answer in answer_entropy(policy, rows, max_new_tokens=48)
        )

    usual, unusual = (
        [embedded_row(policy, item) for item in embedded.load("dev", split, 5).questions]
        for split in ("consistent", "counter")
    )
    dark = [dataclasses.replace(row, image=blank_like(row.image)) for row in unusual]
    assert mean(usual) < 0.7 * mean(unusual)
    assert mean(unusual) < 0.5 * mean(dark)


@pytest.mark.parametrize("kind", ["qwen2_vl"])
@pytest.mark.parametrize(("length", "message"), [(0, "at least 1"), (500, "the limit is 512")])
def test_no_room_for_an_answer_is_refused(policy, rows, length, message):
    with pytest.raises(ValueError, match=message):
        answer_entropy(policy, rows, max_new_tokens=length)
