import copy
import dataclasses
import io

import pytest
import torch
from PIL import Image

from mbpo_core.information_gain import information_gain
from mbpo_core.mining.attack import PGDMiner, mine_pgd
from mbpo_core.mining.pgd import PGD
from mbpo_core.mining.png import decode_png, encode_png
from mbpo_core.mining.protocol import MineItem, recovered_share
from mbpo_core.models.preprocessing import to_unit
from tests.mbpo_core.tiny_models import random_image

SMALL = PGD(epsilon=16 / 255, step_size=4 / 255, steps=5)


def logp(policy, row, image):
    (logps,) = policy.token_logps([row.prompt], [row.response], [to_unit(image)])
    return logps.sum().item()


class TestPng:
    @pytest.mark.parametrize("seed", range(5))
    def test_round_trip_is_exact_and_deterministic(self, seed):
        image = random_image(seed, 28 * (seed + 1), 84)
        data = encode_png(image)
        assert torch.equal(decode_png(data), image)
        assert encode_png(image.clone()) == data

    def test_carries_no_metadata(self):
        opened = Image.open(io.BytesIO(encode_png(random_image(0))))
        assert (opened.format, opened.mode, opened.info) == ("PNG", "RGB", {})

    def test_refuses_what_is_not_a_stored_image(self):
        with pytest.raises(ValueError, match="uint8"):
            encode_png(torch.zeros(3, 4, 4))
        stream = io.BytesIO()
        Image.new("RGBA", (4, 4)).save(stream, format="PNG")
        with pytest.raises(ValueError, match="RGB"):
            decode_png(stream.getvalue())


class TestRecoveredShare:
    @pytest.mark.parametrize(("negative", "share"), [(-5.0, 0.0), (-9.0, 1.0), (-7.0, 0.5)])
    def test_is_the_share_of_the_way_to_the_blank_image(self, negative, share):
        assert recovered_share(-5.0, negative, -9.0, noise_floor=0.1) == (share, None)

    @pytest.mark.parametrize("blank", [-5.05, -5.0, -4.0, float("nan")])
    def test_is_undefined_where_the_image_adds_nothing(self, blank):
        share, reason = recovered_share(-5.0, -6.0, blank, noise_floor=0.1)
        assert share is None
        assert "noise floor 0.1" in reason

    def test_needs_a_floor(self):
        with pytest.raises(ValueError, match="above 0"):
            recovered_share(-5.0, -6.0, -9.0, noise_floor=0.0)


def test_mined_images_lower_the_logp_and_are_recorded_as_they_are_read(tiny_policy, tiny_rows):
    blank = [sum(gain.blank_token_logps) for gain in information_gain(tiny_policy, tiny_rows)]
    for row, mined, unseen in zip(
        tiny_rows, mine_pgd(tiny_policy, tiny_rows, SMALL), blank, strict=True
    ):
        image = decode_png(mined.png)
        assert (mined.sample_id, mined.status) == (row.sample_id, "ok")
        assert image.shape == row.image.shape
        assert (image.int() - row.image.int()).abs().max() == round(mined.linf * 255) <= 16
        # Exact: same engine, same batch, same pixels.
        assert mined.logp_reread == mined.logp_negative == mined.logp_trace[-1]
        assert mined.logp_clean == mined.logp_trace[0]
        assert mined.logp_negative < mined.logp_clean - 1
        assert len(mined.logp_trace) == SMALL.steps + 1
        assert logp(tiny_policy, row, image) == pytest.approx(mined.logp_reread, abs=1e-3)
        assert mined.logp_blank == pytest.approx(unseen, abs=1e-3)
        share = recovered_share(
            mined.logp_clean, mined.logp_reread, mined.logp_blank, noise_floor=0.1
        )
        assert (mined.recovered, mined.recovered_reason) == share


def test_best_iterate_is_the_one_that_is_stored(tiny_policy, tiny_rows):
    config = dataclasses.replace(SMALL, step_size=16 / 255, steps=6, iterate="best")
    for mined in mine_pgd(tiny_policy, tiny_rows, config):
        assert mined.logp_reread == min(mined.logp_trace) == mined.logp_trace[mined.best_step]


def test_batch_equals_single(tiny_policy, tiny_rows):
    together = mine_pgd(tiny_policy, tiny_rows, SMALL)
    for row, mined in zip(tiny_rows, together, strict=True):
        (alone,) = mine_pgd(tiny_policy, [row], SMALL)
        assert alone.logp_reread == pytest.approx(mined.logp_reread, abs=0.2)
        same = (decode_png(alone.png) == decode_png(mined.png)).float().mean()
        assert same > 0.95


def test_is_deterministic(tiny_policy, tiny_rows):
    assert mine_pgd(tiny_policy, tiny_rows, SMALL) == mine_pgd(tiny_policy, tiny_rows, SMALL)


def test_beats_random_noise_of_the_same_size(tiny_policy, tiny_rows):
    generator = torch.Generator().manual_seed(0)
    for row, mined in zip(tiny_rows, mine_pgd(tiny_policy, tiny_rows, SMALL), strict=True):
        for _ in range(5):
            signs = torch.randint(0, 2, row.image.shape, generator=generator) * 2 - 1
            noisy = (row.image.int() + 16 * signs).clamp(0, 255).to(torch.uint8)
            assert mined.logp_reread < logp(tiny_policy, row, noisy)


def test_model_is_left_alone(tiny_policy, tiny_rows):
    model = tiny_policy.model.train()
    weights = copy.deepcopy(model.state_dict())
    images = [row.image.clone() for row in tiny_rows]
    wanted = []
    hook = model.lm_head.register_forward_hook(
        lambda module, a, out: wanted.append(module.weight.requires_grad)
    )
    mine_pgd(tiny_policy, tiny_rows, SMALL)
    hook.remove()
    # Gradients of the parameters would cost a third of the work and of the memory.
    assert wanted[: SMALL.steps] == [False] * SMALL.steps
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(a, row.image) for a, row in zip(images, tiny_rows, strict=True))


def test_half_precision_falls_back_to_float32_for_a_broken_gradient(tiny_policy, tiny_rows):
    half = copy.copy(tiny_policy)
    half.model = copy.deepcopy(tiny_policy.model).bfloat16()

    def spoil(module, arguments, output):
        if output.dtype == torch.bfloat16 and output.requires_grad:
            output.register_hook(lambda gradient: gradient * torch.nan)

    hook = half.model.lm_head.register_forward_hook(spoil)
    mined = mine_pgd(half, tiny_rows, SMALL)
    hook.remove()
    assert [row.status for row in mined] == ["ok"] * 3
    assert all(row.retried and row.logp_negative < row.logp_clean for row in mined)


def test_a_gradient_that_stays_broken_is_a_row_with_a_status(tiny_policy, tiny_rows):
    def spoil(module, arguments, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * torch.nan)

    hook = tiny_policy.model.lm_head.register_forward_hook(spoil)
    mined = PGDMiner(tiny_policy, SMALL)([MineItem(row, "", "") for row in tiny_rows])
    hook.remove()
    assert [row.sample_id for row in mined] == [row.sample_id for row in tiny_rows]
    assert all(row.status == "nonfinite_gradient" and row.png is None for row in mined)
