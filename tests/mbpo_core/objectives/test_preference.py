"""The pairwise losses by closed form: which candidate each term reads, and at what weight."""

import math

import pytest
import torch

from mbpo_core.objectives.preference import PreferenceLosses
from mbpo_core.objectives.protocol import Counts, ScoredGroup

BETA, ETA = 0.3, 0.2
LENGTHS = {"chosen": 4, "rejected": 2, "rejected_image": 4}
MOVED = {"chosen": (0.5, -0.1), "rejected": (-0.3, 0.7), "rejected_image": (0.2, 0.1)}
"""By how much lp - lp_ref of every token differs from 0, for two groups."""


def scored(roles, groups=2):
    """Rows whose log-ratio is the same at every token, so that D = beta x length x MOVED."""
    logps, reference = [], []
    for index in range(groups):
        for role in roles:
            row = torch.full((LENGTHS[role],), -1.5 - 0.1 * index)
            reference.append(row)
            logps.append((row + MOVED[role][index]).requires_grad_())
    return logps, reference, [ScoredGroup(f"g{i}", "offline", roles) for i in range(groups)]


def reward(role, index):
    return BETA * LENGTHS[role] * MOVED[role][index]


def softplus(value):
    return math.log1p(math.exp(value))


def of(objective, roles=None):
    logps, reference, groups = scored(roles or objective.roles)
    counts = Counts(len(groups), len(logps), sum(map(len, logps)))
    return logps, objective(logps, reference, groups, counts)


TERMS = {
    "text": lambda i: softplus(reward("rejected", i) - reward("chosen", i)),
    "image": lambda i: softplus(reward("rejected_image", i) - reward("chosen", i)),
    "margin": lambda i: softplus(ETA - reward("chosen", i)),
}


@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 2, 0), (0, 0, 0.5), (1, 1, 0), (3, 0.5, 2)])
def test_the_loss_is_the_weighted_sum_of_its_terms_by_closed_form(weights):
    objective = PreferenceLosses(BETA, *weights, eta=ETA)
    _, output = of(objective)
    figures = output.metrics.values()
    expected = 0.0
    for (name, term), weight in zip(TERMS.items(), weights, strict=True):
        mean = (term(0) + term(1)) / 2
        expected += weight * mean
        if weight:
            assert figures[f"loss_{name}"] == pytest.approx(mean, rel=1e-5)
        else:
            assert f"loss_{name}" not in figures
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 2, 0), (0, 0, 0.5), (3, 0.5, 2)])
def test_each_term_pulls_its_own_candidate_and_all_of_them_the_chosen_one(weights):
    """d -log s(a - b) / da = -s(b - a): through each of T tokens, times beta and the weight."""
    objective = PreferenceLosses(BETA, *weights, eta=ETA)
    logps, output = of(objective)
    output.loss.backward()
    width = len(objective.roles)
    for index in range(2):
        slopes = dict.fromkeys(objective.roles, 0.0)
        rivals = {"text": "rejected", "image": "rejected_image", "margin": None}
        for (name, rival), weight in zip(rivals.items(), weights, strict=True):
            slope = BETA * weight * (1 - math.exp(-TERMS[name](index))) / 2
            slopes["chosen"] -= slope
            if rival in slopes:
                slopes[rival] += slope
        rows = logps[index * width : (index + 1) * width]
        for row, slope in zip(rows, slopes.values(), strict=True):
            torch.testing.assert_close(row.grad, torch.full_like(row, slope))


def test_roles_are_those_that_a_weight_reads():
    assert PreferenceLosses().roles == ("chosen", "rejected")
    assert PreferenceLosses(text=0, image=1).roles == ("chosen", "rejected_image")
    assert PreferenceLosses(text=0, margin=1).roles == ("chosen",)
    assert PreferenceLosses(image=1, margin=1).roles == ("chosen", "rejected", "rejected_image")


def test_rewards_and_accuracies_are_those_of_the_groups():
    _, output = of(PreferenceLosses(BETA, 1, 1))
    figures = output.metrics.values()
    for role in LENGTHS:
        mean = (reward(role, 0) + reward(role, 1)) / 2
        assert figures[f"reward_{role}"] == pytest.approx(mean, abs=1e-6)
    # D of the chosen one is 0.6 and -0.12, of the rejected -0.18 and 0.42, of the image 0.24, 0.12.
    assert (figures["accuracy_text"], figures["accuracy_image"]) == (0.5, 0.5)
    assert figures["logp_rejected_image_sum"] == pytest.approx(4 * (-1.55 + 0.15), rel=1e-5)


def test_an_equal_reward_is_not_won():
    logps = [torch.tensor([-1.0])] * 2
    group = ScoredGroup("g", "offline", ("chosen", "rejected"))
    output = PreferenceLosses()(logps, logps, [group], Counts(1, 2, 2))
    assert output.metrics.values()["accuracy_text"] == 0
    assert output.loss.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": 0}, "beta must be above 0, got 0"),
        ({"beta": math.inf}, "beta must be above 0, got inf"),
        ({"text": 0}, "one of them above, got 0, 0.0, 0.0"),
        ({"image": -1}, "at least 0"),
        ({"margin": math.nan}, "at least 0"),
        ({"eta": math.inf}, "eta must be finite"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PreferenceLosses(**changes)
