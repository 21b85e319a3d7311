import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.models import packing
from mbpo_core.models.packing import pack_rows
from mbpo_core.models.preprocessing import blanks, to_unit
from mbpo_core.models.qwen_vl import QwenVL
from tests.mbpo_core.tiny_models import random_image

IMAGE, PAD = 9, 0
TOLERANCE = {"rtol": 0, "atol": 1e-5}

# Few letters, so that rows begin alike often.
texts = st.lists(st.integers(1, 3), min_size=1, max_size=5)
random_rows = st.lists(st.tuples(st.integers(0, 2), texts, texts), min_size=1, max_size=8)


def packed(rows, hidden_size=8):
    prompts = [[4, IMAGE, IMAGE, *text] for _, text, _ in rows]
    responses = [response for _, _, response in rows]
    positions = [
        torch.arange(len(p) + len(r)).repeat(3, 1) + 100 * image
        for p, r, (image, _, _) in zip(prompts, responses, rows, strict=True)
    ]
    found = pack_rows(
        prompts,
        responses,
        positions,
        [row[0] for row in rows],
        image_token_id=IMAGE,
        pad_id=PAD,
        hidden_size=hidden_size,
    )
    return prompts, responses, positions, found


def sees(found, sequence, place):
    """Where a token looks: its own row, by the mask of the sequence."""
    if found.visible is None:
        return list(range(place + 1))
    return found.visible[sequence, 0, place].nonzero()[:, 0].tolist()


@settings(deadline=None, max_examples=200)
@given(random_rows)
def test_a_response_token_is_predicted_from_its_own_row_and_nothing_else(rows):
    prompts, responses, positions, found = packed(rows)
    kept = found.keep.nonzero().tolist()
    start = 0
    for prompt, response, of_row in zip(prompts, responses, positions, strict=True):
        for count in range(len(response)):
            sequence, place = kept[found.index[start + count]]
            context = [*prompt, *response[:count]]
            visible = sees(found, sequence, place)
            assert found.ids[sequence, visible].tolist() == context
            assert torch.equal(found.positions[:, sequence, visible], of_row[:, : len(context)])
        start += len(response)
    assert start == len(found.index)


@settings(deadline=None, max_examples=200)
@given(random_rows)
def test_nothing_is_computed_twice_and_nothing_twice_predicted(rows):
    prompts, responses, _, found = packed(rows)
    contexts = {
        (image, *prompt, *response[:count])
        for (image, _, _), prompt, response in zip(rows, prompts, responses, strict=True)
        for count in range(len(response))
    }
    assert int(found.keep.sum()) == len(contexts)
    read = {
        (image, *row[: end + 1])
        for (image, _, _), p, r in zip(rows, prompts, responses, strict=True)
        for row in [[*p, *r[:-1]]]
        for end in range(len(row))
    }
    assert int((found.ids != PAD).sum()) == len(read)


@settings(deadline=None, max_examples=100)
@given(random_rows)
def test_every_run_of_image_tokens_names_a_row_of_its_image(rows):
    _, _, _, found = packed(rows)
    runs = [
        int(found.positions[0, sequence, place]) // 100
        for sequence, place in (found.ids == IMAGE).nonzero().tolist()[::2]
    ]
    assert [rows[row][0] for row in found.image_rows] == runs


def test_rows_without_anything_in_common_need_no_mask():
    _, _, _, found = packed([(0, [1], [1, 2]), (1, [1], [1]), (2, [1, 2, 3], [1])])
    assert found.visible is None and len(found.ids) == 3


@pytest.mark.parametrize(("hidden_size", "sequences"), [(1000, 1), (1, 2)])
def test_trees_of_unlike_length_are_joined_where_padding_costs_more(hidden_size, sequences):
    """Matrices pay for every place, attention for the square of a sequence's length."""
    rows = [
        (image, [1], [word] * length) for image, length in ((0, 48), (1, 28)) for word in (1, 2)
    ]
    assert len(packed(rows, hidden_size)[-1].ids) == sequences


def test_a_tree_that_grows_too_long_is_split(monkeypatch):
    rows = [(0, [1, 2, 3], [1 + i % 3, 1 + i // 3, 2, 2]) for i in range(9)]
    whole = packed(rows)[-1].ids
    monkeypatch.setattr(packing, "TREE_TOKENS", 20)
    split = packed(rows)[-1].ids
    assert whole.shape[0] == 1 and split.shape[0] > 1 and split.shape[1] <= 20


class TestModel:
    """A packed row scores as it does alone."""

    @pytest.fixture
    def rows(self, tiny_policy):
        """Two questions about one image with three answers each, and another image between."""
        image, other = random_image(1), random_image(2)
        questions = ["How many birds?", "How many red birds are there?"]
        answers = ["three", "three of them", "a red bird"]
        cases = [(image, q, a) for q in questions for a in answers]
        cases.insert(2, (other, questions[0], answers[1]))
        size = image.shape[1:]
        shown = {id(i): to_unit(i) for i in (image, other)}
        return (
            [tiny_policy.prompt_ids(q, *size) for _, q, _ in cases],
            [tiny_policy.response_ids(a) for _, _, a in cases],
            [shown[id(i)] for i, _, _ in cases],
        )

    def alone(self, policy, rows):
        each = zip(*rows, strict=True)
        return [policy.token_logps([p], [r], [i.clone()])[0] for p, r, i in each]

    def test_equals_each_row_alone(self, tiny_policy, rows):
        found = tiny_policy.token_logps(*rows)
        for one, other in zip(found, self.alone(tiny_policy, rows), strict=True):
            torch.testing.assert_close(one, other, **TOLERANCE)

    def test_gradients_equal_those_of_each_row_alone(self, tiny_policy, rows):
        parameters = list(tiny_policy.model.parameters())
        weights = [0.5 + i for i in range(len(rows[0]))]

        def gradients(logps):
            loss = sum(w * row.mean() for w, row in zip(weights, logps, strict=True))
            return torch.autograd.grad(loss, parameters)

        together = gradients(tiny_policy.token_logps(*rows))
        apart = gradients(self.alone(tiny_policy, rows))
        for one, other in zip(together, apart, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)

    def test_another_branch_moves_a_row_by_no_bit(self, tiny_policy, rows):
        prompts, responses, images = rows
        before = tiny_policy.token_logps(*rows)
        changed = [list(ids) for ids in responses]
        # The last but one token of the longest answer: its branch keeps its place and length.
        changed[3][-2] = changed[1][0]
        after = tiny_policy.token_logps(prompts, changed, images)
        moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert moved == [index == 3 for index in range(len(responses))]

    def test_eager_attention_agrees(self, tiny_policy, rows):
        eager = copy.deepcopy(tiny_policy.model)
        eager.set_attn_implementation("eager")
        policy = QwenVL(eager, tiny_policy.tokenizer, tiny_policy.image_config)
        pairs = zip(tiny_policy.token_logps(*rows), policy.token_logps(*rows), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, **TOLERANCE)

    def test_attention_that_takes_no_mask_gets_none(self, tiny_policy, rows, monkeypatch):
        monkeypatch.setattr(QwenVL, "_attention", "flash_attention_2")
        masks = []
        hook = tiny_policy.model.register_forward_pre_hook(
            lambda module, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
        )
        found = tiny_policy.token_logps(*rows)
        hook.remove()
        assert masks == [None]
        for one, other in zip(found, self.alone(tiny_policy, rows), strict=True):
            torch.testing.assert_close(one, other, **TOLERANCE)

    def test_blank_images_of_one_size_share_their_prompt(self, tiny_policy):
        images = [random_image(i, *size) for i, size in enumerate([(56, 84), (84, 56), (56, 84)])]
        prompts = [tiny_policy.prompt_ids("What is it?", *i.shape[1:]) for i in images]
        responses = [tiny_policy.response_ids(text) for text in ("a bird", "a cat", "a boat")]
        rows = prompts, responses, blanks(images)
        assert rows[2][0] is rows[2][2]
        for one, other in zip(
            tiny_policy.token_logps(*rows), self.alone(tiny_policy, rows), strict=True
        ):
            torch.testing.assert_close(one, other, **TOLERANCE)
