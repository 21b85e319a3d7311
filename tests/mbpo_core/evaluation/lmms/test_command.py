import json
import shlex

import pytest

from mbpo_core.evaluation.lmms.command import OFFLINE, START_MODULE, Command, build
from tests.mbpo_core.evaluation.lmms.checkpoints import MAX_PIXELS, MIN_PIXELS, checkpoint


def options(argv):
    """Values of the command's options; those without a value are True."""
    words = list(argv)
    return {
        word: True if after.startswith("--") else after
        for word, after in zip(words, [*words[1:], "--"], strict=True)
        if word.startswith("--")
    }


def model_args(command):
    return dict(pair.split("=") for pair in options(command.argv)["--model_args"].split(","))


@pytest.mark.parametrize("architecture", ["qwen2_vl", "qwen2_5_vl"])
def test_a_gpu_gets_the_plain_command_with_the_checkpoints_own_limits(tmp_path, architecture):
    folder = checkpoint(tmp_path / "c", architecture)
    made = build(folder, ["pope", "mme"], tmp_path / "out", python="py")
    assert made.argv[:3] == ("py", "-m", "lmms_eval") and made.environment == {}
    given = options(made.argv)
    assert given["--model"] == architecture and given["--tasks"] == "pope,mme"
    assert given["--batch_size"] == "1" and given["--log_samples"] is True
    assert given["--output_path"] == str(tmp_path / "out") and given["--device"] == "cuda"
    assert not {"--limit", "--include_path"} & set(given)
    assert given["--timezone"] == "UTC"  # else dates in the results are Singapore's
    assert model_args(made) == {
        "pretrained": str(folder), "device_map": "cuda",
        "min_pixels": str(MIN_PIXELS), "max_pixels": str(MAX_PIXELS),
    }  # fmt: skip


def test_the_cpu_gets_our_start_module_and_its_own_device_map(tmp_path):
    made = build(checkpoint(tmp_path / "c"), ["pope"], tmp_path / "out", device="cpu",
                 limit=5, include=tmp_path / "t", max_pixels=MIN_PIXELS)  # fmt: skip
    assert made.argv[1:3] == ("-m", START_MODULE)
    given = options(made.argv)
    assert (given["--device"], given["--limit"]) == ("cpu", "5")
    assert given["--include_path"] == str(tmp_path / "t")
    assert model_args(made)["device_map"] == "cpu"
    assert model_args(made)["max_pixels"] == str(MIN_PIXELS)
    # A second `device` would be a duplicate keyword to lmms-eval's wrapper.
    assert "device" not in model_args(made)


def test_auto_spreads_the_weights_and_names_a_device_for_the_inputs(tmp_path):
    made = build(checkpoint(tmp_path / "c"), ["pope"], tmp_path / "out", device="auto")
    assert model_args(made)["device_map"] == "auto" and options(made.argv)["--device"] == "cuda"


def test_the_printed_line_is_the_command_whatever_its_words_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = build(checkpoint(tmp_path / "c").relative_to(tmp_path), ["pope"], tmp_path / "out",
                 python="/a b/python", import_path=tmp_path / "it's", offline=True)  # fmt: skip
    variables = [f"{name}={value}" for name, value in made.environment.items()]
    assert shlex.split(made.shell()) == [*variables, *made.argv]
    assert set(made.environment) == {"PYTHONPATH", *OFFLINE}
    assert model_args(made)["pretrained"] == str(tmp_path / "c")
    assert Command(("x y",)).shell() == "'x y'"


def test_what_cannot_be_evaluated_is_refused_with_its_reason(tmp_path):
    good, out = checkpoint(tmp_path / "good"), tmp_path / "out"
    for wrong, words in [
        ({"tasks": []}, "at least one"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"max_pixels": MIN_PIXELS - 1}, f"min_pixels \\({MIN_PIXELS}\\)"),
        ({"output": tmp_path / "a,b"}, "commas"),
        ({"checkpoint": checkpoint(tmp_path / "llava", "llava")}, "'llava' model"),
        ({"checkpoint": checkpoint(tmp_path / "a=b")}, "'='"),
    ]:
        with pytest.raises(ValueError, match=words):
            build(**({"checkpoint": good, "tasks": ["pope"], "output": out} | wrong))


@pytest.mark.parametrize("text", ['{"model_type": "qwen2', "[]", json.dumps({"model_type": 1})])
def test_a_broken_config_is_an_error_that_names_the_folder(tmp_path, text):
    folder = checkpoint(tmp_path / "broken")
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match="broken"):
        build(folder, ["pope"], tmp_path / "out")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_missing_file_is_an_error_that_names_it(tmp_path, name):
    folder = checkpoint(tmp_path / "c")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        build(folder, ["pope"], tmp_path / "out")
