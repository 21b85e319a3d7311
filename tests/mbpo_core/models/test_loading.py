import json
import shutil

import pytest
import torch

from mbpo_core.models.loading import load_policy, model_fingerprint, save_policy
from mbpo_core.models.preprocessing import to_units

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tiny_policy, tmp_path):
    save_policy(tiny_policy, tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_policy_scores_the_same(tiny_policy, tiny_rows, folder):
    loaded = load_policy(str(folder))
    arguments = (
        [row.prompt for row in tiny_rows],
        [row.response for row in tiny_rows],
        to_units([row.image for row in tiny_rows]),
    )
    pairs = zip(tiny_policy.token_logps(*arguments), loaded.token_logps(*arguments), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert loaded.prompt_ids("How many?", 56, 56) == tiny_policy.prompt_ids("How many?", 56, 56)
    assert (loaded.eos_ids, loaded.image_config) == (tiny_policy.eos_ids, tiny_policy.image_config)
    assert not loaded.model.training


def test_dtype_and_length_are_as_asked(folder):
    loaded = load_policy(str(folder), dtype="bfloat16", attn="eager", max_length=100)
    assert loaded.dtype == torch.bfloat16
    assert loaded.max_length == 100
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16"):
        load_policy(str(folder), dtype="int8")


def test_chat_template_in_a_file_of_its_own(tiny_policy, folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(FileNotFoundError, match="no chat template"):
        load_policy(str(folder))
    separate = {"chat_template": tiny_policy.tokenizer.chat_template}
    (folder / "chat_template.json").write_text(json.dumps(separate))
    assert load_policy(str(folder)).prompt_ids("a", 56, 56) == tiny_policy.prompt_ids("a", 56, 56)


def test_what_is_missing_or_wrong_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="model folder not found: nowhere; expected"):
        load_policy("nowhere")
    with pytest.raises(FileNotFoundError, match="a hub id needs its revision"):
        load_policy("someone/some-model")
    with pytest.raises(ValueError, match=r"pinned to a commit of 40 .* got 'main'"):
        load_policy("someone/some-model", revision="main")
    with pytest.raises(ValueError, match="a revision belongs to a hub id"):
        load_policy(str(folder), revision=COMMIT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        load_policy(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("removed", "message"),
    [("tokenizer.json", "no tokenizer"), ("preprocessor_config.json", "preprocessor_config.json")],
)
def test_missing_files_are_named(folder, removed, message):
    (folder / removed).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load_policy(str(folder))


def test_another_architecture_is_refused(folder):
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'llama' model, expected qwen2_vl or qwen2_5_vl"):
        load_policy(str(folder))


def test_fingerprint_is_of_the_content_and_not_of_the_place(folder, tmp_path):
    first = model_fingerprint(str(folder))
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "notes.txt").write_text("not part of the model")
    assert model_fingerprint(str(tmp_path / "copy")) == first
    weights = tmp_path / "copy" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert model_fingerprint(str(tmp_path / "copy")) != first


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "preprocessor_config.json"])
def test_fingerprint_covers_every_file_that_changes_numbers(folder, name):
    first = model_fingerprint(str(folder))
    (folder / name).write_text((folder / name).read_text() + " ")
    assert model_fingerprint(str(folder)) != first


def test_fingerprint_of_a_hub_id_is_its_commit(tmp_path):
    assert model_fingerprint("someone/some-model", COMMIT) == f"someone/some-model@{COMMIT}"
    with pytest.raises(ValueError, match="pinned"):
        model_fingerprint("someone/some-model", "v1")
    with pytest.raises(FileNotFoundError, match="no model in"):
        model_fingerprint(str(tmp_path))


def test_a_wrapped_model_is_not_saved(tiny_policy, tmp_path):
    tiny_policy.model = torch.nn.DataParallel(tiny_policy.model)
    with pytest.raises(ValueError, match="cannot save a wrapped model"):
        save_policy(tiny_policy, tmp_path)
