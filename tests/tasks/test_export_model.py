"""A checkpoint leaves the store: transformers opens it, and its weights are the trained ones."""

import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    Qwen2VLForConditionalGeneration,
)

from mbpo_core.models.preprocessing import ImageConfig, patchify, to_unit
from mbpo_core.recipes import load_recipe
from storage.files import sha256_file
from storage.manifest import FileInfo
from storage.store import DamagedArtifact
from tasks.export_model import write_model
from tasks.models import EMBEDDED
from tasks.pipeline import Choice
from tasks.plan import plan
from tasks.rows import pixels
from tests.pipelines import rows, run, runtime, small_recipe
from tests.storage.test_store_reading import flip
from tests.tasks.reopened import compare_reopened, exported, trained


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory):
    target = tmp_path_factory.mktemp("export") / "model"
    made = exported(finished[0], target)
    assert made.format == "transformers" and made.path == target
    assert made.files == sum(path.is_file() for path in target.rglob("*"))
    return target


def test_transformers_opens_it_and_answers_as_the_trained_policy(finished, folder):
    model = compare_reopened(finished[0], folder)
    assert type(model) is Qwen2VLForConditionalGeneration


def test_the_processor_prepares_images_as_training_did(finished, folder):
    vision = AutoImageProcessor.from_pretrained(folder)
    config = ImageConfig.from_folder(folder)
    assert config == ImageConfig.from_folder(trained(finished[0]) / "model")
    image = pixels(rows(finished[0], "ingest", "samples")[0]["image"])
    found = vision(images=[image], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, patchify(to_unit(image), config), rtol=0, atol=1e-6)
    written = json.loads((folder / "preprocessor_config.json").read_text())
    assert written["processor_class"] == "Qwen2VLProcessor"
    assert AutoTokenizer.from_pretrained(folder).chat_template
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"]


def test_the_card_says_what_was_measured_and_how_to_make_it_again(finished, folder):
    root, recipe, made = finished
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.license) == ("transformers", None)
    text = card.text
    metrics = rows(root, "evaluate", "metrics")
    row = next(r for r in metrics if r["metric"] == "accuracy" and r["kind"] == "all")
    figures = {r["model"]: f"{r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in metrics
               if (r["benchmark"], r["metric"], r["kind"])
               == (row["benchmark"], row["metric"], row["kind"])}  # fmt: skip
    assert (f"| {row['benchmark']} | accuracy | all | {row['n']} | {figures['base']} | "
            f"{figures['trained']} | more |") in text  # fmt: skip
    for stage in ("ingest", "mine", "pair", "train"):
        assert made[stage].ref.short in text
    assert "not robust against attacks" in text and "mbpo run recipe.json" in text
    steps = {row.stage: row.state for row in plan(load_recipe(str(folder / "recipe.json")),
                                                  runtime(root))}  # fmt: skip
    assert set(steps.values()) == {"hit"}
    assert load_recipe(str(folder / "recipe.json")) == recipe


def test_weights_in_another_type(finished, folder, tmp_path):
    exported(finished[0], tmp_path / "half", "evaluate", format="transformers", dtype="bfloat16")
    half = AutoModelForImageTextToText.from_pretrained(tmp_path / "half", dtype="auto")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    whole = load_file(folder / "model.safetensors")
    for name, tensor in load_file(tmp_path / "half" / "model.safetensors").items():
        assert torch.equal(tensor, whole[name].to(torch.bfloat16)), name
    assert "weights in bfloat16" in (tmp_path / "half" / "README.md").read_text()
    config = json.loads((tmp_path / "half" / "config.json").read_text())
    assert yaml.safe_load(json.dumps(config))["dtype"] == "bfloat16"


# Peft asks transformers by a name that is deprecated.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_adapters_are_merged_as_peft_merges_them(finished, tmp_path):
    root = shutil.copytree(finished[0], tmp_path / "store")
    recipe = small_recipe(train__lora={"rank": 2, "alpha": 8}, train__learning_rate=0.01)
    run(recipe, runtime(root, runner="local"), Choice(only=("train",)))
    exported(root, tmp_path / "model")
    base = AutoModelForImageTextToText.from_pretrained(EMBEDDED)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    merged = PeftModel.from_pretrained(base, trained(root) / "adapter").merge_and_unload()
    ours = AutoModelForImageTextToText.from_pretrained(tmp_path / "model").state_dict()
    theirs = merged.state_dict()
    assert ours.keys() == theirs.keys()
    moved = [name for name in ours if not torch.equal(ours[name], before[name])]
    assert moved and all(".language_model." in name for name in moved)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-6)
    assert "adapters merged" in (tmp_path / "model" / "README.md").read_text()


def test_what_cannot_be_exported_says_what_can(finished, tmp_path):
    root, target = finished[0], tmp_path / "out"
    with pytest.raises(ValueError, match=r"holds tables and no checkpoint.*mbpo export train"):
        exported(root, target, "mine", format="transformers")
    with pytest.raises(ValueError, match="unknown format 'gguf'; there are transformers, datasets"):
        exported(root, target, format="gguf")
    with pytest.raises(ValueError, match="dtype is for"):
        exported(root, target, "mine", dtype="float16")
    with pytest.raises(ValueError, match="was not made from any pair"):
        exported(root, target, "mine", format="trl")
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights_do_not_leave_the_store(finished, tmp_path):
    root = shutil.copytree(finished[0], tmp_path / "store")
    flip(trained(root) / "model" / "model.safetensors", 100_000)
    for dtype in (None, "float16"):
        with pytest.raises(DamagedArtifact, match="mbpo doctor --repair"):
            exported(root, tmp_path / "model", dtype=dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_weights_in_several_files_are_cast_one_by_one(tmp_path):
    model = AutoModelForImageTextToText.from_pretrained(EMBEDDED)
    whole = shutil.copytree(EMBEDDED, tmp_path / "files" / "model")
    (whole / "model.safetensors").unlink()
    model.save_pretrained(whole, max_shard_size="2MB")
    files = [FileInfo(f"model/{path.name}", path.stat().st_size, sha256_file(path))
             for path in sorted(whole.iterdir())]  # fmt: skip
    (tmp_path / "half").mkdir()
    told = []
    write_model(files, tmp_path / "files", tmp_path / "half", "float16", told.append)
    assert sum(told) == sum(file.bytes for file in files)
    assert len(list((tmp_path / "half").glob("*.safetensors"))) > 1
    half = AutoModelForImageTextToText.from_pretrained(tmp_path / "half", dtype="auto")
    for name, tensor in model.state_dict().items():
        assert torch.equal(half.state_dict()[name], tensor.to(torch.float16)), name
    index = json.loads((tmp_path / "half" / "model.safetensors.index.json").read_text())
    sizes = [tensor.nbytes for shard in set(index["weight_map"].values())
             for tensor in load_file(tmp_path / "half" / shard).values()]  # fmt: skip
    assert index["metadata"]["total_size"] == sum(sizes)
