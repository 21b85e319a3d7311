"""`mbpo try` says what the stored answers say, and refuses what the stages refuse."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from storage.store import ArtifactStore
from tasks.trying import tried
from tests.pipelines import rows

TOKENS = 16
"""Of `SMALL`."""


@pytest.fixture
def asked(finished):
    """Root, and of two questions of one picture: texts, its bytes, and the stored answers."""
    root = finished[0]
    questions = rows(root, "ask", "questions")
    first = questions[0]
    both = [each for each in questions if each["image_id"] == first["image_id"]
            and each["benchmark"] == first["benchmark"]][:2]  # fmt: skip
    image = next(each["image"]["bytes"] for each in rows(root, "ask", "question_images")
                 if each["image_id"] == first["image_id"])  # fmt: skip
    stored = {(each["model"], each["asked_id"]): each for each in rows(root, "answer", "answers")}
    return root, both, image, stored


def test_it_answers_as_the_run_did(asked):
    root, questions, image, stored = asked
    store = ArtifactStore(root)
    found = tried(store, store.resolve("train"), image, [each["prompt"] for each in questions],
                  "cpu", tokens=TOKENS)  # fmt: skip
    for question, answers in zip(questions, found, strict=True):
        assert [(each.model, each.shown) for each in answers] == [
            ("base", "image"), ("base", "blank"), ("trained", "image"), ("trained", "blank")
        ]  # fmt: skip
        for each in answers:
            if each.shown == "image":
                known = stored[each.model, question["asked_id"]]
                assert (each.text, each.finished) == (known["response"], known["finished"])


def test_the_command_prints_the_same_as_a_table_and_as_json(asked, tmp_path):
    root, questions, image, _ = asked
    (tmp_path / "it.png").write_bytes(image)
    words = ["try", "train", str(tmp_path / "it.png"), questions[0]["prompt"], "--tokens",
             str(TOKENS), "--root", str(root), "--device", "cpu"]  # fmt: skip
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert found["question"] == questions[0]["prompt"] and len(found["answers"]) == 4
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0 and all(each["text"] in done.output for each in found["answers"])


@pytest.mark.parametrize(
    ("ref", "content", "question", "said"),
    [
        ("mine", None, "What?", "is no checkpoint; `mbpo ls train`"),
        ("train", b"no image", "What?", "the image cannot be used, "),
        ("train", None, "<|image_pad|>?", "special token"),
    ],
)
def test_what_cannot_be_asked_is_said(asked, tmp_path, ref, content, question, said):
    root, _, image, _ = asked
    (tmp_path / "it.png").write_bytes(content or image)
    done = CliRunner().invoke(
        app, ["try", ref, str(tmp_path / "it.png"), question, "--root", str(root),
              "--device", "cpu"],
    )  # fmt: skip
    assert done.exit_code == 2 and said in " ".join(done.output.split()), done.output
