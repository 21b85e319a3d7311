"""The committed model: what it is, and that its committed measurement holds."""

import json
from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import mbpo_core.testbed
from mbpo_core.testbed.language import train_tokenizer
from mbpo_core.testbed.measure import N_SCENES, Examinee, measure_flavour
from mbpo_core.testbed.questions import CLOSED_KINDS, QUESTION_KINDS
from mbpo_core.testbed.scenes import IMAGE_SIZE, draw, make_scene
from mbpo_core.testbed.world import ONLINE_KINDS

MODEL = Path(mbpo_core.testbed.__file__).parent / "model"
SPLITS = ("dev", "test")
RECHECKED_SCENES = 40


@cache
def measurement():
    return json.loads((MODEL / "measurement.json").read_text(encoding="utf-8"))


def share(split, flavour, kind):
    return measurement()["splits"][split][flavour]["accuracy"][kind]["share"]


def test_loads_in_the_genuine_classes():
    model = Qwen2VLForConditionalGeneration.from_pretrained(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    processor = Qwen2VLImageProcessorPil.from_pretrained(MODEL)
    assert model.num_parameters() < 3_000_000
    assert model.num_parameters() == measurement()["parameters"]
    assert model.config.text_config.vocab_size == len(tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == train_tokenizer().backend_tokenizer.to_str()
    assert tokenizer.convert_ids_to_tokens(model.generation_config.eos_token_id) == [
        "<|im_end|>",
        "<|endoftext|>",
    ]
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    image = draw(make_scene("test", 0, typical_share=1.0))
    grid = processor(images=[image], return_tensors="pt").image_grid_thw
    assert grid.tolist() == [[1, IMAGE_SIZE // 14, IMAGE_SIZE // 14]]


def test_folder_is_small():
    files = [path for path in MODEL.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12 * 2**20
    assert (MODEL / "training_log.jsonl") in files


@pytest.mark.parametrize("split", SPLITS)
def test_measured_imbalance_of_color(split):
    assert share(split, "consistent", "color") >= 0.95
    assert 0.35 <= share(split, "counter", "color") <= 0.75


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", CLOSED_KINDS)
def test_measured_imbalance_of_closed_kinds(split, kind):
    if kind not in ONLINE_KINDS:
        assert kind in measurement()["left_out_of_online"]
        return
    least = 0.9 if kind == "existence" else 0.8
    assert share(split, "consistent", kind) >= least
    assert share(split, "counter", kind) < share(split, "consistent", kind)


@pytest.mark.parametrize("split", SPLITS)
def test_captions_hallucinate_where_the_prior_is_broken(split):
    flavours = measurement()["splits"][split]
    assert flavours["consistent"]["chair_i"]["share"] <= 0.05
    assert flavours["counter"]["chair_i"]["share"] >= 0.2
    assert flavours["counter"]["chair_s"]["share"] >= flavours["counter"]["chair_i"]["share"]


def test_every_kind_was_measured_on_every_set():
    for split in SPLITS:
        for flavour in ("consistent", "counter"):
            found = measurement()["splits"][split][flavour]
            assert {kind: value["n"] for kind, value in found["accuracy"].items()} == dict.fromkeys(
                QUESTION_KINDS, N_SCENES
            )


def test_preference_training_finds_something_to_learn():
    pool = measurement()["pool"]
    for kind in ("describe", "color"):
        assert pool["iig_mean"][kind]["mean"] > 0
        assert pool["iig_mean"][kind]["std"] > 0
    for kind in ONLINE_KINDS:
        assert pool["sampled"][kind]["mixed_groups"] > 0.1


@pytest.mark.parametrize("flavour", ["consistent", "counter"])
def test_the_model_still_does_what_was_measured(flavour):
    # Other scenes than those measured (another seed): agreement within four standard errors of the
    # difference of two shares, with Laplace's share so that 0 and 1 have an error too.
    again = measure_flavour(Examinee(MODEL), "dev", flavour, RECHECKED_SCENES, seed=1)
    for kind in QUESTION_KINDS:
        committed = share("dev", flavour, kind)
        p = (committed * N_SCENES + 1) / (N_SCENES + 2)
        error = (p * (1 - p) * (1 / N_SCENES + 1 / RECHECKED_SCENES)) ** 0.5
        assert again["accuracy"][kind]["share"] == pytest.approx(committed, abs=4 * error + 0.01)
