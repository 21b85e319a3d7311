"""Rows of a step belong to their group: rollouts, sampled ids, temperature, the reference."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from mbpo_core.models.preprocessing import to_unit
from mbpo_core.training.adaptation import Reference, prepare_policy
from mbpo_core.training.batches import NO_ROWS, Encoder, score
from mbpo_core.training.rollouts import roll_out
from mbpo_core.training.trainer import autocast_for
from tests.mbpo_core.training.conftest import offline_group, online_group

PROMPTS = [online_group(i) for i in range(6, 9)]


@pytest.fixture
def parts(new_policy, images):
    policy = new_policy()
    return policy, Encoder(policy, images)


@pytest.fixture
def ids_of(parts, small, reward):
    """Rollouts as ids, by group."""

    def draw(groups, step=1, **changes):
        found = roll_out(*parts, groups, small(**changes), step, reward)
        assert list(found) == [group.group_id for group in groups]
        return {name: [rollout.ids for rollout in rollouts] for name, rollouts in found.items()}

    return draw


@pytest.mark.parametrize("rollout_rows", [4, 64])
def test_rollouts_of_a_prompt_are_its_own_in_any_company(ids_of, rollout_rows):
    together = ids_of(PROMPTS, rollout_rows=rollout_rows)
    assert len({str(rollouts) for rollouts in together.values()}) == len(PROMPTS)
    assert ids_of(PROMPTS[::-1], rollout_rows=rollout_rows) == together
    for group in PROMPTS:
        assert ids_of([group])[group.group_id] == together[group.group_id]


def test_every_rollout_and_every_step_draws_anew(ids_of):
    first, second = ids_of(PROMPTS, step=1), ids_of(PROMPTS, step=2)
    for name, rollouts in first.items():
        assert len({str(ids) for ids in rollouts}) == len(rollouts)
        assert rollouts != second[name]


def test_sampled_ids_are_trained_on_and_not_their_text_again(parts):
    policy, encoder = parts
    group = offline_group(0)
    chosen, rejected = group.candidates
    # Letter by letter: the tokenizer would merge "th" and "re", and close the turn.
    letters = [policy.response_ids(letter)[0] for letter in "there"]
    assert policy.decode(letters) == "there"
    sampled = replace(rejected, text="there", token_ids=tuple(letters))
    rows = encoder.offline(replace(group, candidates=(chosen, sampled)))
    assert rows.responses == [policy.response_ids(chosen.text), letters]
    assert policy.response_ids("there") != letters


def test_rollouts_are_scored_at_their_temperature_and_pairs_at_one(parts):
    policy, encoder = parts
    offline = encoder.offline(offline_group(0))
    online = encoder.online(PROMPTS[0], [policy.response_ids(text) for text in ("red", "no")])
    found = score(policy, offline, online, 2.0)
    for rows, temperature, logps in ((offline, 1.0, found[:2]), (online, 2.0, found[2:])):
        expected = policy.token_logps(
            rows.prompts, rows.responses, rows.images, temperature=temperature
        )
        for a, b in zip(logps, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_the_reference_of_rollouts_stays_where_training_began(parts, small):
    policy, encoder = parts
    prepare_policy(policy, small())
    cast = partial(autocast_for, torch.device("cpu"), small())
    reference = Reference(policy, encoder, autocast=cast)
    rows = encoder.online(PROMPTS[0], [policy.response_ids(text) for text in ("red", "no")])
    before = reference.online(rows, 1.0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(0.9)
        moved = score(policy, NO_ROWS, rows, 1.0)
    for a, b, c in zip(before, reference.online(rows, 1.0), moved, strict=True):
        assert torch.equal(a, b)
        assert not torch.allclose(a, c, atol=1e-3)


def test_a_rejected_response_is_scored_under_the_clean_image(new_policy, images):
    group = offline_group(0)
    negative = {group.candidates[1].generated_from: 255 - images[group.image_id]}
    rows = Encoder(new_policy(), images | negative).offline(group)
    for image in rows.images:
        assert torch.equal(image, to_unit(images[group.image_id]))
