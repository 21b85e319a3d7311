"""Phrase to box to mask, with tiny models of the genuine classes and their own processors."""

import dataclasses
import logging

import pytest
import torch
from transformers import AutoTokenizer, CLIPModel
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor
from transformers.models.sam.processing_sam import SamProcessor

from mbpo_core.mining.grounded_sam import DETECTORS, corners_in_pixels, load_grounded_sam
from mbpo_core.mining.published import as_picture, open_published
from tests.mbpo_core.mining.published_models import (
    BERT_IDS,
    KINDS,
    item,
    save_clip,
    save_detector,
    save_segmenter,
)

PHRASES = ["A cat", "red dogs", "ball"]


@pytest.fixture(scope="module")
def segmenter_folder(tmp_path_factory):
    return save_segmenter(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module", params=list(KINDS))
def detector_folder(request, tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def finder(detector_folder, segmenter_folder):
    return load_grounded_sam(str(detector_folder), str(segmenter_folder))


def processor_of(detector):
    return GroundingDinoProcessor(detector.image_processor, detector.tokenizer)


def with_thresholds(finder, box, text):
    detector = dataclasses.replace(finder.detector, box_threshold=box, text_threshold=text)
    return dataclasses.replace(finder, detector=detector)


def test_the_prompt_is_that_of_the_genuine_processor(finder):
    (prompt,) = finder.detector.prompts(PHRASES)
    genuine = processor_of(finder.detector)(text=[PHRASES], images=as_picture(item("a").image))
    assert prompt.ids == genuine["input_ids"][0]
    texts = [finder.detector.tokenizer.decode(prompt.ids[span]) for span in prompt.spans.values()]
    assert texts == ["a cat", "red dogs", "ball"]


@pytest.mark.parametrize(("box", "text"), [(0.25, 0.25), (0.6, 0.3), (0.3, 0.6), (0.9, 0.9)])
@pytest.mark.parametrize("size", [(56, 84), (112, 56)])
def test_the_best_box_is_among_those_of_the_genuine_post_processing(finder, box, text, size):
    detector = with_thresholds(finder, box, text).detector
    image, words = item("a", *size).image, ["cat", "dog", "ball"]  # one token each
    processor = processor_of(detector)
    inputs = processor(text=[words], images=as_picture(image), return_tensors="pt")
    with torch.no_grad():
        output = detector.model(**inputs)
    genuine = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=box, text_threshold=text, target_sizes=[size]
    )[0]
    labels = [label.replace(".", " ").split() for label in genuine["text_labels"]]
    right, bottom = float(size[1]), float(size[0])
    boxes = genuine["boxes"].clamp(torch.zeros(4), torch.tensor([right, bottom, right, bottom]))
    for word, found in zip(words, detector(image, words), strict=True):
        named = [place for place, label in enumerate(labels) if word in label]
        assert (found is None) == (not named)
        if found is not None:
            distances = (boxes[named] - torch.tensor(found.box)).abs().amax(dim=1)
            assert distances.min() < 1e-3
            assert text < found.score <= genuine["scores"][named].max() + 1e-6


def test_no_other_box_has_a_more_probable_token_of_the_phrase(finder):
    image = item("a").image
    inputs = processor_of(finder.detector)(
        text=[PHRASES], images=as_picture(image), return_tensors="pt"
    )
    with torch.no_grad():
        probabilities = finder.detector.model(**inputs).logits[0].sigmoid()
    (prompt,) = finder.detector.prompts(PHRASES)
    for index, found in enumerate(finder.detector(image, PHRASES)):
        own = probabilities[:, prompt.spans[index]].max()
        assert found.score == pytest.approx(float(own))


def test_boxes_end_at_the_edges_of_the_image():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.25], [1.0, 0.0, 0.5, 0.5]])  # the second sticks out
    expected = [[25, 75, 75, 125], [75, 0, 100, 50]]
    assert corners_in_pixels(boxes, height=200, width=100).tolist() == expected


def test_regions_are_masks_of_the_image_and_the_same_in_any_company(finder):
    items = [item("a", 56, 84), item("b", 84, 56, seed=1), item("c", 56, 56, seed=2)]
    phrases = [PHRASES, ["bird"], []]
    together = finder(items, phrases)
    assert [len(found) for found in together] == [3, 1, 0]
    for one, wanted, found in zip(items, phrases, together, strict=True):
        (alone,) = finder([one], [wanted])
        for phrase, region, other in zip(wanted, found, alone, strict=True):
            assert region.phrase == phrase
            assert region.mask.dtype == torch.bool
            assert region.mask.shape == one.image.shape[1:]
            assert region.mask.any()
            assert torch.equal(region.mask, other.mask)
            assert region.score == other.score


def test_what_is_not_over_the_threshold_is_not_found(finder):
    strict = with_thresholds(finder, 1 - 1e-9, 1 - 1e-9)
    assert strict([item("a")], [PHRASES]) == [[None, None, None]]


def test_a_phrase_without_words_is_not_found_and_moves_no_other(finder):
    found, nothing, other = finder([item("a")], [["st. cat", " ?. ", "ball"]])[0]
    assert nothing is None
    (prompt,) = finder.detector.prompts(["st. cat", " ?. ", "ball"])
    assert list(prompt.spans) == [0, 2]
    assert found.phrase == "st. cat" and other.phrase == "ball"
    assert finder([item("a")], [["..."]]) == [[None]]


def test_many_phrases_take_several_prompts(tmp_path, segmenter_folder, caplog):
    folder = save_detector(tmp_path / "short", max_text_len=12)
    detector = load_grounded_sam(str(folder), str(segmenter_folder)).detector
    phrases = ["a cat", "red dogs", "ball", "a bird", "st-dog"]
    prompts = detector.prompts(phrases)
    assert len(prompts) > 1
    assert all(len(prompt.ids) <= 12 for prompt in prompts)
    assert sorted(index for prompt in prompts for index in prompt.spans) == list(range(5))
    for prompt in prompts:
        for index, span in prompt.spans.items():
            alone = detector.tokenizer(phrases[index], add_special_tokens=False).input_ids
            assert prompt.ids[span] == alone
    assert len(detector(item("a").image, phrases)) == 5
    for first in range(1, 10):
        for second in range(1, 10):
            prompts = detector.prompts(["cat " * first, "dog " * second])
            fits = 1 + first + 1 + second + 1 + 1 <= 12  # [CLS] first . second . [SEP]
            assert len(prompts) == (1 if fits else 2)
            assert all(len(prompt.ids) <= 12 for prompt in prompts)
    (prompt,) = detector.prompts(["cat " * 10, "dog"])
    assert set(prompt.spans) == {1}
    assert "phrase of 10 tokens is not looked for, at most 9 fit" in caplog.text


@pytest.mark.parametrize("size", [(56, 84), (112, 56)])
def test_masks_are_those_of_the_genuine_processor(finder, size):
    image = item("a", *size).image
    boxes = torch.tensor([[3.0, 4.0, 30.0, 40.0], [10.5, 10.25, 50.0, 50.0]])
    processor = SamProcessor(finder.segmenter.image_processor)
    inputs = processor(as_picture(image), input_boxes=[boxes.tolist()], return_tensors="pt")
    with torch.no_grad():
        output = finder.segmenter.model(
            pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float()
        )
    genuine = processor.post_process_masks(
        output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
    )[0]
    best = output.iou_scores[0].argmax(dim=1)
    for place, mask in enumerate(finder.segmenter(image, boxes)):
        assert torch.equal(mask, genuine[place, best[place]])


def test_an_empty_mask_never_wins_and_three_of_them_leave_the_box(
    detector_folder, segmenter_folder, caplog
):
    segmenter = load_grounded_sam(str(detector_folder), str(segmenter_folder)).segmenter
    image, box = item("a").image, torch.tensor([[3.2, 4.0, 30.0, 40.5]])
    heads = segmenter.model.mask_decoder.output_hypernetworks_mlps  # the first is for one mask only
    before = segmenter(image, box)[0]

    def empty(head):
        with torch.no_grad():
            head.proj_out.weight.zero_()
            head.proj_out.bias.zero_()

    emptied = 0
    while torch.equal(segmenter(image, box)[0], before):  # until the winner's head is reached
        emptied += 1
        empty(heads[emptied])
    assert segmenter(image, box)[0].any()
    for head in heads:
        empty(head)
    with caplog.at_level(logging.WARNING):
        (mask,) = segmenter(image, box)
    expected = torch.zeros(56, 84, dtype=torch.bool)
    expected[4:41, 3:30] = True
    assert torch.equal(mask, expected)
    assert "the box itself" in caplog.text
    for point, pixel in (((84, 56), [55, 83]), ((10, 20), [20, 10])):
        (mask,) = segmenter(image, torch.tensor([[*point, *point]], dtype=torch.float32))
        assert mask.nonzero().tolist() == [pixel]


def test_what_does_not_fit_is_refused(tmp_path, detector_folder, segmenter_folder):
    detector, segmenter = str(detector_folder), str(segmenter_folder)
    with pytest.raises(FileNotFoundError, match="model folder not found"):
        load_grounded_sam(str(tmp_path / "none"), segmenter)
    with pytest.raises(ValueError, match="holds a 'sam' model, expected grounding-dino"):
        load_grounded_sam(segmenter, segmenter)
    with pytest.raises(ValueError, match="expected sam"):
        load_grounded_sam(detector, detector)
    for name in ("box_threshold", "text_threshold"):
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\), got 35"):
            load_grounded_sam(detector, segmenter, **{name: 35})
    swapped = BERT_IDS | {"[CLS]": 102, "[SEP]": 101}
    other = save_detector(tmp_path / "swapped", vocabulary=swapped)
    assert AutoTokenizer.from_pretrained(other).cls_token_id == 102
    with pytest.raises(ValueError, match="must have ids"):
        load_grounded_sam(str(other), segmenter)


def test_only_safetensors_are_opened(tmp_path):
    folder = save_clip(tmp_path)
    assert isinstance(open_published(str(folder), {"clip": CLIPModel})[0], CLIPModel)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pickled weights are not loaded"):
        open_published(str(folder), {"clip": CLIPModel})
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        open_published(str(folder), DETECTORS)
