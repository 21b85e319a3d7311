"""Pairs leave the store: TRL prepares them, and our own reader finds the same samples again."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from datasets import load_dataset
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2VLProcessor

from mbpo_core.data.images import ImagePolicy
from mbpo_core.data.samples import read_samples
from mbpo_core.models.loading import load_policy
from tasks.models import EMBEDDED
from tasks.sources import load_records
from tests.pipelines import rows
from tests.tasks.reopened import exported
from tests.tasks.test_gallery import pixels_of

trl = pytest.importorskip("trl", reason="trl is a test dependency: pip install -e '.[test]'")


def usable(root):
    """What training uses of the store: texts and images of every offline pair, by group."""
    clean = {row["sample_id"]: row for row in rows(root, "ingest", "samples")}
    mined = {row["sample_id"]: row for row in rows(root, "mine", "negatives")}
    found = {}
    for group in rows(root, "pair", "groups"):
        if group["stream"] == "offline" and group["reason"] is None:
            texts = {one["role"]: one["text"] for one in group["candidates"]}
            name = group["sample_id"]
            found[group["group_id"]] = (
                (group["question"], texts["chosen"], texts["rejected"]),
                pixels_of(clean[name]["image"]),
                pixels_of(mined[name]["image"]),
            )
    assert found
    return found


@pytest.fixture(scope="module")
def pairs(finished):
    return usable(finished[0])


@pytest.fixture(scope="module")
def trl_folder(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trl") / "pairs"
    made = exported(finished[0], folder, "pair", format="trl", with_negatives=True)
    groups = rows(finished[0], "pair", "groups")
    assert made.rows["pairs"] + sum(made.left_out.values()) == len(groups)
    online = Counter(group["stream"] for group in groups)["online"]
    assert made.left_out["online_prompt"] == online
    assert f"{online} online_prompt" in (folder / "README.md").read_text()
    return folder


@pytest.fixture
def dataset(trl_folder, tmp_path):
    return load_dataset(str(trl_folder), split="train", cache_dir=str(tmp_path / "cache"))


def test_both_responses_stand_with_the_clean_image_and_the_negative_one_apart(dataset, pairs):
    assert {row["group_id"] for row in dataset} == pairs.keys()
    for row in dataset:
        texts, clean, negative = pairs[row["group_id"]]
        asked = row["prompt"][0]["content"]
        assert [part["type"] for part in asked] == ["image", "text"]
        answers = [row[key][0]["content"][0]["text"] for key in ("chosen", "rejected")]
        assert (asked[1]["text"], *answers) == texts
        assert (np.asarray(row["images"][0]) == clean).all()
        assert (np.asarray(row["rejected_images"][0]) == negative).all()
        assert (clean != negative).any()


def test_large_sets_are_several_files(finished, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.export_trl.BYTES_PER_FILE", 1)
    monkeypatch.setattr("tasks.export_trl.ROWS_AT_ONCE", 1)
    exported(finished[0], tmp_path / "out", "pair", format="trl")
    assert len(list((tmp_path / "out" / "data" / "pairs").iterdir())) == len(pairs) > 1
    found = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["group_id"] for row in found] == list(pairs)
    assert "rejected_images" not in found.column_names


class Processor(Qwen2VLProcessor):
    """The genuine one without videos: its video part cannot be loaded without torchvision."""

    def check_argument_for_proper_class(self, argument_name, argument):
        if argument_name != "video_processor":
            return super().check_argument_for_proper_class(argument_name, argument)
        return None


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_the_trainer_of_trl_makes_the_tokens_and_pixels_that_we_train_on(dataset, pairs, tmp_path):
    policy = load_policy(str(EMBEDDED))
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    processor = Processor(
        AutoImageProcessor.from_pretrained(EMBEDDED), tokenizer,
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    count = len(dataset)
    settings = trl.DPOConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=count, report_to=[], use_cpu=True,
        bf16=False, activation_checkpointing=False, disable_tqdm=True, max_length=None,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        model=policy.model, args=settings, train_dataset=dataset, processing_class=processor
    )
    batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
    for index, row in enumerate(dataset):
        (question, *answers), clean, _ = pairs[row["group_id"]]
        prompt = list(policy.prompt_ids(question, *clean.shape[:2]))
        for place, answer in zip((index, count + index), answers, strict=True):
            ids = batch["input_ids"][place][batch["attention_mask"][place].bool()].tolist()
            response = list(policy.response_ids(answer))
            assert ids[: len(prompt + response)] == prompt + response
            assert tokenizer.decode(ids[len(prompt + response) :]).strip() == ""
    batch = trainer.data_collator([dict(trainer.train_dataset[0])])
    loss = trainer._compute_loss(trainer.model, batch, False)
    assert torch.isfinite(loss)


def read_again(source, recipe):
    """The source as `ingest` reads it under the recipe's policy for images."""
    config = recipe.ingest
    policy = ImagePolicy(factor=28, min_pixels=config.min_pixels, max_pixels=config.max_pixels,
                         max_source_pixels=config.max_source_pixels)  # fmt: skip
    records = load_records(source)
    folder = source if source.is_dir() else source.parent
    return read_samples(records, range(len(records)), image_root=folder, policy=policy,
                        long_yes_no=False)  # fmt: skip


@pytest.mark.parametrize("format", ["trl", "llamafactory"])
def test_our_own_reader_finds_the_same_samples_again(finished, pairs, tmp_path, format):
    root, recipe, _ = finished
    exported(root, tmp_path / "out", "evaluate", format=format)
    source = tmp_path / "out" / ("data" if format == "trl" else "mbpo_pairs.json")
    samples = read_again(source, recipe)
    assert [sample.reason for sample in samples] == [None] * len(pairs)
    found = sorted((s.question, s.response, s.rejected, s.image_id) for s in samples)
    stored = {row["group_id"]: row["image_id"] for row in rows(root, "pair", "groups")}
    assert found == sorted((*texts, stored[name]) for name, (texts, _, _) in pairs.items())


def test_llamafactory_finds_list_roles_places_and_files(finished, pairs, tmp_path):
    """As its converter and its plug-in for images ask: one `<image>` for every image, and so on."""
    folder = tmp_path / "out"
    exported(finished[0], folder, "pair", format="llamafactory", with_negatives=True)
    ((name, described),) = json.loads((folder / "dataset_info.json").read_text()).items()
    assert f"dataset: {name}" in (folder / "README.md").read_text()
    assert (described["formatting"], described["ranking"]) == ("sharegpt", True)
    columns = described["columns"]
    records = json.loads((folder / described["file_name"]).read_text())
    assert {record["id"] for record in records} == pairs.keys()
    for record in records:
        texts, clean, negative = pairs[record["id"]]
        (asked,) = record[columns["messages"]]
        better, worse = record[columns["chosen"]], record[columns["rejected"]]
        assert (asked["from"], better["from"], worse["from"]) == ("human", "gpt", "gpt")
        assert (asked["value"], better["value"], worse["value"]) == (
            f"<image>\n{texts[0]}", *texts[1:])  # fmt: skip
        for key, pixels in ((columns["images"], clean), ("rejected_images", negative)):
            (path,) = record[key]
            assert (np.asarray(Image.open(folder / path)) == pixels).all()
