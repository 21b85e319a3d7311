"""What every miner keeps to, with every finder, tagger, inpainter and ranker that there is."""

import math
import shutil
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from mbpo_core.config import mining as config
from mbpo_core.config.base import EmbeddedModel
from mbpo_core.mining.inpainting import grown
from mbpo_core.mining.png import decode_png
from mbpo_core.mining.protocol import OK, MinedImage, MineItem
from mbpo_core.models.preprocessing import blank_like, to_unit
from mbpo_core.models.qwen_vl import QwenVL
from tasks.miners import checkpoints, make_miner
from tasks.models import open_policy
from tests.contracts.miners import (
    CASES,
    WORDLESS,
    Weights,
    knows_the_truth,
    mine_items,
    photographs,
    save_weights,
)
from tests.contracts.unions import at_the_edges, every_member, parts

ANY = TypeAdapter(config.AnyMiner)
every = pytest.mark.parametrize("mined", CASES, indirect=True)


@dataclass
class Mined:
    """A miner from its settings, its items and what it makes of them."""

    settings: config.Miner
    policy: QwenVL
    items: list[MineItem]

    def again(self, seed: int = 0, items: list[MineItem] | None = None) -> list[MinedImage]:
        miner = make_miner(self.settings, self.policy, seed, "cpu")
        return miner(self.items if items is None else items)

    @cached_property
    def images(self) -> list[MinedImage]:
        return self.again()

    @property
    def made(self) -> list[tuple[MineItem, MinedImage]]:
        return [pair for pair in zip(self.items, self.images, strict=True) if pair[1].png]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    return save_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def mined(request, weights) -> Mined:
    settings = CASES[request.param](weights)
    policy = open_policy(EmbeddedModel(), "cpu")
    items = mine_items(policy)
    if not knows_the_truth(settings):
        items = photographs(policy) + items
    return Mined(settings, policy, items)


def pixels(images: list[MinedImage]) -> list[bytes | None]:
    """PNG bytes: the same for the same pixels."""
    return [image.png for image in images]


def logp(policy: QwenVL, item: MineItem, image: torch.Tensor) -> float:
    """lp(y_w | q, image), a row alone."""
    with torch.no_grad():
        (row,) = policy.token_logps([item.row.prompt], [item.row.response], [to_unit(image)])
    return float(row.double().sum())


def test_every_member_of_every_union_has_a_case(weights):
    covered = {type(part) for case in CASES.values() for part in parts(case(weights))}
    assert every_member(config) - {config.NoMiner} == covered - {config.Checkpoint}


def test_a_miner_that_makes_no_images_is_no_miner(weights):
    assert not config.NoMiner().makes_images
    assert all(case(weights).makes_images for case in CASES.values())
    with pytest.raises(TypeError, match="NoMiner makes no images"):
        make_miner(config.NoMiner(), open_policy(EmbeddedModel(), "cpu"), 0, "cpu")


@every
def test_each_item_has_an_image_of_its_size_or_a_reason(mined):
    assert [image.sample_id for image in mined.images] == [item.sample_id for item in mined.items]
    assert len(mined.made) >= 2
    for item, image in zip(mined.items, mined.images, strict=True):
        assert (image.status == OK) == (image.png is not None)
        if image.png is None:
            assert image.status
            continue
        assert (image.recovered is None) == (image.recovered_reason is not None)
        negative = decode_png(image.png)
        assert negative.dtype == torch.uint8 and negative.shape == item.image.shape
        change = (negative.int() - item.image.int()).abs().max().item()
        assert 0 < change == pytest.approx(image.linf * 255)


@every
def test_the_figures_are_those_of_the_image_as_it_is_read_back(mined):
    for item, image in mined.made:
        measure = partial(logp, mined.policy, item)
        assert image.logp_reread == pytest.approx(measure(decode_png(image.png)), abs=1e-3)
        assert image.logp_clean == pytest.approx(measure(item.image), abs=1e-3)
        assert image.logp_blank == pytest.approx(measure(blank_like(item.image)), abs=1e-3)
        assert image.logp_negative == pytest.approx(image.logp_reread, abs=1e-3)
        figures = [image.area, image.recovered, *image.logp_trace]
        figures += [part for one in image.tried for part in (one.phrase_score, one.image_score)]
        assert all(math.isfinite(figure) for figure in figures if figure is not None)


@every
def test_only_its_seed_decides(mined):
    assert mined.settings.draws == (mined.settings.kind in ("uniform_noise", "diffusion_noise",
                                                            "crop"))  # fmt: skip
    before = torch.get_rng_state()
    torch.manual_seed(99)
    disturbed = torch.get_rng_state()
    assert pixels(mined.again()) == pixels(mined.images)
    other = pixels(mined.again(seed=1))
    assert torch.equal(torch.get_rng_state(), disturbed)
    torch.set_rng_state(before)
    if mined.settings.draws:
        assert not set(other) & set(pixels(mined.images))
    else:
        assert other == pixels(mined.images)


@every
def test_an_item_alone_is_the_item_in_a_pack(mined):
    alone = [image for item in mined.items for image in mined.again(items=[item])]
    assert [image.status for image in alone] == [image.status for image in mined.images]
    assert mined.again(items=[]) == []
    if not isinstance(mined.settings, config.PGDMiner):
        assert pixels(alone) == pixels(mined.images)
        return
    for one, other in zip(alone, mined.images, strict=True):
        # Signs of gradients that are all but zero: another batch shape rounds otherwise.
        differs = decode_png(one.png) != decode_png(other.png)
        assert differs.float().mean() < 0.001


@every
def test_what_lies_outside_of_its_regions_is_untouched(mined):
    grow = getattr(getattr(mined.settings, "inpainter", None), "grow", 0)
    for image in mined.images:
        assert all(one.used == (one.reason is None) for one in image.tried)
    for item, image in mined.made:
        used = [one.region.mask for one in image.tried if one.used]
        assert (image.scope == "regions") == bool(used)
        changed = (decode_png(image.png) != item.image).any(dim=0)
        if image.scope != "whole":
            assert 0 < changed.float().mean() <= image.area + 1e-6 < 1
        if used:
            allowed = grown(torch.stack(used).any(dim=0), grow)
            assert not (changed & ~allowed).any()
        if image.scope == "random":
            assert image.area == pytest.approx(0.2, abs=28 * 28 / changed.numel())


@every
def test_the_model_is_left_as_it_was(mined):
    model = mined.policy.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    needed = [parameter.requires_grad for parameter in model.parameters()]
    model.train()
    try:
        assert pixels(mined.again()) == pixels(mined.images)
        assert all(module.training for module in model.modules())
    finally:
        model.eval()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every
def test_an_answer_without_a_noun_has_the_whole_image_or_a_reason(mined):
    (image,) = (image for image in mined.images if image.sample_id == WORDLESS)
    if isinstance(mined.settings, config.RemovalMiner):
        assert image.status in ("no_object", "no_candidate")
        assert all(one.reason for one in image.tried)
        assert bool(image.tried) == (mined.settings.tagger.kind == "classifier")
    elif isinstance(mined.settings, config.DiffusionNoiseMiner):
        assert image.scope == ("random" if mined.settings.scope == "random-20" else "whole")
    else:
        assert image.status == OK


@every
def test_the_miner_takes_every_number_that_its_settings_take(mined):
    for settings in at_the_edges(mined.settings):
        # Checked anew, as a recipe is: what two settings rule out together is not asked for.
        try:
            settings = ANY.validate_python(settings.model_dump())
        except ValueError as error:
            assert "must not exceed" in str(error)
            continue
        assert callable(make_miner(settings, mined.policy, 0, "cpu"))


@every
def test_its_settings_survive_json(mined):
    text = mined.settings.model_dump_json()
    assert ANY.validate_json(text) == mined.settings
    assert ANY.validate_json(text).model_dump_json() == text


@every
def test_every_checkpoint_has_a_fingerprint_of_its_bytes(mined, weights, tmp_path):
    named = [part.name for part in parts(mined.settings) if isinstance(part, config.Checkpoint)]
    named += [part.path for part in parts(mined.settings) if hasattr(part, "path")]
    found = checkpoints(mined.settings)
    assert len(found) == len(named)
    for name in named:
        copied = tmp_path / Path(name).name
        shutil.copytree(name, copied) if Path(name).is_dir() else shutil.copy(name, copied)
        text = mined.settings.model_dump_json().replace(f'"{name}"', f'"{copied}"')
        assert checkpoints(ANY.validate_json(text)) == found
        for file in sorted(copied.iterdir()) if copied.is_dir() else [copied]:
            before = file.read_bytes()
            file.write_bytes(before + b" ")
            other = checkpoints(ANY.validate_json(text))
            file.write_bytes(before)
            assert sum(other[role] != found[role] for role in found) == 1, file.name


def test_checkpoints_that_are_not_loaded_do_not_count(weights):
    regions = CASES["regions-grounded_sam"](weights)
    assert set(checkpoints(regions)) == {"detector", "segmenter"}
    assert checkpoints(regions.model_copy(update={"scope": "global"})) == {}
