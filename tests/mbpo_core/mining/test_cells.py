import builtins
import copy
import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mbpo_core.testbed
from mbpo_core.mining.cells import (
    CellFinder,
    best_superpixels,
    phrase_gradients,
    superpixels,
)
from mbpo_core.mining.phrase_tokens import phrase_tokens
from mbpo_core.mining.protocol import MineItem
from mbpo_core.mining.region_noise import RegionNoise
from mbpo_core.models.loading import load_policy
from mbpo_core.models.preprocessing import to_unit
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.testbed.questions import ask
from mbpo_core.testbed.scenes import CELL, GRID, draw, make_scene
from tests.mbpo_core.tiny_models import random_image

EMBEDDED = Path(mbpo_core.testbed.__file__).parent / "model"


def tiny_items(rows):
    answers = ("a red bird", "three", "it is on the left of a tree")
    return [MineItem(row, "?", answer) for row, answer in zip(rows, answers, strict=True)]


PHRASES = [["bird", "red bird", "dog"], [], ["tree"]]


class TestGradients:
    def test_equal_the_gradient_of_each_phrase_on_its_own(self, tiny_policy, tiny_rows):
        found = phrase_gradients(tiny_policy, tiny_items(tiny_rows), PHRASES)
        assert [[one is None for one in own] for own in found] == [
            [False, False, True],
            [],
            [False],
        ]
        for row, own, phrases in zip(tiny_rows, found, PHRASES, strict=True):
            for phrase, gradient in zip(phrases, own, strict=True):
                if gradient is None:
                    continue
                image = to_unit(row.image).requires_grad_()
                (logps,) = tiny_policy.token_logps([row.prompt], [row.response], [image])
                span = phrase_tokens(tiny_policy, row.response, phrase)
                logps[span.start : span.stop].sum().backward()
                expected = image.grad.abs().sum(dim=0).double()
                assert gradient.shape == row.image.shape[1:] and gradient.dtype == torch.float64
                assert (gradient - expected).abs().max() <= 1e-4 * expected.max()

    def test_items_that_share_an_image_keep_their_own_gradients(self, tiny_policy, tiny_rows):
        row = tiny_rows[0]
        items = [MineItem(row, "?", "a red bird")] * 2
        together = phrase_gradients(tiny_policy, items, [["bird"], ["red"]])
        for own, phrase in zip(together, ("bird", "red"), strict=True):
            ((alone,),) = phrase_gradients(tiny_policy, items[:1], [[phrase]])
            assert (own[0] - alone).abs().max() <= 1e-4 * alone.max()

    def test_the_model_is_left_alone(self, tiny_policy, tiny_rows):
        model = tiny_policy.model.train()
        weights = copy.deepcopy(model.state_dict())
        wanted = []
        hook = model.lm_head.register_forward_hook(
            lambda module, a, out: wanted.append(module.weight.requires_grad)
        )
        phrase_gradients(tiny_policy, tiny_items(tiny_rows), PHRASES)
        hook.remove()
        # One forward pass; gradients of the parameters would cost time and memory.
        assert wanted == [False]
        assert model.training
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())

    def test_nothing_is_computed_where_nothing_is_said(self, tiny_policy, tiny_rows):
        def forbidden(*arguments):
            raise AssertionError("the model was run")

        hook = tiny_policy.model.register_forward_pre_hook(forbidden)
        items = tiny_items(tiny_rows)
        assert phrase_gradients(tiny_policy, items, [["dog"], [], ["cat"]]) == [[None], [], [None]]
        assert CellFinder(tiny_policy)(items, [["dog"], [], ["cat"]]) == [[None], [], [None]]
        hook.remove()


class TestSuperpixels:
    @settings(deadline=None, max_examples=25)
    @given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000), st.sampled_from([7, 14, 28]))
    def test_numbers_every_pixel_from_zero_on_about_one_a_cell(self, rows, columns, seed, cell):
        image = random_image(seed, 28 * rows, 28 * columns)
        labels = superpixels(image, cell)
        assert labels.shape == image.shape[1:] and labels.dtype == torch.int64
        sizes = labels.flatten().bincount()
        assert labels.min() == 0 and (sizes > 0).all()
        wanted = image[0].numel() / cell**2
        assert wanted / 2 <= len(sizes) <= 2 * wanted
        assert torch.equal(labels, superpixels(image.clone(), cell))

    def test_borders_follow_the_picture(self):
        image = torch.zeros(3, 56, 56, dtype=torch.uint8)
        image[:, :, 25:] = 255
        labels = superpixels(image, 14)
        assert not set(labels[:, :25].unique().tolist()) & set(labels[:, 25:].unique().tolist())

    @pytest.mark.parametrize("level", [0, 255])
    def test_an_even_image_is_cut_into_cells(self, level):
        labels = superpixels(torch.full((3, 84, 84), level, dtype=torch.uint8), 28)
        assert len(labels.unique()) == 9

    def test_says_what_is_missing(self, monkeypatch):
        genuine = builtins.__import__

        def without(name, *arguments, **named):
            if name.startswith("skimage"):
                raise ImportError(name)
            return genuine(name, *arguments, **named)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ImportError, match="needs scikit-image"):
            superpixels(random_image(0), 14)


class TestBestSuperpixels:
    LABELS = torch.tensor([[0, 0, 1, 1], [0, 0, 2, 3]])

    def mask(self, values, share):
        by_label = torch.tensor(values, dtype=torch.float64)
        return best_superpixels(by_label[self.LABELS], self.LABELS, share)

    @pytest.mark.parametrize(
        ("share", "taken"),
        [
            (0.1, [3]),
            (0.125, [3]),
            (0.2, [3, 1]),
            (0.375, [3, 1]),
            (0.4, [3, 1, 2]),
            (1, [0, 1, 2, 3]),
        ],
    )
    def test_takes_the_best_by_mean_until_the_share_is_covered(self, share, taken):
        # By sum, superpixel 0 would win: 4 pixels of 2.
        expected = torch.isin(self.LABELS, torch.tensor(taken))
        assert torch.equal(self.mask([2, 4, 3, 5], share), expected)

    def test_of_equals_the_first(self):
        assert torch.equal(self.mask([1, 1, 1, 1], 0.3), self.LABELS == 0)

    @settings(deadline=None, max_examples=50)
    @given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0.01, 1))
    def test_covers_the_share_with_none_to_spare_and_nothing_better_outside(self, seed, n, share):
        rng = np.random.default_rng(seed)
        labels = torch.from_numpy(rng.integers(0, n, (8, 9))).unique(return_inverse=True)[1]
        values = torch.from_numpy(rng.random((8, 9)))
        mask = best_superpixels(values, labels, share)
        means = {k: values[labels == k].mean().item() for k in labels.unique().tolist()}
        inside = set(labels[mask].unique().tolist())
        assert not inside & set(labels[~mask].unique().tolist())
        worst = min(inside, key=means.get)
        assert all(means[k] <= means[worst] + 1e-12 for k in set(means) - inside)
        assert mask.sum() >= share * 72 - 1e-6
        assert mask.sum() - (labels == worst).sum() < share * 72


class TestFinder:
    def test_regions_are_deterministic_lie_in_the_image_and_cover_the_share(
        self, tiny_policy, tiny_rows
    ):
        items = tiny_items(tiny_rows)
        found = CellFinder(tiny_policy, share=0.1)(items, PHRASES)
        again = CellFinder(tiny_policy, share=0.1)(items, PHRASES)
        assert [[region is None for region in own] for own in found] == [
            [False, False, True],
            [],
            [False],
        ]
        for item, own, same, phrases in zip(items, found, again, PHRASES, strict=True):
            for region, twin, phrase in zip(own, same, phrases, strict=True):
                if region is None:
                    continue
                assert region.phrase == phrase
                assert region.mask.dtype == torch.bool
                assert region.mask.shape == item.image.shape[1:]
                assert torch.equal(region.mask, twin.mask) and region.score == twin.score
                assert 0.1 <= region.mask.double().mean() < 0.2
                # Chosen for their gradient, so they hold more of it than of the area.
                assert region.mask.double().mean() < region.score < 1

    def test_an_item_alone_is_the_item_in_a_pack(self, tiny_policy, tiny_rows):
        items, finder = tiny_items(tiny_rows), CellFinder(tiny_policy)
        for item, phrases, own in zip(items, PHRASES, finder(items, PHRASES), strict=True):
            (alone,) = finder([item], [phrases])
            for one, other in zip(alone, own, strict=True):
                assert (one is None) == (other is None)
                assert one is None or torch.equal(one.mask, other.mask)

    def test_noise_stays_in_its_regions(self, tiny_policy, tiny_rows):
        items, finder = tiny_items(tiny_rows), CellFinder(tiny_policy)
        noise = RegionNoise(
            finder=finder, keywords=lambda text: [(w, 1.0) for w in text.split()[:2]], run_seed=0
        )
        for item, altered in zip(items, noise(items), strict=True):
            outside = torch.ones(item.image.shape[1:], dtype=torch.bool)
            for tried in altered.tried:
                outside &= ~tried.region.mask
            assert altered.scope == "regions"
            assert altered.area == (~outside).double().mean().item()
            assert torch.equal(altered.image[:, outside], item.image[:, outside])
            assert not torch.equal(altered.image[:, ~outside], item.image[:, ~outside])

    @pytest.mark.parametrize(("factor", "logged"), [(0.0, False), (float("nan"), True)])
    def test_no_region_where_the_gradient_says_nothing(
        self, tiny_policy, tiny_rows, factor, logged, caplog
    ):
        def spoil(module, arguments, output):
            if output.requires_grad:
                output.register_hook(lambda gradient: gradient * factor)

        hook = tiny_policy.model.lm_head.register_forward_hook(spoil)
        with caplog.at_level("WARNING"):
            found = CellFinder(tiny_policy)(tiny_items(tiny_rows), PHRASES)
        hook.remove()
        assert found == [[None, None, None], [], [None]]
        assert ("row-0: the gradient of 'bird' is not finite" in caplog.text) == logged

    @pytest.mark.parametrize(
        "wrong", [{"share": 0}, {"share": 1.1}, {"share": float("nan")}, {"cell": 0}]
    )
    def test_refuses_settings_out_of_range(self, tiny_policy, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CellFinder(tiny_policy, **wrong)


@cache
def embedded_policy():
    return load_policy(str(EMBEDDED))


def overlaps(kind, phrase_of, n_scenes):
    """Share of each region that lies in the object's own cell; one cell in nine by chance."""
    policy, items, asked = embedded_policy(), [], []
    for index in range(n_scenes):
        scene = make_scene("dev", index, typical_share=0.5)
        question = ask(scene, kind, random.Random(index))
        image = torch.from_numpy(np.array(draw(scene))).permute(2, 0, 1).contiguous()
        prompt = policy.prompt_ids(question.text, *image.shape[1:])
        row = PromptedResponse(scene.name, prompt, policy.response_ids(question.answer), image)
        items.append(MineItem(row, question.text, question.answer))
        asked.append([found for found in scene.objects if found.kind in question.answer])
    phrases = [[phrase_of(found) for found in own] for own in asked]
    shares = []
    for own, regions in zip(asked, CellFinder(policy)(items, phrases), strict=True):
        for found, region in zip(own, regions, strict=True):
            row, column = divmod(found.cell, GRID)
            cell = region.mask[row * CELL :, column * CELL :][:CELL, :CELL]
            shares.append((cell.sum() / region.mask.sum()).item())
    return shares


@pytest.mark.parametrize(
    ("kind", "phrase_of", "least"),
    [
        # The scene is described: what is said next must be looked at.
        ("describe", lambda found: found.kind, 0.5),
        ("describe", lambda found: f"{found.color} {found.kind}", 0.5),
        # The question names the object and asks for its colour. Its name would ask little of the
        # image: such regions are hardly better than chance, and nothing is claimed of them.
        ("color", lambda found: found.color, 0.35),
    ],
    ids=["described", "described-with-color", "color"],
)
def test_regions_of_the_embedded_model_lie_on_their_objects(kind, phrase_of, least):
    shares = overlaps(kind, phrase_of, n_scenes=20)
    assert len(shares) >= 20
    assert sum(shares) / len(shares) > least > 1 / 9
