"""`mbpo eval` as a user types it, on a small benchmark of synthetic POPE questions."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.paper import columns, paper_rows
from mbpo_core.models.loading import load_policy
from storage.catalog import query
from storage.store import ArtifactStore
from tasks.models import EMBEDDED
from tests.pipelines import rows

IMAGES = 6


def mbpo(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def pope(tmp_path_factory):
    """A folder with three splits about pictures of one colour; the truth is in the object."""
    folder = tmp_path_factory.mktemp("pope")
    for image in range(IMAGES):
        Image.new("RGB", (56, 56), (40 * image, 90, 120)).save(folder / f"{image}.png")
    for split in ("random", "popular", "adversarial"):
        lines = [
            {"question_id": 2 * image + known, "image": f"{image}.png",
             "text": f"Is there a {'cup' if known else split + ' thing'} in the image?",
             "label": "yes" if known else "no"}
            for image in range(IMAGES) for known in (0, 1)
        ]  # fmt: skip
        (folder / f"coco_pope_{split}.json").write_text(
            "".join(json.dumps(line) + "\n" for line in lines)
        )
    return folder


def answers(pope, path, wrong=()):
    """Answers by split, image and text, in an order of their own; `wrong` images are missed."""
    lines = []
    for split in ("popular", "adversarial", "random"):
        for line in (pope / f"coco_pope_{split}.json").read_text().splitlines()[::-1]:
            record = json.loads(line)
            said = record["label"] if int(record["image"][0]) not in wrong else "no"
            lines.append({"split": split, "image": record["image"], "question": record["text"],
                          "response": f"{said.title()}, I think."})  # fmt: skip
    path.write_text(json.dumps(lines))
    return path


@pytest.fixture(scope="module")
def root(pope, tmp_path_factory):
    """A store with two evaluated files of answers."""
    folder = tmp_path_factory.mktemp("eval")
    for name, wrong in (("first", (0, 1, 2)), ("second", (2,))):
        file = answers(pope, folder / f"{name}.json", wrong)
        done = mbpo("eval", "responses", file, "-b", "pope", "--questions", pope,
                    "--root", folder / "store")  # fmt: skip
        assert done.exit_code == 0, done.output
    return folder / "store"


def evaluated(root):
    return [ref.short for ref, _ in ArtifactStore(root).refs("evaluate")]


def test_answers_in_any_order_are_scored_and_stored(root):
    figures = {(r["kind"], r["metric"]): r for r in rows(root, "evaluate", "metrics")}
    for split in ("random", "popular", "adversarial"):  # one of six cups was missed
        assert figures[split, "accuracy"]["value"] == 11 / 12
        assert figures[split, "precision"]["value"] == 1.0
        assert figures[split, "recall"]["value"] == 5 / 6
    assert figures["all", "accuracy"]["n"] == 6 * IMAGES
    assert figures["all", "mean_f1"]["value"] == pytest.approx(10 / 11)
    for row in figures.values():
        assert row["value"] is None or row["low"] <= row["value"] <= row["high"]


def test_the_second_time_everything_is_there(root, pope, tmp_path):
    before = evaluated(root)
    file = answers(pope, tmp_path / "second.json", (2,))  # elsewhere, with the same bytes
    done = mbpo("eval", "responses", file, "-b", f"pope={pope}", "--root", root)
    assert done.exit_code == 0 and done.output.count("hit") == 3
    assert evaluated(root) == before


def test_two_models_are_compared_question_by_question(root):
    first, second = evaluated(root)
    done = mbpo("eval", "compare", first, second, "--root", root)
    assert done.exit_code == 0, done.output
    found = {r["metric"]: r for r in rows(root, "compare", "comparisons") if r["kind"] == "all"}
    assert found["accuracy"]["difference"] == pytest.approx(6 / 36)
    assert found["accuracy"]["low"] <= 6 / 36 <= found["accuracy"]["high"]
    assert found["accuracy"]["n"] == 36
    outcomes = query(root, "select outcome, count(*) from compared_answers group by all")
    assert dict(outcomes.fetchall()) == {"win": 6, "tie": 30}
    assert "B wins" in done.output


def test_a_model_is_compared_with_itself_at_no_difference(root):
    name = evaluated(root)[0]
    assert mbpo("eval", "compare", name, f"{name}:first", "--root", root).exit_code == 0
    for row in rows(root, "compare", "comparisons"):
        assert row["verdict"] == "not shown"
        assert row["difference"] is None or row["low"] == row["difference"] == row["high"] == 0


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("evaluate:third", "evaluate"), "has no model 'third'; it has second"),
        (("answer", "evaluate"), "is of the stage answer, not of evaluate"),
        (("evaluate/ffff", "evaluate"), "evaluate/ffff"),
    ],
)
def test_what_cannot_be_compared_is_refused(root, pair, message):
    done = mbpo("eval", "compare", *pair, "--root", root)
    assert done.exit_code in (1, 2) and message in done.output


def test_a_checkpoint_answers_about_the_pictures_and_goes_on_where_it_was(pope, tmp_path):
    words = ("eval", "model", "embedded", "-b", "pope", "--questions", pope, "--root", tmp_path,
             "--max-new-tokens", 8)  # fmt: skip
    done = mbpo(*words)
    assert done.exit_code == 0, done.output
    said = rows(tmp_path, "answer", "answers")
    assert len(said) == 36 and all(row["reason"] is None and row["response"] for row in said)
    assert {row["model"] for row in said} == {"embedded"}
    again = mbpo(*words)
    assert again.exit_code == 0 and again.output.count("hit") == 3


def test_pictures_that_cannot_be_read_are_rows_with_a_reason(pope, tmp_path):
    broken = tmp_path / "images"
    broken.mkdir()
    for image in range(IMAGES - 1):
        broken.joinpath(f"{image}.png").write_bytes((pope / f"{image}.png").read_bytes())
    broken.joinpath("0.png").write_bytes(b"not a picture")
    done = mbpo("eval", "model", "embedded", "-b", "pope", "--questions", pope, "--image-root",
                broken, "--root", tmp_path / "store", "--max-new-tokens", 4,
                "--runtime", "max_failures=1")  # fmt: skip
    assert done.exit_code == 0, done.output
    reasons = [row["reason"] for row in rows(tmp_path / "store", "evaluate", "predictions")]
    assert len(reasons) == 36 and sum(reason is not None for reason in reasons) == 12
    figures = {(r["kind"], r["metric"]): r
               for r in rows(tmp_path / "store", "evaluate", "metrics")}  # fmt: skip
    assert figures["all", "unanswered"]["value"] == 12 / 36
    assert figures["all", "accuracy"]["n"] == 24
    assert "unanswered" in done.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r[:-1], "1 of 36 questions have no answer"),
        (lambda r: [*r, {**r[0], "response": "No."}, {**r[0], "response": "Yes."}],
         "different answers"),
        (lambda r: [{**x, "image": "9" + x["image"]} for x in r], "none of 36 answers belongs"),
        (lambda r: [{"question": x["question"], "response": "Yes"} for x in r],
         "does not say which question"),
        (lambda r: [{"split": x["split"], "image": x["image"]} for x in r], "none of the fields"),
        (lambda r: {"1": ["yes"]}, "neither a list of answers"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_with_the_reason(pope, tmp_path, change, message):
    file = answers(pope, tmp_path / "a.json")
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    done = mbpo("eval", "responses", file, "-b", "pope", "--questions", pope, "--root",
                tmp_path / "store")  # fmt: skip
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
    assert not ArtifactStore(tmp_path / "store").refs("answer")


def test_answers_without_ids_are_taken_in_order_only_on_demand(pope, tmp_path):
    """As POPE's own script reads them: a line a question, nothing but its text."""
    questions = pope / "coco_pope_random.json"
    own = [json.loads(line) for line in questions.read_text().splitlines()]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(
        json.dumps({"question": r["text"], "answer": r["label"]}) + "\n" for r in own))  # fmt: skip
    words = ("eval", "responses", file, "-b", f"pope={questions}", "--root", tmp_path / "store")
    assert mbpo(*words).exit_code == 2
    done = mbpo(*words, "--in-order")
    assert done.exit_code == 0, done.output
    figures = {(r["kind"], r["metric"]): r["value"]
               for r in rows(tmp_path / "store", "evaluate", "metrics")}  # fmt: skip
    assert figures["all", "accuracy"] == 1.0
    other = tmp_path / "b.jsonl"
    other.write_text("".join(file.read_text().splitlines(keepends=True)[::-1]))
    done = mbpo("eval", "responses", other, *words[3:], "--in-order")
    assert done.exit_code == 2 and "not in the order" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-b", "pape"), "unknown benchmark 'pape'; there are pope"),
        (("-b", "pope"), "pope needs --questions"),
        (("-b", "pope", "-b", "pope", "--questions", "x"), "NAME=PATH each"),
        (("-b", "pope=nowhere"), "question file not found: nowhere"),
    ],
)
def test_words_that_make_no_sense_are_refused(words, message, tmp_path):
    file = tmp_path / "a.json"
    file.write_text("[]")
    done = mbpo("eval", "responses", file, *words, "--root", tmp_path / "store")
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output


def test_the_papers_tables_are_printed_with_ours(root):
    done = mbpo("eval", "table", "--root", root, "--json")
    assert done.exit_code == 0
    printed = [json.loads(line) for line in done.output.splitlines() if line.startswith("{")]
    names = [column.name for column in columns()]
    assert len(printed) == len(paper_rows()) == 23
    for line, row in zip(printed, paper_rows(), strict=True):
        assert [line[name] for name in names] == list(row.values)


def test_all_benchmarks_are_listed_with_what_they_need():
    done = mbpo("eval", "benchmarks")
    assert done.exit_code == 0 and "pope" in done.output and "coco_pope_<split>.json" in done.output


def test_each_benchmark_has_its_own_length_limit_and_no_prompt_is_cut(pope, tmp_path):
    """The embedded model reads 2,048 tokens: what is longer is a reason, not the end of a shard."""
    folder = tmp_path / "pope"
    folder.mkdir()
    (folder / "0.png").write_bytes((pope / "0.png").read_bytes())
    policy = load_policy(str(EMBEDDED))
    one, two = (len(policy.prompt_ids("a cup " * n, 56, 56)) for n in (1, 2))
    longest = (policy.max_length - one) // (two - one)
    texts = ["Is there a cup?", "a cup " * (longest - 10), "a cup " * (longest + 10)]
    lines = [{"image": "0.png", "text": text, "label": "no"} for text in texts]
    (folder / "coco_pope_random.json").write_text("\n".join(map(json.dumps, lines)))
    done = mbpo("eval", "model", "embedded", "-b", f"pope={folder}", "--root", tmp_path / "store")
    assert done.exit_code == 0, done.output
    asked = rows(tmp_path / "store", "ask", "questions")
    assert {row["max_new_tokens"] for row in asked} == {BENCHMARKS["pope"].max_new_tokens}
    said = rows(tmp_path / "store", "answer", "answers")
    assert [row["reason"] for row in said] == [None, None, "too_long"]
    height, width = asked[0]["height"], asked[0]["width"]
    room = [policy.max_length - len(policy.prompt_ids(row["prompt"], height, width))
            for row in asked]  # fmt: skip
    assert room[0] > 128 > room[1] > 0 > room[2]
    for answer, most in zip(said[:2], (128, room[1]), strict=True):
        assert len(policy.response_ids(answer["response"])) <= most + 1
    figures = {r["metric"]: r["value"] for r in rows(tmp_path / "store", "evaluate", "metrics")
               if r["kind"] == "all"}  # fmt: skip
    assert figures["unanswered"] == 1 / 3
    assert figures["unfinished"] == sum(row["finished"] is False for row in said) / 3
