"""The embedded model through a real lmms-eval, offline, on the CPU."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mbpo_core.data.images import decode_png
from mbpo_core.evaluation import embedded
from mbpo_core.evaluation.lmms.interpreter import PACKAGE, inspect
from mbpo_core.evaluation.lmms.record import lmms_rows
from mbpo_core.evaluation.lmms.samples import responses
from mbpo_core.models.loading import load_policy, save_policy
from mbpo_core.models.preprocessing import ImageConfig, to_units
from mbpo_core.models.qwen_vl import QwenVL
from tests.flows.test_lmms import lmms
from tests.mbpo_core.evaluation.lmms.test_bridge import template
from tests.mbpo_core.evaluation.lmms.test_tasks import amber_files
from tests.mbpo_core.tiny_models import build_model, build_tokenizer

pytestmark = pytest.mark.slow
MODEL = PACKAGE / "testbed" / "model"
SCENES = 4


@pytest.fixture(scope="module")
def python():
    """An interpreter with lmms-eval: MBPO_LMMS_PYTHON, or this one."""
    program = os.environ.get("MBPO_LMMS_PYTHON") or sys.executable
    missing = inspect(program).missing()
    if missing is not None:
        pytest.skip(f"no lmms-eval in {program}: {missing}, or name one in MBPO_LMMS_PYTHON")
    return program


@pytest.fixture(scope="module")
def run(python, tmp_path_factory):
    """Output folder of one run with all tasks of ours."""
    folder = tmp_path_factory.mktemp("run")
    data = amber_files(folder)
    (folder / "mmhal.json").write_text(json.dumps(template(3)))
    for number in range(3):
        Image.new("RGB", (84, 56), (40 * number, 90, 90)).save(folder / f"{number}_o.jpg")
    prompts = [{"image_id": n, "image": f"{n}_o.jpg", "question": "Describe."} for n in range(2)]
    (folder / "objects.json").write_text(json.dumps(prompts))
    done = lmms(
        MODEL, "--name", "embedded", "--python", python, "--device", "cpu", "--offline",
        "--out", folder / "out", "--scenes", SCENES, "--image-root", folder,
        "--tasks", "mbpo_embedded,amber_discriminative,mmhal_bench,object_halbench",
        "--questions", f"amber_discriminative={data.questions}",
        "--questions", f"mmhal_bench={folder / 'mmhal.json'}",
        "--questions", f"object_halbench={folder / 'objects.json'}",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder / "out"


def as_jpeg(png: bytes) -> torch.Tensor:
    """The picture as lmms-eval 0.7's Qwen2-VL wrapper hands it on: JPEG of quality 85."""
    encoded = io.BytesIO()
    Image.fromarray(decode_png(png)).save(encoded, "JPEG", quality=85)
    return torch.from_numpy(np.array(Image.open(encoded))).permute(2, 0, 1)


def answered_by_us(policy, asked, pictures):
    prompts = [policy.prompt_ids(question.prompt, *picture.shape[1:])
               for question, picture in zip(asked, pictures, strict=True)]  # fmt: skip
    drawn = policy.sample(prompts, to_units(pictures), [0] * len(asked),
                          temperature=0.0, top_p=1.0, max_new_tokens=128)  # fmt: skip
    return [policy.decode(answer.ids).strip() for answer in drawn]


@pytest.mark.parametrize("flavour", ["consistent", "counter"])
def test_answers_are_those_of_our_own_evaluator_on_the_pictures_as_jpeg(run, flavour):
    """Prompt, preprocessing, decoding and scoring agree; the JPEG is all the difference."""
    world = embedded.load("test", flavour, SCENES)
    asked = world.questions
    ours = answered_by_us(load_policy(str(MODEL)), asked, [as_jpeg(q.image) for q in asked])
    (logged,) = (run / "results").rglob(f"*_samples_mbpo_embedded_{flavour}.jsonl")
    theirs = responses(logged)
    assert ours == [theirs[question.question_id] for question in asked]
    scores = [world.score(question, text) for question, text in zip(asked, ours, strict=True)]
    rows = {(row["metric"], row["kind"]): row for row in lmms_rows(run)
            if row["benchmark"] == f"lmms-eval/mbpo_embedded_{flavour}"}  # fmt: skip
    right = [score.correct for score in scores if score.correct is not None]
    assert rows["accuracy", "all"]["value"] == pytest.approx(sum(right) / len(right))
    assert rows["accuracy", "all"]["n"] == len(right) == 6 * SCENES
    said = sum(score.mentions or 0 for score in scores)
    wrong = sum(score.hallucinated or 0 for score in scores)
    assert rows["chair_i", "describe"]["value"] == pytest.approx(wrong / said)


def test_other_tasks_have_their_rows_and_their_files_for_scorers_outside(run):
    rows = {(row["benchmark"], row["kind"], row["metric"]): row for row in lmms_rows(run)}
    assert {row["lmms_eval_version"] for row in rows.values()} != {None}
    assert rows["lmms-eval/amber_discriminative", "all", "f1"]["n"] == 12
    assert rows["lmms-eval/amber_discriminative", "attribute", "f1"]["n"] == 6
    assert rows["lmms-eval/mmhal_bench", "all", "answered"]["value"] == 1.0
    mmhal = json.loads((run / "responses" / "mmhal_bench.json").read_text())
    assert [row["question"] for row in mmhal] == [row["question"] for row in template(3)]
    assert all(row["model_answer"] for row in mmhal)
    captions = (run / "responses" / "object_halbench.jsonl").read_text().splitlines()
    assert [json.loads(line)["image_id"] for line in captions] == [0, 1]
    assert len(json.loads((run / "responses" / "amber_discriminative.json").read_text())) == 12


def test_qwen2_5_vl_goes_through_its_own_wrapper(python, tmp_path: Path):
    tokenizer = build_tokenizer()
    policy = QwenVL(build_model("qwen2_5_vl", tokenizer), tokenizer, ImageConfig())
    save_policy(policy, tmp_path / "tiny")
    done = lmms(tmp_path / "tiny", "--python", python, "--device", "cpu",
                "--offline", "--out", tmp_path / "out", "--limit", 2)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "--model qwen2_5_vl" in done.output
    assert {row["n"] for row in lmms_rows(tmp_path / "out") if row["kind"] == "describe"} == {1}
