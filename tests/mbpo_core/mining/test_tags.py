import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from mbpo_core.mining.protocol import MineItem
from mbpo_core.mining.tags import LabelTagger, NounTagger
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.testbed.questions import caption
from mbpo_core.testbed.world import scenes

TINY = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
LABELS = ("banana", "cloud", "fish", "traffic light", "wall")


def item(chosen="", image=None):
    image = torch.zeros(3, 28, 28, dtype=torch.uint8) if image is None else image
    return MineItem(PromptedResponse("s", [], [], image), "Describe the image.", chosen)


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(3)
    sizes = ((28, 56), (56, 28), (42, 42), (28, 28), (84, 84))
    return [torch.randint(0, 256, (3, *s), dtype=torch.uint8, generator=generator) for s in sizes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random vision transformer of the genuine class, as a checkpoint."""
    path = tmp_path_factory.mktemp("tagger")
    torch.manual_seed(0)
    labels = dict(enumerate(LABELS))
    config = ViTConfig(**TINY, id2label=labels, problem_type="multi_label_classification")
    model = ViTForImageClassification(config)
    nn.init.normal_(model.classifier.weight, std=4)  # else all probabilities are close to a half
    model.save_pretrained(path)
    ViTImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(path)
    return path


def test_nouns_are_the_objects_of_a_caption():
    for scene in scenes("pool", 30):
        assert NounTagger()([item(caption(scene))]) == [[found.kind for found in scene.objects]]


def test_nouns_have_no_repeats_colors_places_or_words_about_pictures():
    text = (
        "The image shows two red cups. The cups are on the left side, near a traffic light. "
        "The background is blue, and the blue cup is in the center of the picture."
    )
    assert NounTagger()([item(text), item("There are two objects."), item("")]) == [
        ["cup", "traffic light"],
        [],
        [],
    ]
    assert NounTagger(limit=1)([item(text)]) == [["cup"]]


def test_labels_are_those_whose_sigmoid_reaches_the_threshold(folder, images):
    tagger = LabelTagger.load(folder, threshold=0.05)
    found = tagger([item(image=image) for image in images])
    assert any(0 < len(tags) < len(LABELS) for tags in found) and max(map(len, found)) > 1
    model = ViTForImageClassification.from_pretrained(folder).eval()
    processor = ViTImageProcessorPil.from_pretrained(folder)
    for image, tags in zip(images, found, strict=True):
        pixels = processor(images=image, return_tensors="pt").pixel_values
        with torch.no_grad():
            chances = (1 / (1 + (-model(pixels).logits[0]).exp())).tolist()
        expected = [pair for pair in zip(chances, LABELS, strict=True) if pair[0] >= 0.05]
        assert tags == [label for _, label in sorted(expected, reverse=True)]


def test_tags_do_not_depend_on_batches_and_repeat(folder, images):
    items = [item(image=image) for image in images]
    whole = LabelTagger.load(folder, batch=99)(items)
    assert len({tuple(tags) for tags in whole}) > 1  # the images do tell
    assert LabelTagger.load(folder, batch=2)(items) == whole
    assert LabelTagger.load(folder, batch=1)(items) == whole
    assert LabelTagger.load(folder)([]) == []


def test_a_higher_threshold_keeps_a_beginning_of_the_tags(folder, images):
    items = [item(image=image) for image in images]
    low, high = (LabelTagger.load(folder, threshold=t)(items) for t in (0.3, 0.7))
    assert sum(map(len, low)) > sum(map(len, high)) > 0
    assert all(more[: len(few)] == few for more, few in zip(low, high, strict=True))


def test_what_cannot_tag_is_refused(folder, tmp_path):
    tagger = LabelTagger.load(folder)
    for bad in ({"threshold": 0.0}, {"threshold": 1.0}, {"batch": 0}):
        with pytest.raises(ValueError, match="expected a threshold"):
            LabelTagger(tagger.model, tagger.processor, **bad)
    with pytest.raises(FileNotFoundError, match="tagger folder not found"):
        LabelTagger.load(tmp_path / "absent")
    single = ViTForImageClassification(ViTConfig(**TINY, problem_type=None))
    with pytest.raises(ValueError, match="needs a classifier with problem_type"):
        LabelTagger(single, tagger.processor)
