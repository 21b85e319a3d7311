"""Whole runs on a tiny Qwen2-VL: what is logged, saved, resumed and reproduced."""

import json
import logging

import pytest
import torch

from mbpo_core.grouping import Group
from mbpo_core.models.loading import load_policy
from mbpo_core.models.preprocessing import to_unit
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.training import LoraSettings, train
from mbpo_core.training.run import RUN_FILE, _claim
from tests.mbpo_core.training.conftest import HYBRID, Verdict, equal_weights, offline_group, weights

# peft asks transformers by a name that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


class Interrupted(Exception):
    pass


@pytest.fixture
def run(new_policy, groups, images, reward, tmp_path):
    def start(config, folder="out", *, objective=HYBRID, resume=False, policy=None, **more):
        policy = policy or new_policy()
        result = train(
            policy, groups, images, config, tmp_path / folder, reward,
            objective=objective, resume=resume, **more,
        )  # fmt: skip
        return policy, result

    return start


def test_a_run_logs_steps_rollouts_and_probes_and_its_model_loads(run, small, groups, tmp_path):
    seen = []
    config = small(probe_every=4, probe_groups=4, stream_norm_every=2)
    policy, result = run(config, on_step=seen.append)
    steps, rollouts, probes = (result.tables[name] for name in ("steps", "rollouts", "probes"))

    # 9 groups twice, 3 a step.
    assert result.steps == 6
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert seen == steps
    assert sum(row["groups_offline"] for row in steps) == 12
    assert sum(row["groups_online"] for row in steps) == 6
    for row in steps:
        assert row["loss"] == row["loss_offline"] + row["loss_online"]
        assert row["sequences"] == 2 * row["groups_offline"] + 3 * row["groups_online"]
        assert (row["reward"] is None) == (row["groups_online"] == 0)

    assert len(rollouts) == 6 * 3
    by_step = [r["reward"] for r in rollouts if r["step"] == rollouts[0]["step"]]
    logged = next(row for row in steps if row["step"] == rollouts[0]["step"])
    assert logged["reward"] == pytest.approx(sum(by_step) / len(by_step))
    assert {r["rule"] for r in rollouts} <= {"parity", "unparseable"}
    assert all(policy.decode(r["ids"]) == r["text"] for r in rollouts)

    assert sorted({row["step"] for row in probes}) == [0, 4, 6]
    assert len(probes) == 3 * 4 * 2
    for row in probes:
        assert row["iig_sum"] == pytest.approx(row["logp_image"] - row["logp_blank"])
        assert row["iig_mean"] == pytest.approx(row["iig_sum"] / row["tokens"])

    for name, table in result.tables.items():
        lines = (tmp_path / "out" / "log" / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == table

    assert equal_weights(weights(load_policy(str(result.model_path))), weights(policy))


def test_rewards_come_from_the_verifier_and_unread_answers_are_counted_apart(
    new_policy, images, small, tmp_path
):
    calls = []

    def verify(*arguments):
        calls.append(arguments)
        unread = len(calls) % 3 == 0
        return Verdict(float(len(calls) % 2), None if unread else "A", "rule")

    options = (("A", "red"), ("B", "blue"))
    group = Group(
        "g", "online", "s", "image-0", "Which?", kind="multiple_choice", answer="A", options=options
    )
    config = small(online_epochs=1, num_generations=6)
    result = train(
        new_policy(),
        [group],
        images,
        config,
        tmp_path / "out",
        verify,
        objective=HYBRID,
        resume=False,
    )
    assert {arguments[1:] for arguments in calls} == {("multiple_choice", "A", options)}
    (row,) = result.tables["steps"]
    assert (row["reward"], row["unparseable_share"]) == (0.5, pytest.approx(2 / 6))
    scale = 1 / ((6 * 0.25 / 5) ** 0.5 + 1e-4)  # sample deviation of three ones and three zeros
    advantages = [rollout["advantage"] for rollout in result.tables["rollouts"]]
    assert advantages == pytest.approx([0.5 * scale, -0.5 * scale] * 3)


def test_at_the_start_policy_and_reference_agree(run, small):
    for extra in ({}, {"micro_batch_groups": 1}):
        first = run(small(max_steps=1, **extra), f"start-{len(extra)}")[1].tables["steps"][0]
        for stream in ("offline", "online"):
            assert first[f"kl_{stream}"] == pytest.approx(0, abs=1e-9)
            assert first[f"max_reference_ratio_{stream}"] == pytest.approx(1, abs=1e-4)


def test_training_raises_the_margin_of_the_pairs(run, small):
    config = small(online_epochs=0, offline_epochs=6, groups_per_step=6)
    steps = run(config)[1].tables["steps"]
    assert steps[-1]["margin_mean"] > steps[0]["margin_mean"] + 0.5


@pytest.mark.parametrize("lora", [None, LoraSettings(4, 8)], ids=["full", "lora"])
def test_qwen2_5_vl_is_trained_likewise(run, small, new_policy, lora):
    before = weights(new_policy("qwen2_5_vl"))
    policy, result = run(small(max_steps=2, lora=lora), policy=new_policy("qwen2_5_vl"))
    assert result.tables["steps"][0]["kl_offline"] == pytest.approx(0, abs=1e-9)
    after = weights(load_policy(str(result.model_path)))
    assert equal_weights(after, weights(policy))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".language_model." in name for name in moved)
    assert any(".visual." in name for name in moved) == (lora is None)


def test_the_same_run_twice_is_the_same_to_the_last_bit(run, small):
    config = small(max_steps=3)
    (one, first), (two, second) = run(config, "one"), run(config, "two")
    assert first.tables == second.tables
    assert equal_weights(weights(one), weights(two))


@pytest.mark.parametrize("changes", [{}, {"iterations": 2}])
def test_a_resumed_run_gives_the_rows_and_weights_of_an_uninterrupted_one(
    run, small, tmp_path, changes
):
    config = small(save_every=2, probe_every=3, stream_norm_every=2, max_steps=6, **changes)
    whole, expected = run(config, "whole")

    def stop(row):
        if row["step"] == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(config, "cut", on_step=stop)
    log = tmp_path / "cut" / "log" / "rollouts.jsonl"
    log.write_text(log.read_text() + '{"step": 5, "gro')  # cut by a kill
    half = tmp_path / "cut" / "checkpoint-5"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"")
    resumed, result = run(config, "cut", resume=True)

    assert result.steps == expected.steps == 6
    assert result.tables == expected.tables
    assert equal_weights(weights(resumed), weights(whole))
    assert not half.exists()


def test_resume_without_a_checkpoint_starts_and_a_finished_run_is_not_done_again(run, small):
    config = small(max_steps=2, save_every=1, probe_every=5)
    policy, first = run(config, resume=True)
    rows = {name: list(table) for name, table in first.tables.items()}
    again, second = run(config, resume=True, on_step=pytest.fail)
    assert second.tables == rows
    assert equal_weights(weights(policy), weights(again))


def test_a_folder_that_holds_a_run_is_not_overwritten_nor_taken_for_another(run, small):
    run(small(max_steps=1))
    with pytest.raises(FileExistsError, match="holds a run already"):
        run(small(max_steps=1))
    with pytest.raises(ValueError, match="other settings or groups"):
        run(small(max_steps=2), resume=True)
    with pytest.raises(ValueError, match="other settings or groups"):
        run(small(max_steps=1), objective=HybridGRPO(beta=0.1), resume=True)


def test_a_kill_while_the_run_is_claimed_leaves_nothing_that_cannot_be_resumed(
    tmp_path, monkeypatch
):
    """The claim is there in full or not at all, whether the move or the writing was cut."""
    with monkeypatch.context() as patch:
        patch.setattr("mbpo_core.training.run.os.replace", lambda *paths: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _claim(tmp_path, "settings", resume=True)
    assert not (tmp_path / RUN_FILE).exists()
    (tmp_path / RUN_FILE).with_suffix(".partial").write_text("sett")
    _claim(tmp_path, "settings", resume=True)
    assert (tmp_path / RUN_FILE).read_text() == "settings"
    _claim(tmp_path, "settings", resume=True)


def test_what_a_kill_inside_of_the_last_save_left_is_not_part_of_the_model(run, small, tmp_path):
    left = tmp_path / "out" / "model" / ".tmpAbCdEf"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half of the weights")
    _, result = run(small(max_steps=1))
    assert not left.exists() and (result.model_path / "config.json").is_file()


def test_it_is_quiet(run, small, capfd):
    run(small(max_steps=2, save_every=1))
    out, err = capfd.readouterr()
    assert out == ""
    assert "%|" not in err


def test_a_ratio_above_the_threshold_is_warned_of(run, small, caplog):
    with caplog.at_level(logging.WARNING, logger="mbpo_core.training.trainer"):
        run(small(max_steps=3, learning_rate=0.05, online_epochs=0, ratio_warning=2.0))
    assert "probability has fallen far below the reference" in caplog.text


def test_rows_over_the_length_limit_are_refused_before_the_first_step(run, small, new_policy):
    policy = new_policy()
    policy.max_length = 40
    with pytest.raises(ValueError, match=r"group (pair|prompt)-\d: \d+ tokens, the limit is 40"):
        run(small(), policy=policy)


def test_a_text_that_cannot_be_scored_is_refused_with_its_group(
    new_policy, images, small, reward, tmp_path
):
    group = offline_group(0, rejected="a cat<|im_end|>")
    with pytest.raises(ValueError, match=r"group pair-0: .*special token <\|im_end\|>"):
        train(
            new_policy(),
            [group],
            images,
            small(),
            tmp_path / "out",
            reward,
            objective=HYBRID,
            resume=False,
        )


def test_a_missing_image_is_named(new_policy, groups, small, reward, tmp_path):
    with pytest.raises(KeyError, match="was not given"):
        train(
            new_policy(),
            groups,
            {},
            small(),
            tmp_path / "out",
            reward,
            objective=HYBRID,
            resume=False,
        )


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_tower_sees_an_image_once_a_step(
    new_policy, groups, images, small, reward, tmp_path, frozen
):
    """Rollouts, reference and policy share its tokens; a tower that is trained shares none."""
    policy, seen = new_policy(), []
    policy.model.model.visual.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0].shape[0]), with_kwargs=True
    )
    config = small(freeze_vision=frozen, max_steps=2, groups_per_step=9, micro_batch_groups=9)
    train(policy, groups, images, config, tmp_path, reward, objective=HYBRID, resume=False)
    each = 16  # patches of an image of 56 x 56
    # Two steps over 6 pairs and 3 prompts. Trained: a prompt for rollouts, reference and policy, a
    # pair for the policy and, in the first step only, for the reference.
    assert sum(seen) == each * (2 * 9 if frozen else 2 * (3 * 3 + 6) + 6)
    seen.clear()
    image = to_unit(images["image-0"])
    policy.encode_images([image]), policy.encode_images([image])
    assert sum(seen) == 2 * each
