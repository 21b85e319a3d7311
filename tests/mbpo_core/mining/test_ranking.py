"""Which picture supports the response least: CLIP and the policy, against their own figures."""

import dataclasses
import logging
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.clip.processing_clip import CLIPProcessor

from mbpo_core.mining.protocol import MineItem
from mbpo_core.mining.published import as_picture
from mbpo_core.mining.ranking import ClipRanker, PolicyRanker, load_clip_ranker, split_sentences
from mbpo_core.models.preprocessing import to_unit
from tests.mbpo_core.mining.published_models import item, save_clip
from tests.mbpo_core.tiny_models import random_image


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return load_clip_ranker(str(save_clip(tmp_path_factory.mktemp("clip"))))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("A cat. A dog!", ["A cat.", "A dog!"]),
        ("no stop at the end", ["no stop at the end"]),
        ('He says "hi." Then he waves (twice.) Why? ', 3),
        ("Mr. Smith meets J. Doe at St. Ives, e.g. on 3.5 km.", 1),
        ("Two things:\n1. a red ball\n12. a cat\n\n- a dog", 4),
        ("... !\n ?", []),
        ("", []),
    ],
)
def test_sentences(text, sentences):
    found = split_sentences(text)
    assert found == sentences or len(found) == sentences


@given(st.text(alphabet='aB1 .!?\n"', max_size=40))
def test_no_letter_is_lost_and_every_sentence_has_one(text):
    found = split_sentences(text)
    assert re.findall(r"\w", "".join(found)) == re.findall(r"\w", text)
    assert all(re.search(r"\w", sentence) for sentence in found)


def test_score_is_the_sum_of_the_genuine_models_similarities(clip):
    responses = ["A red ball. A dog is behind it!", "Two birds"]
    sentences = [["A red ball.", "A dog is behind it!"], ["Two birds"]]
    items = [item("a", chosen=responses[0]), item("b", 84, 56, chosen=responses[1])]
    asked = [items[0], items[1], items[0]]
    images = [random_image(1), random_image(2, 84, 56), random_image(3)]
    scores = clip(asked, images)
    processor = CLIPProcessor(clip.image_processor, clip.tokenizer)
    for score, texts, image in zip(scores, [*sentences, sentences[0]], images, strict=True):
        inputs = processor(text=texts, images=as_picture(image), return_tensors="pt", padding=True)
        with torch.no_grad():
            output = clip.model(**inputs)
            expected = (output.logits_per_image / clip.model.logit_scale.exp()).sum()
        assert score == pytest.approx(float(expected), abs=1e-5)
    assert len({round(score, 4) for score in scores}) == 3


def test_other_items_change_no_score(clip):
    asked = [item("a", chosen="A dog."), item("b", 84, 56, chosen="One. Two. Three.")]
    images = [random_image(1), random_image(2, 84, 56)]
    alone = [clip([one], [image])[0] for one, image in zip(asked, images, strict=True)]
    assert clip(asked, images) == alone
    assert clip([], []) == []


def test_a_long_sentence_is_cut_counted_and_warned_of_once(clip, caplog):
    clip = ClipRanker(clip.model, clip.image_processor, clip.tokenizer)
    image, long = random_image(1), "x" * 100  # one token a letter
    with caplog.at_level(logging.WARNING):
        cut = clip([item("a", chosen=f"{long}. A dog.")], [image])
        clip([item("b", chosen=long)], [image])
    assert clip.cut_sentences == 2
    assert caplog.text.count("sentences over 77 tokens are cut") == 1
    longer = clip([item("c", chosen=f"{long}{long}. A dog.")], [image])
    assert cut == pytest.approx(longer, abs=1e-6)
    assert clip.cut_sentences == 3


def test_a_response_without_a_sentence_has_no_score_and_leaves_the_others_theirs(clip, caplog):
    items, images = (
        [item("a"), item("b", chosen="..."), item("a")],
        [random_image(i) for i in range(3)],
    )
    first, none, second = clip(items, images)
    assert math.isnan(none) and "b: no sentence to score by" in caplog.text
    assert [first, second] == clip(items[::2], images[::2])


def test_what_does_not_fit_is_refused(clip):
    with pytest.raises(ValueError, match="1 items and 2 images"):
        clip([item("a")], [random_image(0), random_image(1)])
    with pytest.raises(ValueError, match="uint8"):
        clip([item("a")], [random_image(0).float()])


def test_the_policy_scores_the_chosen_response_under_each_image(tiny_policy, tiny_rows):
    rank = PolicyRanker(tiny_policy)
    items = [MineItem(row, "q", "a") for row in tiny_rows[:2]]
    candidates = [random_image(7), random_image(8, 84, 56), items[0].image]
    scores = rank([*items, items[0]], candidates)
    for score, row, image in zip(scores, [*tiny_rows[:2], tiny_rows[0]], candidates, strict=True):
        with torch.no_grad():
            (logps,) = tiny_policy.token_logps([row.prompt], [row.response], [to_unit(image)])
        assert score == pytest.approx(float(logps.sum()), abs=1e-4)
    assert scores[0] != scores[2]
    parameters = tiny_policy.model.parameters()
    assert all(parameter.grad is None for parameter in parameters)
    alone = rank([items[1]], [candidates[1]])
    assert alone == [scores[1]]


def test_an_image_of_another_size_is_refused(tiny_policy, tiny_rows):
    row = dataclasses.replace(tiny_rows[0], image=random_image(0, 112, 112))
    with pytest.raises(ValueError, match="image"):
        PolicyRanker(tiny_policy)([MineItem(tiny_rows[0], "q", "a")], [row.image])
