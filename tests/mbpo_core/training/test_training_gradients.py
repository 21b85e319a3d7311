"""The gradient of an optimiser step: accumulation, streams, parts that are not trained."""

from functools import partial

import pytest
import torch
from peft import PeftModel

from mbpo_core.models.loading import load_policy
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.training import LoraSettings, train
from mbpo_core.training.adaptation import Reference, prepare_policy
from mbpo_core.training.batches import Encoder, plan_slots
from mbpo_core.training.trainer import autocast_for
from tests.mbpo_core.training.conftest import (
    HYBRID,
    close,
    equal_weights,
    offline_group,
    online_group,
    same_figure,
    weights,
)

# peft asks transformers by a name that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


MIXED = [offline_group(i, chosen="a red bird" * (i + 1)) for i in range(4)]
MIXED += [online_group(i) for i in range(4, 8)]


@pytest.mark.parametrize(
    ("groups", "aggregate"),
    [
        (MIXED, "sample"),
        (MIXED, "sequence"),
        (MIXED, "token"),
        (MIXED[:4], "sample"),
        (MIXED[4:], "sample"),
    ],
    ids=["sample", "sequence", "token", "offline", "online"],
)
def test_one_micro_batch_of_eight_is_eight_of_one(gradients_of, small, groups, aggregate):
    config = {"groups_per_step": 8, "max_steps": 1}
    objective = HybridGRPO(aggregate=aggregate, beta=0.5)
    at_once, row = gradients_of(small(micro_batch_groups=8, **config), groups, objective)
    by_one, same = gradients_of(small(micro_batch_groups=1, **config), groups, objective)
    close(at_once, by_one)
    for name in ("loss_offline", "loss_online", "grad_norm", "tokens", "reward", "margin_sum"):
        assert same_figure(row[name], same[name]), name


@pytest.mark.parametrize("micro", [3, 8])
def test_stream_norms_are_those_of_the_parts_of_the_gradient(gradients_of, small, micro):
    """Measuring changes nothing: g_off + g_on is the gradient of a step that is not measured."""
    config = {"groups_per_step": 8, "max_steps": 1, "micro_batch_groups": micro}
    plain, unmeasured = gradients_of(small(**config), MIXED)
    measured, row = gradients_of(small(stream_norm_every=1, **config), MIXED)
    close(plain, measured)
    assert unmeasured["grad_norm_offline"] is None

    offline, online = row["grad_norm_offline"], row["grad_norm_online"]
    total = torch.cat([value.flatten() for value in measured.values()]).norm().item()
    assert min(offline, online) > 0
    assert abs(offline - online) <= total * (1 + 1e-5)
    assert total <= (offline + online) * (1 + 1e-5)
    # Alone, each stream has the same norm: with the mean over samples, half of its own step's.
    for stream, groups in (("offline", MIXED[:4]), ("online", MIXED[4:])):
        _, alone = gradients_of(small(stream_norm_every=1, **config), groups)
        assert row[f"grad_norm_{stream}"] == pytest.approx(
            alone[f"grad_norm_{stream}"] / 2, rel=1e-3
        )


def test_slots_are_even_and_short_steps_are_filled_with_dummies():
    index = {group.group_id: group for group in MIXED}
    slots = plan_slots([list(index)[:5], list(index)[5:7]], index, 4)
    assert [len(slot.groups) for slot in slots] == [2, 1, 1, 1, 1, 1, 1, 1]
    assert [slot.dummy for slot in slots] == [False] * 6 + [True] * 2
    assert [slot.step for slot in slots] == [0] * 4 + [1] * 4


@pytest.mark.parametrize("groups", [MIXED[:2], MIXED[4:6]], ids=["offline", "online"])
def test_a_dummy_slot_changes_nothing(gradients_of, small, groups):
    pull = HybridGRPO(beta=0.5)
    full, _ = gradients_of(
        small(max_steps=1, groups_per_step=2, micro_batch_groups=2), groups, pull
    )
    thin, _ = gradients_of(
        small(max_steps=1, groups_per_step=4, micro_batch_groups=1), groups, pull
    )
    close(full, thin)


def test_reused_rollouts_are_drawn_once_and_scored_against_the_policy_that_drew_them(
    gradients_of, small, new_policy, images, reward, tmp_path
):
    config = small(iterations=2, max_steps=4, groups_per_step=4, learning_rate=0.02)
    result = train(
        new_policy(), MIXED[4:], images, config, tmp_path / "reused", reward,
        objective=HYBRID, resume=False,
    )  # fmt: skip
    assert sorted({row["step"] for row in result.tables["rollouts"]}) == [1, 3]
    steps = result.tables["steps"]
    assert steps[0]["reward"] == steps[1]["reward"]
    assert steps[0]["clip_share_online"] == 0
    assert steps[1]["clip_share_online"] > 0
    once, _ = gradients_of(small(max_steps=1, groups_per_step=4), MIXED[4:])
    twice, _ = gradients_of(small(max_steps=1, groups_per_step=4, iterations=2), MIXED[4:])
    close(once, twice)


def test_temperature_divides_the_logits_of_rollouts_only(gradients_of, small):
    config = {"groups_per_step": 8, "max_steps": 1, "micro_batch_groups": 8}
    _, warm = gradients_of(small(temperature=2.0, **config), MIXED)
    _, plain = gradients_of(small(**config), MIXED)
    assert warm["logp_chosen_sum"] == pytest.approx(plain["logp_chosen_sum"], rel=1e-5)
    assert warm["kl_online"] == pytest.approx(0, abs=1e-9)
    assert warm["logp_rollout_mean"] != pytest.approx(plain["logp_rollout_mean"], rel=1e-3)


def test_the_vision_tower_can_be_frozen_and_is_trained_otherwise(gradients_of, small):
    config = {"groups_per_step": 4, "max_steps": 1}
    full, _ = gradients_of(small(**config), MIXED[:4])
    frozen, _ = gradients_of(small(freeze_vision=True, **config), MIXED[:4])
    vision = {name for name in full if ".visual." in name}
    assert vision
    close({name: full[name] for name in full.keys() - vision}, frozen)


def test_checkpointing_gives_the_same_gradient(gradients_of, small):
    config = {"groups_per_step": 4, "max_steps": 1, "stream_norm_every": 1}
    plain, _ = gradients_of(small(**config), MIXED[2:6])
    again, _ = gradients_of(small(gradient_checkpointing=True, **config), MIXED[2:6])
    close(plain, again)


def test_autocast_runs_and_stays_near_float32(gradients_of, small):
    config = {"groups_per_step": 4, "max_steps": 1}
    _, plain = gradients_of(small(**config), MIXED[:4])
    _, half = gradients_of(small(bf16=True, **config), MIXED[:4])
    assert half["logp_chosen_mean"] != plain["logp_chosen_mean"]
    assert half["logp_chosen_mean"] == pytest.approx(plain["logp_chosen_mean"], abs=0.1)
    assert half["kl_offline"] == pytest.approx(0, abs=1e-3)


LORA = LoraSettings(rank=4, alpha=8)


def test_adapters_train_the_language_model_only(gradients_of, small):
    found, row = gradients_of(small(lora=LORA, groups_per_step=8, max_steps=1), MIXED)
    assert found
    assert all("lora_" in name and ".language_model." in name for name in found)
    assert row["kl_offline"] == pytest.approx(0, abs=1e-9)


def test_the_disabled_adapter_is_the_initial_policy(new_policy, images, small):
    policy, config = new_policy(), small(lora=LORA)
    encoder = Encoder(policy, images)
    group = offline_group(0)
    rows = encoder.offline(group)
    with torch.no_grad():
        expected = policy.token_logps(rows.prompts, rows.responses, rows.images)
    prepare_policy(policy, config)
    reference = Reference(
        policy, encoder, autocast=partial(autocast_for, torch.device("cpu"), config)
    )
    torch.manual_seed(0)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    with torch.no_grad():
        moved = policy.token_logps(rows.prompts, rows.responses, rows.images)
    found = reference.offline(group)
    assert not torch.allclose(moved[0], expected[0], atol=1e-2)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    trained = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


@pytest.mark.parametrize("merge", [True, False])
def test_adapters_are_saved_resumed_and_merged(new_policy, images, reward, small, tmp_path, merge):
    groups, lora = MIXED[2:6], LoraSettings(4, 8, merge=merge)
    config = small(groups_per_step=2, lora=lora, max_steps=4, save_every=2)
    policy = new_policy()
    result = train(
        policy, groups, images, config, tmp_path / "whole", reward, objective=HYBRID, resume=False
    )

    def stop(row):
        if row["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            new_policy(),
            groups,
            images,
            config,
            tmp_path / "cut",
            reward,
            objective=HYBRID,
            resume=False,
            on_step=stop,
        )
    resumed = new_policy()
    again = train(
        resumed, groups, images, config, tmp_path / "cut", reward, objective=HYBRID, resume=True
    )
    assert again.tables == result.tables
    assert equal_weights(weights(policy), weights(resumed))

    adapted = PeftModel.from_pretrained(new_policy().model, result.adapter_path)
    encoder = Encoder(policy, images)
    rows = encoder.offline(groups[0])
    trained = load_policy(str(result.model_path)) if merge else policy
    assert (result.model_path == result.adapter_path) is not merge
    loaded = new_policy()
    loaded.model = adapted
    with torch.no_grad():
        for a, b in zip(
            trained.token_logps(rows.prompts, rows.responses, rows.images),
            loaded.token_logps(rows.prompts, rows.responses, rows.images),
            strict=True,
        ):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_dropout_and_adapters_that_are_there_already_are_refused(new_policy, small):
    policy = new_policy()
    policy.model.model.language_model.layers[0].self_attn.attention_dropout = 0.1
    with pytest.raises(ValueError, match=r"dropout must be 0 .*self_attn has 0.1"):
        prepare_policy(policy, small())
    adapted = new_policy()
    prepare_policy(adapted, small(lora=LORA))
    with pytest.raises(ValueError, match="expected a bare model"):
        prepare_policy(adapted, small(lora=LORA))
