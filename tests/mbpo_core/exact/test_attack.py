"""The attack through policies that see: what it does to a picture, and that it finds what is there.

The general properties of the loop stand in `mining/test_pgd.py`, those of the miner on tiny random
models in `mining/test_attack.py`.
"""

import copy
import dataclasses

import pytest
import torch

from mbpo_core.mining.attack import logp_of, mine_pgd
from mbpo_core.mining.pgd import PGD, pgd
from mbpo_core.mining.png import decode_png
from mbpo_core.models.preprocessing import patchify, to_unit
from tests.mbpo_core.exact.columns import columns

CONFIG = PGD(epsilon=8 / 255, step_size=2 / 255, steps=5)


def logp(policy, row, image):
    with torch.no_grad():
        return policy.token_logps([row.prompt], [row.response], [to_unit(image)])[0].sum().item()


@pytest.mark.parametrize("kind", ["embedded"])
def test_negatives_are_on_the_lattice_in_the_ball_and_scored_as_they_are_read(policy, rows):
    weights = copy.deepcopy(policy.model.state_dict())
    before = [row.image.clone() for row in rows]
    policy.model.train()
    for row, mined in zip(rows, mine_pgd(policy, rows, CONFIG), strict=True):
        image = decode_png(mined.png)
        assert image.dtype == torch.uint8
        assert 0 < (image.int() - row.image.int()).abs().max() <= 8
        assert mined.logp_reread == mined.logp_negative == mined.logp_trace[-1]
        assert logp(policy, row, image) == pytest.approx(mined.logp_reread, abs=1e-3)
        assert mined.logp_reread < mined.logp_clean
        assert mined.status == "ok"
    assert policy.model.training
    assert all(p.requires_grad and p.grad is None for p in policy.model.parameters())
    assert all(torch.equal(weights[name], now) for name, now in policy.model.state_dict().items())
    assert all(torch.equal(a, row.image) for a, row in zip(before, rows, strict=True))


def test_every_iterate_is_whole_grey_levels_in_the_ball_within_reach(policy, rows):
    seen = []

    def watched(images):
        seen.append([image.detach() for image in images])
        return logp_of(policy, rows)(images)

    config = PGD(epsilon=5 / 255, step_size=2 / 255, steps=4)
    with policy.frozen():
        pgd(watched, [row.image for row in rows], config)
    assert len(seen) == config.steps + 1
    for step, images in enumerate(seen):
        for image, row in zip(images, rows, strict=True):
            levels = (image * 255).round()
            assert torch.equal(to_unit(levels.to(torch.uint8)), image)
            assert (levels - row.image).abs().max() <= min(5, 2 * step)


@pytest.mark.parametrize("kind", ["embedded"])
@pytest.mark.parametrize("none", [{"epsilon": 0.0}, {"steps": 0}, {"step_size": 0.0}])
def test_no_budget_is_the_identity(policy, rows, none):
    for row, mined in zip(
        rows, mine_pgd(policy, rows, dataclasses.replace(CONFIG, **none)), strict=True
    ):
        assert torch.equal(decode_png(mined.png), row.image)
        assert mined.logp_reread == mined.logp_clean
        assert mined.linf == 0


def test_a_radius_of_its_own_for_every_sample(policy, rows):
    radii = [0.0, 3 / 255, None, 1 / 255][: len(rows)]
    config = PGD(epsilon=8 / 255, step_size=4 / 255, steps=2)
    with policy.frozen():
        results = pgd(logp_of(policy, rows), [r.image for r in rows], config, epsilons=radii)
    found = [round(result.linf * 255) for result in results]
    assert found == [0, 3, 8, 1][: len(rows)]


@pytest.mark.parametrize("kind", ["embedded"])
def test_batch_equals_single(policy, rows):
    """Rounding of another batch shape may turn the sign of a gradient near 0, no more."""
    together = mine_pgd(policy, rows, CONFIG)
    for row, mined in zip(rows, together, strict=True):
        (alone,) = mine_pgd(policy, [row], CONFIG)
        assert alone.logp_reread == pytest.approx(mined.logp_reread, abs=0.1)
        assert (decode_png(alone.png) == decode_png(mined.png)).float().mean() > 0.97


def test_a_neighbour_moves_no_pixel_of_a_negative(policy, rows):
    """The leak canary through the whole attack: equal shapes, so equal to the last bit."""
    other = dataclasses.replace(rows[1], image=255 - rows[1].image)
    before = mine_pgd(policy, rows, CONFIG)
    after = mine_pgd(policy, [rows[0], other, *rows[2:]], CONFIG)
    assert before[0] == after[0]
    assert before[2:] == after[2:]
    assert before[1].png != after[1].png


@pytest.mark.parametrize("kind", ["embedded"])
def test_beats_random_noise_of_the_same_norm(policy, rows):
    generator = torch.Generator().manual_seed(0)
    for row, mined in zip(rows, mine_pgd(policy, rows, CONFIG), strict=True):
        moved = decode_png(mined.png).int() - row.image.int()
        for _ in range(5):
            # The very same changes of grey levels, at random pixels and with random signs.
            order = torch.randperm(moved.numel(), generator=generator)
            signs = torch.randint(0, 2, (moved.numel(),), generator=generator) * 2 - 1
            noise = (moved.flatten()[order] * signs).reshape(moved.shape)
            noisy = (row.image.int() + noise).clamp(0, 255).to(torch.uint8)
            assert mined.logp_reread < logp(policy, row, noisy) - 0.5


def test_best_is_the_least_of_the_trace(policy, rows):
    config = PGD(epsilon=32 / 255, step_size=16 / 255, steps=6, iterate="best")
    mined = mine_pgd(policy, rows, config)
    for found in mined:
        assert found.logp_reread == min(found.logp_trace) == found.logp_trace[found.best_step]
    assert any(found.best_step < config.steps for found in mined)


def test_one_step_of_one_grey_level_goes_the_way_of_the_gradient(policy, rows):
    """Down by the sum of |gradient| / 255, to first order; up by as much with the other sign."""
    prompts, responses, images = columns(rows)
    points = [image.clone().requires_grad_() for image in images]
    with policy.frozen():
        logps = policy.token_logps(prompts, responses, points)
        gradients = torch.autograd.grad(torch.cat(logps).sum(), points)
        config = PGD(epsilon=1 / 255, step_size=1 / 255, steps=1)
        clean = [row.image for row in rows]
        score = logp_of(policy, rows)
        down = pgd(score, clean, config)
        up = pgd(lambda points: -score(points), clean, config)
    for row, gradient, lower, higher in zip(rows, gradients, down, up, strict=True):
        assert lower.logp_trace[1] < lower.logp_trace[0]
        assert -higher.logp_trace[1] > -higher.logp_trace[0]
        change = (lower.adversarial.int() - row.image.int()) / 255
        assert (change * gradient).sum() < 0
        assert (change.sign() * gradient <= 0).all()
        assert torch.equal(
            lower.adversarial.int(), (row.image.int() - gradient.sign().int()).clamp(0, 255)
        )


def test_finds_a_planted_picture(policy, rows):
    """A picture hidden in the ball at the bottom of a bowl, seen through the model's own patches.

    The distance is that of what the vision tower takes in, so the way back to the pixels is the
    one that every attack of this model takes.
    """
    generator = torch.Generator().manual_seed(0)
    hidden = [
        (row.image.int() + torch.randint(-6, 7, row.image.shape, generator=generator))
        .clamp(0, 255)
        .to(torch.uint8)
        for row in rows
    ]
    wanted = [patchify(to_unit(image), policy.image_config) for image in hidden]

    def bowl(images):
        pairs = zip(images, wanted, strict=True)
        return torch.stack(
            [(patchify(x, policy.image_config) - w).square().sum() for x, w in pairs]
        )

    config = PGD(epsilon=6 / 255, step_size=1 / 255, steps=6)
    for image, result in zip(hidden, pgd(bowl, [r.image for r in rows], config), strict=True):
        assert torch.equal(result.adversarial, image)
        assert result.logp_trace[-1] == pytest.approx(0, abs=1e-6)
