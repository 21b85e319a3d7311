"""Losses, gradients and advantages against the trainers of TRL, on equal tensors.

TRL's own `_compute_loss` runs on the same weights, with its own forward pass over left-padded
prompts and whole pixels: nothing of ours but the tokens and the pixels goes in. Every setting that
its losses know is named here, so that a change of its defaults cannot pass unnoticed.
"""

import copy
import math

import pytest
import torch
from datasets import Dataset

from mbpo_core.models.loading import load_policy, save_policy
from mbpo_core.models.preprocessing import ImageConfig, patchify, to_units
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO, group_advantages
from mbpo_core.objectives.preference import PreferenceLosses
from mbpo_core.objectives.protocol import Counts, ScoredGroup
from mbpo_core.objectives.sft import SFT
from tests.mbpo_core.exact.conftest import EMBEDDED
from tests.mbpo_core.tiny_models import build_model, build_rows, random_image

trl = pytest.importorskip("trl", reason="trl is a test dependency: pip install -e '.[test]'")
# TRL and peft ask transformers by a name that is deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

BETA, CLIP, ROLLOUTS = 0.3, 0.2, 3
REWARDS = ((1.0, 0.0, 0.0), (1.0, 0.0, 1.0))
TEXTS = ("a red bird", "no", "the tree on the left", "three", "there are four of them", "a")
COMMON = {
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
    "report_to": [],
    "disable_tqdm": True,
    "disable_dropout": True,
}


@pytest.fixture(params=["qwen2_vl", "qwen2_5_vl", "embedded"])
def policies(request, tiny_tokenizer, tmp_path):
    """The reference (its weights are in a folder too) and a policy that has moved away from it."""
    if request.param == "embedded":
        reference = load_policy(str(EMBEDDED))
    else:
        model = build_model(request.param, tiny_tokenizer)
        reference = QwenVL(model, tiny_tokenizer, ImageConfig())
    save_policy(reference, tmp_path)
    policy = load_policy(str(tmp_path))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.1 * parameter.std().nan_to_num() * torch.randn_like(parameter)
    return policy, reference


def grpo_trainer(policy, folder, rewards=(), loss_type="grpo"):
    """A genuine GRPOTrainer whose reward function hands out the given rewards in turn."""
    settings = trl.GRPOConfig(
        output_dir=str(folder),
        loss_type=loss_type,
        scale_rewards="group",
        beta=BETA,
        epsilon=CLIP,
        epsilon_high=CLIP,
        delta=None,
        num_iterations=1,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        multi_objective_aggregation="sum_then_normalize",
        mask_truncated_completions=False,
        use_bias_correction_kl=False,
        num_generations=ROLLOUTS,
        per_device_train_batch_size=2 * ROLLOUTS,
        generation_batch_size=2 * ROLLOUTS,
        max_completion_length=2,
        temperature=1.0,
        use_vllm=False,
        **COMMON,
    )
    return trl.GRPOTrainer(
        model=policy.model,
        reward_funcs=lambda completions, **_: list(rewards),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": ["Is it a bird?", "How many?"]}),
        processing_class=policy.tokenizer,
    )


def advantages_of_trl(policy, folder, groups):
    """What TRL makes of these rewards: its own rollouts of text prompts, rewarded as given."""
    flat = [value for group in groups for value in group]
    trainer = grpo_trainer(policy, folder, flat)
    trainer.model.train()
    prompts = [{"prompt": f"prompt {index}"} for index in range(len(groups)) for _ in groups[index]]
    found = trainer._generate_and_score_completions(prompts)["advantages"]
    trainer.model.eval()
    return found


def rows_of(policy, texts, per_prompt):
    """Rows in groups that share prompt and image; the groups differ in size of image and prompt."""
    prompts = build_rows(policy, sizes=((56, 84), (84, 56)))
    images = [random_image(i, *prompt.image.shape[1:]) for i, prompt in enumerate(prompts)]
    order = [index // per_prompt for index in range(len(texts))]
    return (
        [prompts[i].prompt for i in order],
        [policy.response_ids(text) for text in texts],
        to_units([images[i] for i in order]),
    )


def padded(policy, rows, width, left):
    ids = torch.full((len(rows), width), policy.pad_id)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        where = slice(width - len(row), None) if left else slice(len(row))
        ids[index, where] = torch.tensor(row)
        mask[index, where] = 1
    return ids, mask


def vision_inputs(policy, ids, images):
    return {
        "pixel_values": torch.cat([patchify(image, policy.image_config) for image in images]),
        "image_grid_thw": torch.tensor([policy.grid(*image.shape[1:]) for image in images]),
        "mm_token_type_ids": (ids == policy.image_token_id).int(),
    }


def inputs_of_grpo(policy, prompts, responses, images):
    """A batch as TRL's collator would give it: prompts padded left, completions right."""
    prompt_ids, prompt_mask = padded(policy, prompts, max(map(len, prompts)), left=True)
    ids, mask = padded(policy, responses, max(map(len, responses)), left=False)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": ids,
        "completion_mask": mask,
        "num_images": [1] * len(prompts),
        **vision_inputs(policy, torch.cat([prompt_ids, ids], dim=1), images),
    }


def logps_of_trl(trainer, model, inputs):
    """TRL's own forward pass over a batch for `_compute_loss`."""
    vision = ("pixel_values", "image_grid_thw", "mm_token_type_ids", "num_images")
    return trainer._get_per_token_logps_and_entropies(
        model,
        torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
        torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
        inputs["completion_ids"].shape[1],
        **{name: inputs[name] for name in vision},
    )[0]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same_gradient(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert any(".visual." in name for name in ours)
    assert any(".language_model." in name for name in ours)
    scale = max(float(value.abs().max()) for value in theirs.values())
    assert scale > 1e-3
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=1e-5 * scale)


def test_the_log_probabilities_of_trl_are_ours(policies, tmp_path):
    policy, reference = policies
    trainer = grpo_trainer(policy, tmp_path)
    rows = rows_of(policy, TEXTS, ROLLOUTS)
    inputs = inputs_of_grpo(policy, *rows)
    for ours, theirs in ((policy, trainer.model), (reference, trainer.ref_model)):
        found = logps_of_trl(trainer, theirs, inputs)
        for row, expected in zip(ours.token_logps(*rows), found, strict=True):
            torch.testing.assert_close(row, expected[: len(row)], rtol=0, atol=1e-5)
    moved, before = policy.token_logps(*rows), reference.token_logps(*rows)
    assert min((a - b).abs().max() for a, b in zip(moved, before, strict=True)) > 0.05


@pytest.mark.parametrize("policies", ["qwen2_vl"], indirect=True)
@pytest.mark.parametrize(
    "groups",
    [
        REWARDS,
        ((0.0, 0.0, 1.0), (1.0, 1.0, 1.0)),
        ((2.0, 0.0, 0.5), (-1.0, 3.0, 0.25)),
        ((0.001, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ],
)
def test_advantages_are_those_of_trl(policies, tmp_path, groups):
    found = advantages_of_trl(policies[0], tmp_path, groups)
    ours = torch.cat([group_advantages(torch.tensor(group)) for group in groups])
    torch.testing.assert_close(ours, found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("aggregate", "loss_type"), [("sample", "grpo"), ("sequence", "grpo"), ("token", "bnpo")]
)
@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
def test_hybrid_loss_of_online_groups_is_grpo(policies, tmp_path, aggregate, loss_type, reused):
    """Loss and gradient; with old log-probabilities the clip acts on both sides."""
    policy, reference = policies
    trainer = grpo_trainer(policy, tmp_path, loss_type=loss_type)
    rows = rows_of(policy, TEXTS, ROLLOUTS)
    inputs = inputs_of_grpo(policy, *rows)
    inputs["advantages"] = advantages_of_trl(policy, tmp_path, REWARDS)
    inputs["ref_per_token_logps"] = logps_of_trl(trainer, trainer.ref_model, inputs).detach()
    old = None
    if reused:
        now = logps_of_trl(trainer, trainer.model, inputs).detach()
        shift = 0.3 * torch.randn(now.shape, generator=torch.Generator().manual_seed(0))
        inputs["old_per_token_logps"] = now + shift
        old = [(now + shift)[i, : len(ids)] for i, ids in enumerate(rows[1])]
    theirs = trainer._compute_loss(trainer.model, inputs)
    their_gradient = gradients(trainer.model, theirs)

    groups = [ScoredGroup(f"{i}", "online", ("rollout",) * 3, r) for i, r in enumerate(REWARDS)]
    counts = Counts(2, 6, sum(map(len, rows[1])))
    with torch.no_grad():
        before = reference.token_logps(*rows)
    objective = HybridGRPO(beta=BETA, clip=CLIP, aggregate=aggregate)
    output = objective(policy.token_logps(*rows), before, groups, counts, old)
    torch.testing.assert_close(output.loss, theirs.detach(), rtol=1e-5, atol=1e-6)
    assert output.offline.item() == 0
    assert (output.metrics.values()["clip_share_online"] > 0) == reused
    assert_same_gradient(gradients(policy.model, output.online), their_gradient)


def dpo_trainer(policy, reference, folder, loss_type="sigmoid", beta=0.1, weight=1.0):
    settings = trl.DPOConfig(
        output_dir=str(folder),
        loss_type=[loss_type],
        loss_weights=[weight],
        beta=beta,
        f_divergence_type="reverse_kl",
        ld_alpha=None,
        label_smoothing=0.0,
        use_weighting=False,
        precompute_ref_log_probs=False,
        max_length=None,
        **COMMON,
    )
    pair = {"prompt": ["Is it?"], "chosen": [" yes"], "rejected": [" no"]}
    return trl.DPOTrainer(
        model=policy.model,
        ref_model=copy.deepcopy(reference.model),
        args=settings,
        train_dataset=Dataset.from_dict(pair),
        processing_class=policy.tokenizer,
    )


def loss_of_dpo(trainer, policy, rows):
    """What TRL makes of rows in pairs; it wants all chosen rows before all rejected ones."""
    order = [*range(0, len(rows[0]), 2), *range(1, len(rows[0]), 2)]
    prompts, responses, images = ([column[i] for i in order] for column in rows)
    whole = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    ids, mask = padded(policy, whole, max(map(len, whole)), left=False)
    completion = mask.clone()
    for row, prompt in enumerate(prompts):
        completion[row, : len(prompt)] = 0
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "completion_mask": completion,
        **vision_inputs(policy, ids, images),
    }
    return trainer._compute_loss(trainer.model, inputs, False)


def our_loss(objective, policies, rows):
    policy, reference = policies
    with torch.no_grad():
        before = reference.token_logps(*rows)
    logps = policy.token_logps(*rows)
    size = len(objective.roles)
    groups = [ScoredGroup(f"{i}", "offline", objective.roles) for i in range(len(logps) // size)]
    counts = Counts(len(groups), len(logps), sum(map(len, logps)))
    return objective(logps, before, groups, counts).loss


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_dpo_is_the_sigmoid_loss_of_trl(policies, tmp_path, beta):
    """Loss and gradient of two pairs."""
    policy, reference = policies
    rows = rows_of(policy, TEXTS[:4], 2)
    theirs = loss_of_dpo(dpo_trainer(policy, reference, tmp_path, beta=beta), policy, rows)
    their_gradient = gradients(policy.model, theirs)
    ours = our_loss(PreferenceLosses(beta), policies, rows)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)
    assert abs(ours.item() - math.log(2)) > 1e-3
    assert_same_gradient(gradients(policy.model, ours), their_gradient)


def picked(rows, order):
    return tuple([column[i] for i in order] for column in rows)


@pytest.mark.parametrize("policies", ["qwen2_vl", "embedded"], indirect=True)
def test_text_and_image_preference_are_two_sigmoid_losses_of_trl(policies, tmp_path):
    """The image loss is TRL's of a pair with one response and two images; weights add up."""
    policy, reference = policies
    prompts, responses, images = rows_of(policy, TEXTS, 3)
    for group in (0, 3):  # rows: chosen, rejected, the chosen response under another image
        responses[group + 2] = responses[group]
        images[group + 2] = to_units([random_image(9 + group, *images[group].shape[1:])])[0]
    rows = (prompts, responses, images)
    theirs, their_gradients = [], []
    for weight, order in ((1.0, (0, 1, 3, 4)), (0.5, (0, 2, 3, 5))):
        trainer = dpo_trainer(policy, reference, tmp_path, weight=weight)
        loss = loss_of_dpo(trainer, policy, picked(rows, order))
        their_gradients.append(gradients(policy.model, loss))
        theirs.append(loss.detach())
    text, image = their_gradients
    expected = {name: text[name] + image[name] for name in text}
    ours = our_loss(PreferenceLosses(text=1.0, image=0.5), policies, rows)
    torch.testing.assert_close(ours, sum(theirs), rtol=1e-5, atol=1e-6)
    assert abs(theirs[1].item() - 0.5 * math.log(2)) > 1e-4
    assert_same_gradient(gradients(policy.model, ours), expected)


@pytest.mark.parametrize("policies", ["qwen2_5_vl", "embedded"], indirect=True)
def test_sft_is_the_sft_loss_of_trl(policies, tmp_path):
    """The likelihood of the chosen rows of its pairs."""
    policy, reference = policies
    rows = rows_of(policy, TEXTS[:4], 2)
    theirs = loss_of_dpo(dpo_trainer(policy, reference, tmp_path, "sft"), policy, rows)
    their_gradient = gradients(policy.model, theirs)
    ours = our_loss(SFT(), policies, picked(rows, (0, 2)))
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-6)
    assert_same_gradient(gradients(policy.model, ours), their_gradient)
