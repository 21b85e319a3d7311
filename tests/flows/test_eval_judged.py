"""Judged benchmarks as a user runs them, against a real server that plays the judge."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from storage.store import ArtifactStore
from tests.chat_server import Script, completion
from tests.pipelines import rows

N = 6
KEY = "sk-not-to-be-found-anywhere"


@pytest.fixture
def files(tmp_path):
    """Synthetic MM-Vet questions and answers."""
    questions = {
        f"v1_{i}": {"imagename": f"v1_{i}.png", "question": f"How many, {i}?", "answer": str(i),
                    "capability": ["rec", "math"] if i % 2 else ["ocr"]}
        for i in range(N)
    }  # fmt: skip
    (tmp_path / "mm-vet.json").write_text(json.dumps(questions))
    answers = {name: f"answer number {name[3:]}" for name in questions}
    (tmp_path / "model.json").write_text(json.dumps(answers))
    return tmp_path


def evaluate(files, url, *words):
    words = ("eval", "responses", files / "model.json", "-b", f"mm_vet={files}/mm-vet.json",
             "--root", files / "store", "--judge-url", url, "--judge-model", "judge-1", *words)
    return CliRunner().invoke(
        app, [str(word) for word in words], env={"COLUMNS": "160", "JUDGE_KEY": KEY}
    )


def graded(body):
    """Grade an answer by its number: 0.0, 0.1, 0.2, ..."""
    number = int(body["messages"][-1]["content"].rpartition("answer number ")[2].split()[0])
    return 200, completion(f"0.{number}") | {"model": "judge-1-2026"}


def figures(files):
    return {(r["kind"], r["metric"]): r for r in rows(files / "store", "evaluate", "metrics")}


def test_every_answer_is_judged_once_and_who_judged_when_is_in_the_figures(files):
    with Script(to=graded) as server:
        done = evaluate(files, server.url, "--judge-key", "JUDGE_KEY")
    assert done.exit_code == 0, done.output
    assert len(server.asked) == N
    total = figures(files)["all", "score"]
    assert total["value"] == pytest.approx(100 * sum(i / 10 for i in range(N)) / N, abs=0.05)
    assert total["judge"] == "judge-1-2026" and total["judged_at"].startswith("20")
    told = rows(files / "store", "evaluate", "reviews")
    assert len(told) == N and all(row["reason"] is None and row["text"] for row in told)
    assert all(row["judge"] == "judge-1" and row["reviewed_by"] == "judge-1-2026" for row in told)
    for path in (files / "store").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_stored_reviews_are_scored_again_without_the_endpoint(files):
    with Script(to=graded) as server:
        assert evaluate(files, server.url).exit_code == 0
        asked = len(server.asked)
        done = evaluate(files, server.url, "--refresh", "evaluate")
        assert done.exit_code == 0, done.output
        assert len(server.asked) == asked
    done = evaluate(files, server.url, "--refresh", "evaluate")  # nobody listens any more
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("way", ["refresh", "retry"])
def test_what_the_judge_refused_is_counted_and_alone_asked_again(files, way):
    refusing = True

    def to(body):
        if refusing and "answer number 3" in body["messages"][-1]["content"]:
            return 400, {"error": {"message": "filtered"}}
        return graded(body)

    with Script(to=to) as server:
        done = evaluate(files, server.url)
        assert done.exit_code == 0, done.output
        found = figures(files)
        assert found["all", "unjudged"]["value"] == 1 / N and found["all", "score"]["n"] == N - 1
        assert "unjudged" in done.output
        reasons = {r["question_id"]: r["reason"] for r in rows(files / "store", "evaluate",
                                                               "predictions")}  # fmt: skip
        assert reasons["v1_3"] == "unjudged:refused:400"
        assert [reason for name, reason in reasons.items() if name != "v1_3"] == [None] * (N - 1)
        refusing, asked = False, len(server.asked)
        if way == "refresh":
            done = evaluate(files, server.url, "--refresh", "evaluate")
        else:
            words = ["retry", "--status", "unjudged", "--root", str(files / "store")]
            done = CliRunner().invoke(app, words, env={"JUDGE_KEY": KEY})
        assert done.exit_code == 0, done.output
        assert len(server.asked) == asked + 1
    assert figures(files)["all", "unjudged"]["value"] == 0
    assert figures(files)["all", "score"]["n"] == N


def test_an_endpoint_that_is_not_there_leaves_nothing_and_the_next_run_goes_on(files):
    with Script(to=graded) as server:
        url = server.url
    done = evaluate(files, url, "--judge-attempts", 1)
    assert done.exit_code == 1 and url in done.output.replace("\n", ""), done.output
    store = ArtifactStore(files / "store")
    assert store.refs("answer") and not store.refs("evaluate")
    with Script(to=graded) as server:
        assert evaluate(files, server.url).exit_code == 0
    assert figures(files)["all", "score"]["n"] == N


def test_what_was_heard_before_a_kill_is_not_asked_again(files, monkeypatch):
    heard = 0

    def to(body):
        nonlocal heard
        heard += 1
        return graded(body)

    from tasks import evaluate as stage

    with Script(to=to) as server:
        with monkeypatch.context() as patch:
            patch.setattr(stage, "_row", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
            assert evaluate(files, server.url).exit_code != 0
        assert heard == N and not ArtifactStore(files / "store").refs("evaluate")
        assert evaluate(files, server.url).exit_code == 0
    assert heard == N


def test_a_checkpoints_answers_are_judged_in_the_worker_with_the_key_of_the_shell(files):
    for i in range(N):
        Image.new("RGB", (56, 56), (40 * i, 80, 90)).save(files / f"v1_{i}.png")
    words = ("eval", "model", "embedded", "-b", f"mm_vet={files}/mm-vet.json", "--image-root",
             files, "--root", files / "store", "--max-new-tokens", 4, "--workers", 1,
             "--judge-model", "judge-1", "--judge-key", "JUDGE_KEY", "--judge-attempts", 1)
    with Script(to=lambda body: (200, completion("0.5"))) as server:
        said = [str(word) for word in (*words, "--judge-url", server.url)]
        done = CliRunner().invoke(app, said, env={"COLUMNS": "160", "JUDGE_KEY": KEY})
    assert done.exit_code == 0, done.output
    assert len(server.asked) == N
    assert all(headers["Authorization"] == f"Bearer {KEY}" for _, headers, _ in server.asked)
    assert figures(files)["all", "score"]["value"] == 50.0
    said = [str(word) for word in (*words, "--judge-url", server.url, "--name", "other")]
    done = CliRunner().invoke(app, said, env={"COLUMNS": "160", "JUDGE_KEY": KEY})
    assert done.exit_code == 0, done.output  # equal answers are known, though nobody listens
    said = [*said, "--max-new-tokens", "3"]
    done = CliRunner().invoke(app, said, env={"COLUMNS": "160", "JUDGE_KEY": KEY})
    assert done.exit_code == 1 and "cannot be reached" in " ".join(done.output.split())
    assert KEY not in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "mm_vet needs a judge"),
        (("--judge-url", "http://host/v1"), "give --judge-url and --judge-model"),
        (("--judge-url", "http://u:p@host/v1", "--judge-model", "m"), "without user and password"),
        (("--reviews", "r.json", "--judge-model", "m"), "not both"),
        (("--reviews", "nowhere.json"), "nowhere.json"),
    ],
)
def test_a_judge_that_makes_no_sense_is_refused(files, words, message):
    words = ("eval", "responses", files / "model.json", "-b", f"mm_vet={files}/mm-vet.json",
             "--root", files / "store", *words)
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "160"})
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
