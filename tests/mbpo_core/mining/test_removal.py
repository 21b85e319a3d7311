"""One object less: which one, and what is told about the others."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.mining.grounded_sam import load_grounded_sam
from mbpo_core.mining.inpainting import OpenCVInpainter
from mbpo_core.mining.protocol import Region
from mbpo_core.mining.ranking import load_clip_ranker
from mbpo_core.mining.removal import ObjectRemoval
from tests.mbpo_core.mining.published_models import item, save_clip, save_detector, save_segmenter

SIZE = (56, 84)


@dataclass
class Tags:
    """Tags by sample id."""

    tags: dict

    def __call__(self, items):
        return [self.tags[one.sample_id] for one in items]


@dataclass
class Strips:
    """Finds a tag as that many columns from the left; None where it has no number."""

    columns: dict

    def __call__(self, items, phrases):
        return [
            [self._strip(one, phrase) for phrase in of_item]
            for one, of_item in zip(items, phrases, strict=True)
        ]

    def _strip(self, one, phrase):
        if self.columns.get(phrase) is None:
            return None
        mask = torch.zeros(one.image.shape[1:], dtype=torch.bool)
        mask[:, : self.columns[phrase]] = True
        return Region(phrase, mask)


class Invert:
    """Changes every pixel of a region, but for the tag "same" none."""

    def __call__(self, items, regions):
        assert len(items) == len(regions) > 0
        return [
            one.image if found.phrase == "same" else torch.where(found.mask, ~one.image, one.image)
            for one, found in zip(items, regions, strict=True)
        ]


@dataclass
class Scores:
    """Scores a candidate by the number of columns that differ."""

    by_columns: dict
    asked: list = field(default_factory=list)

    def __call__(self, items, images):
        columns = [
            int((image != one.image).any(dim=0).any(dim=0).sum())
            for one, image in zip(items, images, strict=True)
        ]
        self.asked += columns
        return [self.by_columns[count] for count in columns]


def removal(tags, columns, scores, **fields):
    return ObjectRemoval(Tags(tags), Strips(columns), Invert(), Scores(scores), **fields)


def told(altered):
    return [(one.phrase, one.image_score, one.used, one.reason) for one in altered.tried]


def test_the_lowest_score_wins_and_every_tag_is_told():
    tags = {"a": ["cat", "sky", "none", "dog", "same", "odd", "tie"]}
    columns = {"cat": 10, "sky": 43, "dog": 20, "same": 5, "odd": 7, "tie": 21}
    alter = removal(tags, columns, {10: 0.5, 20: -1.0, 21: -1.0, 7: math.nan})
    one = item("a", *SIZE)
    (altered,) = alter([one])
    assert told(altered) == [
        ("dog", -1.0, True, None),
        ("tie", -1.0, False, "higher_score"),
        ("cat", 0.5, False, "higher_score"),
        ("sky", None, False, "too_large"),
        ("none", None, False, "no_region"),
        ("same", None, False, "unchanged"),
        ("odd", None, False, "not_finite"),
    ]
    expected = one.image.clone()
    expected[:, :, :20] = 255 - expected[:, :, :20]
    assert torch.equal(altered.image, expected)
    assert altered.image is altered.tried[0].image
    assert (altered.scope, altered.area, altered.reason) == ("regions", 20 / 84, None)
    assert alter.ranker.asked == [10, 20, 7, 21]


def test_half_of_the_picture_is_still_an_object():
    alter = removal({"a": ["half"]}, {"half": 42}, {42: 0.0})
    assert alter([item("a", *SIZE)])[0].image is not None
    stricter = removal({"a": ["half"]}, {"half": 42}, {}, max_area=0.49)
    assert stricter([item("a", *SIZE)])[0].tried[0].reason == "too_large"


@pytest.mark.parametrize(
    ("tags", "reason", "reasons"),
    [
        ([], "no_object", []),
        (["none", "nothing"], "no_object", ["no_region", "no_region"]),
        (["none", "sky"], "no_candidate", ["no_region", "too_large"]),
        (["same"], "no_candidate", ["unchanged"]),
        (["odd"], "no_candidate", ["not_finite"]),
    ],
)
def test_without_a_winner_there_is_a_reason(tags, reason, reasons):
    alter = removal({"a": tags}, {"sky": 80, "same": 5, "odd": 7}, {7: math.inf})
    (altered,) = alter([item("a", *SIZE)])
    assert (altered.image, altered.area, altered.reason) == (None, None, reason)
    assert altered.scope == "regions"
    assert [(one.phrase, one.reason) for one in altered.tried] == list(
        zip(tags, reasons, strict=True)
    )


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6), min_size=1, max_size=4
    ),
    st.lists(st.sampled_from([-1.0, 0.0, 2.5, math.nan]), min_size=8, max_size=8),
    st.lists(st.sampled_from([None, 3, 9, 15, 21, 60]), min_size=8, max_size=8),
)
def test_an_item_has_the_same_result_in_any_company(tags, scores, columns):
    by_columns = dict(zip([3, 9, 15, 21, 60], scores, strict=False))
    found = dict(zip("abcdefgh", columns, strict=True))
    items = [item(str(i), *SIZE, seed=i) for i in range(len(tags))]
    alter = removal({str(i): row for i, row in enumerate(tags)}, found, by_columns)
    together = alter(items)
    for one, of_item, altered in zip(items, tags, together, strict=True):
        assert sorted(tried.phrase for tried in altered.tried) == sorted(of_item)
        assert sum(tried.used for tried in altered.tried) == (altered.image is not None)
        assert all(tried.used != bool(tried.reason) for tried in altered.tried)
        (alone,) = alter([one])
        assert told(alone) == told(altered)
        assert (alone.area, alone.reason) == (altered.area, altered.reason)
        if altered.image is not None:
            assert torch.equal(alone.image, altered.image)
            scored = [t.image_score for t in altered.tried if t.image_score is not None]
            assert altered.tried[0].used and scored == sorted(scored)


def test_a_share_that_is_none_is_refused():
    for share in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"max_area must be in \(0, 1\]"):
            removal({}, {}, {}, max_area=share)


def test_with_genuine_parts(tmp_path):
    """Detector, segmenter and CLIP are untrained: any picture, but one that keeps the rules."""
    finder = load_grounded_sam(
        str(save_detector(tmp_path / "dino")), str(save_segmenter(tmp_path / "sam"))
    )
    ranker = load_clip_ranker(str(save_clip(tmp_path / "clip")))
    tags = Tags({"a": ["cat", "red ball"], "b": ["dog", "..."], "c": []})
    alter = ObjectRemoval(tags, finder, OpenCVInpainter(), ranker, max_area=1.0)
    items = [item("a"), item("b", 84, 56, seed=1), item("c")]
    results = alter(items)
    assert [len(result.tried) for result in results] == [2, 2, 0]
    assert [result.reason for result in results] == [None, None, "no_object"]
    for one, result in zip(items[:2], results, strict=False):
        winner = result.tried[0]
        assert winner.used and torch.equal(winner.image, result.image)
        changed = (result.image != one.image).any(dim=0)
        assert 0 < result.area == pytest.approx(int(changed.sum()) / changed.numel())
        assert winner.image_score == pytest.approx(ranker([one], [result.image])[0], abs=1e-6)
    again = alter(items)
    assert all(torch.equal(x.image, y.image) for x, y in zip(results[:2], again, strict=False))
    assert results[1].tried[1].reason == "no_region"
