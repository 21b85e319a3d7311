"""Any objective under the one trainer: its roles, its reference, its curriculum, its figures."""

from dataclasses import replace

import pytest
import torch

from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.objectives.plackett_luce import PlackettLuce
from mbpo_core.objectives.preference import PreferenceLosses
from mbpo_core.objectives.sft import SFT
from mbpo_core.training import adaptation, levels_of_groups, planned_steps, train
from mbpo_core.training.plan import readable
from tests.mbpo_core.training.conftest import (
    close,
    equal_weights,
    offline_group,
    online_group,
    ranked_group,
    same_figure,
    weights,
)

DPO, MFPO, ADAVIP = PreferenceLosses(), PreferenceLosses(image=1, margin=1), PlackettLuce()
RANKED = [ranked_group(i, chosen="a red bird" * (i % 3 + 1)) for i in range(6)]
ids = ["dpo", "mfpo", "adavip", "sft"]


@pytest.fixture
def run(new_policy, images, reward, tmp_path):
    def start(config, objective, groups=RANKED, folder="out", **more):
        policy = new_policy()
        more = {"resume": False, **more}
        result = train(
            policy, groups, images, config, tmp_path / folder, reward, objective=objective, **more
        )
        return policy, result

    return start


@pytest.mark.parametrize("objective", [DPO, MFPO, ADAVIP, SFT()], ids=ids)
def test_one_micro_batch_is_six_of_one_group(gradients_of, small, objective):
    config = {"groups_per_step": 6, "max_steps": 1}
    at_once, row = gradients_of(small(micro_batch_groups=6, **config), RANKED, objective)
    by_one, same = gradients_of(small(micro_batch_groups=1, **config), RANKED, objective)
    close(at_once, by_one)
    assert row["sequences"] == 6 * len(objective.roles)
    assert row.keys() == same.keys()
    for name in row:  # all rewards are 0 here but for rounding, so which is above is chance
        assert "accuracy" in name or same_figure(row[name], same[name]), name


@pytest.mark.parametrize("objective", [DPO, MFPO, ADAVIP], ids=ids[:3])
def test_at_the_start_all_rewards_are_zero_and_training_raises_the_chosen_one(
    run, small, objective
):
    """The first loss is that of equal rewards, by closed form: the reference is the policy."""
    config = small(groups_per_step=6, micro_batch_groups=6, offline_epochs=6, online_epochs=0)
    first, *_, last = run(config, objective)[1].tables["steps"]
    terms = {DPO: 1, MFPO: 3}
    start = terms[objective] * torch.log(torch.tensor(2.0)) if objective in terms else None
    expected = torch.log(torch.tensor(3.0)) if start is None else start
    assert first["loss"] == pytest.approx(expected.item(), abs=1e-5)
    assert first["reward_chosen"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < first["loss"]
    assert last["reward_chosen"] > last["reward_rejected"]
    assert last["accuracy_text"] == 1
    assert (first["loss_online"], first["groups_online"]) == (0, 0)
    if objective is ADAVIP:
        assert first["weight_text"] == pytest.approx(0.5, abs=1e-5)
    if objective is not DPO:
        assert last["reward_chosen"] > last["reward_rejected_image"]


def test_a_likelihood_is_trained_without_a_reference(run, small, monkeypatch):
    """Neither a copy of the model is made nor a row scored twice."""
    monkeypatch.setattr(adaptation.Reference, "__init__", pytest.fail)
    scored, original = [], QwenVL.token_logps

    def token_logps(self, prompts, *arguments, **settings):
        scored.append(len(prompts))
        return original(self, prompts, *arguments, **settings)

    monkeypatch.setattr(QwenVL, "token_logps", token_logps)
    config = small(groups_per_step=6, micro_batch_groups=6, offline_epochs=4)
    steps = run(config, SFT())[1].tables["steps"]
    assert scored == [6] * 4
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert steps[-1]["logp_chosen_mean"] > steps[0]["logp_chosen_mean"]


def test_candidates_that_an_objective_does_not_read_change_nothing(run, small):
    config = small(max_steps=2, probe_every=1, probe_groups=2, stream_norm_every=1)
    whole, result = run(config, DPO, folder="whole")
    pairs = [replace(group, candidates=group.candidates[1:3]) for group in RANKED]
    cut, same = run(config, DPO, pairs, folder="cut")
    assert result.tables == same.tables
    assert equal_weights(weights(whole), weights(cut))
    assert {row["role"] for row in result.tables["probes"]} == {"chosen", "rejected"}
    assert all(row["grad_norm_online"] == 0 for row in result.tables["steps"])


def test_a_rejected_image_is_the_image_that_is_scored(run, small, images):
    """The same response under another image: other pixels there change its reward alone."""
    config = small(groups_per_step=6, micro_batch_groups=6, max_steps=1)
    image = PreferenceLosses(text=0, image=1)
    first = run(config, image, folder="one")[1].tables["steps"][0]
    assert first["length_chosen"] == first["length_rejected_image"]
    assert first["logp_chosen_sum"] != first["logp_rejected_image_sum"]
    images |= {name: 255 - pixels for name, pixels in images.items() if "other" in name}
    second = run(config, image, folder="two")[1].tables["steps"][0]
    assert second["logp_chosen_sum"] == pytest.approx(first["logp_chosen_sum"], rel=1e-5)
    assert second["logp_rejected_image_sum"] != first["logp_rejected_image_sum"]


def test_groups_that_an_objective_cannot_read_are_refused_before_training(run, small):
    with pytest.raises(ValueError, match="group pair-0 has no rejected_image candidate; the obj"):
        run(small(), ADAVIP, [RANKED[0], offline_group(0)])
    with pytest.raises(ValueError, match="prompt-7 is online, and PlackettLuce has no loss"):
        run(small(), ADAVIP, [*RANKED, online_group(7)])
    unused = readable([*RANKED, online_group(7)], ADAVIP, small(online_epochs=0))
    assert [len(group.candidates) for group in unused] == [3] * 6 + [0]
    assert all(g.candidates[0].role == "chosen" for g in unused[:6])
    assert len(readable([online_group(7)], HybridGRPO(), small())) == 1


def test_easy_groups_come_first_and_the_level_of_each_is_told(run, small):
    """Difficulty runs against the ids, so that the order cannot be theirs."""
    groups = [replace(group, difficulty=-float(i)) for i, group in enumerate(RANKED)]
    config = small(curriculum="easy_to_hard", groups_per_step=2, offline_epochs=2, max_steps=3)
    expected = [{"ranked-5", "ranked-4"}, {"ranked-3", "ranked-2"}, {"ranked-1", "ranked-0"}]
    assert [set(step) for step in planned_steps(groups, config)] == expected
    assert levels_of_groups(groups, config) == {f"ranked-{i}": (5 - i) // 2 for i in range(6)}
    assert levels_of_groups(groups, small()) == {}
    _, result = run(config, DPO, groups)
    assert result.steps == 3
    with pytest.raises(ValueError, match="group ranked-5 has no difficulty"):
        planned_steps([*groups[:5], RANKED[5]], config)
    with pytest.raises(ValueError, match="easy_to_hard orders offline groups, and group prompt-7"):
        planned_steps([*groups, online_group(7)], config)
    used = planned_steps([*groups, online_group(7)], replace(config, online_epochs=0))
    assert used == planned_steps(groups, config)


def test_an_interrupted_curriculum_goes_on_where_it_stood(run, small):
    groups = [replace(group, difficulty=float(i % 3)) for i, group in enumerate(RANKED)]
    config = small(curriculum="easy_to_hard", groups_per_step=1, save_every=2, max_steps=6)
    whole, expected = run(config, MFPO, groups, "whole")

    def stop(row):
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, MFPO, groups, "cut", on_step=stop)
    resumed, result = run(config, MFPO, groups, "cut", resume=True)
    assert result.tables == expected.tables
    assert equal_weights(weights(resumed), weights(whole))
    with pytest.raises(ValueError, match="other settings or groups"):
        run(config, replace(MFPO, eta=0.2), groups, "cut", resume=True)
