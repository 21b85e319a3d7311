"""What is common to all miners without an attack: storing, re-reading, figures, refusals."""

from dataclasses import dataclass

import pytest
import torch

from mbpo_core.mining.alteration import AlterationMiner
from mbpo_core.mining.png import decode_png
from mbpo_core.mining.protocol import Altered, MineItem, Tried
from mbpo_core.models.preprocessing import blank_like, to_unit


@dataclass(frozen=True)
class Darker:
    """Takes grey levels away; `skip` samples get no image."""

    levels: int = 40
    skip: tuple[str, ...] = ()

    def __call__(self, items):
        return [
            Altered(None, "no_object", scope="regions", tried=(Tried("bird", reason="no_region"),))
            if item.sample_id in self.skip
            else Altered((item.image.int() - self.levels).clamp(0).to(torch.uint8), area=1.0)
            for item in items
        ]


def items_of(rows):
    return [MineItem(row, "", "") for row in rows]


def lp(policy, row, image):
    with torch.no_grad():
        (logps,) = policy.token_logps([row.prompt], [row.response], [to_unit(image)])
    return float(logps.double().sum())


def test_figures_are_those_of_what_was_read_back(tiny_policy, tiny_rows):
    mined = AlterationMiner(tiny_policy, Darker())(items_of(tiny_rows))
    for row, image in zip(tiny_rows, mined, strict=True):
        reread = decode_png(image.png)
        assert torch.equal(reread, (row.image.int() - 40).clamp(0).to(torch.uint8))
        assert image.logp_clean == pytest.approx(lp(tiny_policy, row, row.image), abs=1e-4)
        assert image.logp_reread == pytest.approx(lp(tiny_policy, row, reread), abs=1e-4)
        assert image.logp_negative == image.logp_reread
        blank = lp(tiny_policy, row, blank_like(row.image))
        assert image.logp_blank == pytest.approx(blank, abs=1e-4)
        assert image.linf == pytest.approx(40 / 255)
        if image.recovered is not None:
            support = image.logp_clean - image.logp_blank
            assert image.recovered == pytest.approx(
                (image.logp_clean - image.logp_reread) / support
            )


def test_an_unchanged_image_is_no_negative(tiny_policy, tiny_rows):
    mined = AlterationMiner(tiny_policy, Darker(0))(items_of(tiny_rows))
    assert {(image.status, image.png) for image in mined} == {("unchanged", None)}


def test_a_refused_item_keeps_its_reason_and_what_was_tried(tiny_policy, tiny_rows):
    miner = AlterationMiner(tiny_policy, Darker(skip=(tiny_rows[1].sample_id,)))
    first, second, third = miner(items_of(tiny_rows))
    assert (second.status, second.png, second.scope) == ("no_object", None, "regions")
    assert second.tried[0].reason == "no_region" and second.logp_clean is None
    alone = AlterationMiner(tiny_policy, Darker())(items_of(tiny_rows[:1]))
    assert first.logp_reread == pytest.approx(alone[0].logp_reread, abs=1e-4)
    assert third.status == "ok"


def test_nothing_to_mine_is_nothing(tiny_policy):
    assert AlterationMiner(tiny_policy, Darker())([]) == []


def test_an_image_of_another_size_is_an_error_that_names_the_sample(tiny_policy, tiny_rows):
    class Smaller:
        def __call__(self, items):
            return [Altered(item.image[:, :28, :28]) for item in items]

    with pytest.raises(ValueError, match=f"{tiny_rows[0].sample_id}.*shape"):
        AlterationMiner(tiny_policy, Smaller())(items_of(tiny_rows))
