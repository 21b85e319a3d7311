"""A tiny policy and a few groups of both streams."""

from dataclasses import dataclass, replace

import pytest
import torch
from transformers import TrainerCallback

from mbpo_core.grouping import Candidate, Group
from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.objectives.grpo import HybridGRPO
from mbpo_core.training import TrainingConfig, run, train
from mbpo_core.training.trainer import GroupTrainer
from tests.mbpo_core.tiny_models import build_model, random_image


@dataclass(frozen=True)
class Verdict:
    reward: float
    extracted: str | None
    rule: str


def length_parity(text, kind, answer, options):
    """A verifier that a random model satisfies about half of the time."""
    if not text:
        return Verdict(0.0, None, "unparseable")
    return Verdict(float(len(text) % 2), text[:1], "parity")


def offline_group(i, chosen="a red bird", rejected="two cars"):
    candidates = (
        Candidate("chosen", f"{chosen} {i}", f"image-{i}"),
        Candidate("rejected", f"{rejected} {i}", f"image-{i}", generated_from=f"negative-{i}"),
    )
    return Group(f"pair-{i}", "offline", f"s{i}", f"image-{i}", f"What is it, {i}?", candidates)


def ranked_group(i, chosen="a red bird", **changes):
    """A group with a candidate of every role; what is not asked for must not be read."""
    chosen = f"{chosen} {i}"
    candidates = (
        Candidate("rejected_image", chosen, f"other-{i}"),
        Candidate("chosen", chosen, f"image-{i}"),
        Candidate("rejected", f"two cars {i}", f"image-{i}"),
        Candidate("rejected", f"a tree {i}", f"image-{i}"),
    )
    name = f"ranked-{i}"
    question = f"What is it, {i}?"
    return Group(name, "offline", f"s{i}", f"image-{i}", question, candidates, **changes)


def online_group(i):
    return Group(
        f"prompt-{i}", "online", f"s{i}", f"image-{i}", f"Is it {i}?", kind="yes_no", answer="Yes"
    )


@pytest.fixture
def new_policy(tiny_tokenizer):
    def build(kind="qwen2_vl"):
        return QwenVL(build_model(kind, tiny_tokenizer), tiny_tokenizer, ImageConfig())

    return build


@pytest.fixture
def groups():
    return [offline_group(i) for i in range(6)] + [online_group(i) for i in range(6, 9)]


@pytest.fixture
def images():
    clean = {f"image-{i}": random_image(i, 56, 56) for i in range(9)}
    return clean | {f"other-{i}": random_image(100 + i, 56, 56) for i in range(9)}


@pytest.fixture
def small():
    base = TrainingConfig(
        learning_rate=1e-3,
        num_generations=3,
        max_new_tokens=4,
        groups_per_step=3,
        micro_batch_groups=3,
        offline_epochs=2,
        online_epochs=2,
        save_every=0,
        probe_every=0,
        stream_norm_every=0,
        seed=3,
    )
    return lambda **changes: replace(base, **changes)


HYBRID = HybridGRPO()


@pytest.fixture
def reward():
    return length_parity


@pytest.fixture
def gradients_of(new_policy, images, reward, tmp_path, monkeypatch):
    """Train one step and return its rows and gradients before clipping."""

    def measure(config, groups, objective=HYBRID):
        found = {}

        class Spy(TrainerCallback):
            def on_step_begin(self, args, state, control, model=None, **_):
                args.max_grad_norm = 0.0

            def on_pre_optimizer_step(self, args, state, control, model=None, **_):
                for name, parameter in model.named_parameters():
                    if parameter.grad is not None:
                        found[name] = parameter.grad.clone()

        class Spied(GroupTrainer):
            def __init__(self, **parts):
                super().__init__(**parts)
                self.add_callback(Spy())

        monkeypatch.setattr(run, "GroupTrainer", Spied)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        result = train(
            new_policy(), groups, images, config, folder, reward,
            objective=objective, resume=False,
        )  # fmt: skip
        return found, result.tables["steps"][0]

    return measure


def close(a, b, tolerance=1e-5):
    assert a.keys() == b.keys()
    scale = max(float(value.abs().max()) for value in a.values())
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=tolerance * scale, rtol=1e-3)


def weights(policy):
    return {name: value.detach().clone() for name, value in policy.model.state_dict().items()}


def equal_weights(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_figure(a, b):
    """Equal but for the rounding of another batch shape; None where nothing was counted."""
    return a is b if a is None or b is None else a == pytest.approx(b, rel=2e-3, abs=1e-5)
