"""Question files of the benchmarks, AMBER's figures, and the files for scorers outside."""

import base64
import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mbpo_core.evaluation import mmhal
from mbpo_core.evaluation.join import join, response_of, usual_fields
from mbpo_core.evaluation.lmms.bridge import (
    AMBER_FIGURES,
    AMBER_GROUPS,
    amber_figures,
    amber_results,
)
from mbpo_core.evaluation.lmms.export import export
from mbpo_core.evaluation.lmms.questions import (
    amber_documents,
    document,
    mmhal_documents,
    object_halbench_documents,
    write_documents,
)
from mbpo_core.evaluation.protocol import SourceFile

REPORT = {"Descriminative Task": "", "Exsitence": "/existence", "Attribute": "/attribute",
          "State": "/state", "Number": "/number",
          "Action": "/action", "Relation": "/relation"}  # fmt: skip
"""Titles of the official report, as it spells them, and our groups."""


def answers(pairs, group="all"):
    kind = {"all": "relation", "attribute": "state"}.get(group, group)
    return [{"id": i, "kind": kind, "truth": truth, "said": said, "group": group}
            for i, (truth, said) in enumerate(pairs)]  # fmt: skip


def figures(found):
    """Figures of all groups, from what `amber_results` files the answers under."""
    filed = {}
    for row in found:
        for name, answer in row.items():
            filed.setdefault(name, []).append(answer)
    return {name: amber_figures(rows)[name.partition("/")[0]] for name, rows in filed.items()}


@given(st.integers(1, 400), st.integers(1, 400))
@settings(deadline=None)
def test_saying_no_to_everything_finds_every_no(yes, no):
    found = amber_figures(answers([("yes", "no")] * yes + [("no", "no")] * no))
    share = no / (yes + no)
    assert found["accuracy"] == found["precision"] == pytest.approx(100 * share, abs=0.2)
    assert found["recall"] == pytest.approx(100, abs=0.2) and found["unread"] == 0
    assert found["f1"] == pytest.approx(100 * 2 * share / (1 + share), abs=0.3)


@given(st.lists(st.tuples(st.sampled_from(["yes", "no"]), st.sampled_from(["yes", "no", None])),
                min_size=1, max_size=60))  # fmt: skip
@settings(deadline=None)
def test_figures_are_percent_and_an_unread_answer_is_neither_yes_nor_no(pairs):
    found = amber_figures(answers(pairs))
    right = sum(truth == said for truth, said in pairs)
    assert found["accuracy"] == pytest.approx(100 * right / len(pairs), abs=0.2)
    assert found["unread"] == sum(said is None for _, said in pairs) / len(pairs)
    assert all(0 <= value <= 100 for value in found.values())
    unread = amber_figures(answers([(truth, None) for truth, _ in pairs]))
    assert unread == dict.fromkeys(AMBER_FIGURES, 0.0) | {"unread": 1.0}


def test_constants_of_the_official_script_differ_between_groups():
    """Existence has ten times the others' constant under F1; attribute adds up three counters."""
    pairs = [("no", "no")] * 800 + [("no", "yes")] * 200  # precision 1, recall 0.8
    f1 = {g: amber_figures(answers(pairs, g))["f1"] for g in ("existence", "relation", "all")}
    small = {"existence": 0.001, "relation": 0.0001, "all": 0.0001}
    assert f1 == {g: round(2 * 0.8 / (1.8 + small[g]) * 100, 1) for g in small}
    assert f1["existence"] < f1["relation"]
    for group, start in (("attribute", 0.003), ("state", 0.001)):
        found = amber_figures(answers([("no", "no")], group))["accuracy"]
        assert found == round(1 / (1 + start) * 100, 1)


def test_answers_are_read_by_the_verifier_and_filed_under_their_groups():
    facts = {"id": 7, "type": "discriminative-attribute-state", "truth": "no"}
    doc = {"details": json.dumps(facts)}
    found = amber_results(doc, ["No, the sky is not sunny."])
    assert {row["said"] for row in found.values()} == {"no"}
    groups = {name.partition("/")[2] for name in found}
    assert groups == {"", "attribute", "state"}
    assert {row["said"] for row in amber_results(doc, ["A sky."]).values()} == {None}
    with pytest.raises(ValueError, match="question 7 has the unknown type 'x'"):
        amber_results({"details": json.dumps(facts | {"type": "x"})}, ["No"])


@pytest.mark.parametrize("run", ["hash60", "all_yes", "noisy_oracle80", "all_no"])
def test_figures_are_those_of_the_official_script(shared_data, run):
    """`expected.json` holds what AMBER's own inference.py printed for these answers."""
    folder = shared_data / "eval" / "amber"
    printed = json.loads((folder / "expected.json").read_text())["outputs"][run]
    said = folder / "responses" / f"synthetic_disc_{run}.json.gz"
    said = {row["id"]: row["response"] for row in json.loads(gzip.decompress(said.read_bytes()))}
    docs = amber_documents(folder / "query" / "query_all.json.gz", folder / "annotations.json")
    assert len(docs) == 14216
    found = figures(
        amber_results({"details": doc.details}, [said[int(doc.question_id)]]) for doc in docs
    )
    expected = {}
    for block in printed.strip().split("\n\n"):
        title, *lines = block.strip().splitlines()
        for line in lines:
            figure, value = line.split(":")
            expected[figure.strip().lower() + REPORT[title.rstrip(": ")]] = float(value)
    unread = {name for name in found if name.startswith("unread")}
    assert len(unread) == 7 and {found.pop(name) for name in unread} == {0.0}
    assert found == expected and len(found) == 28


def test_queries_without_annotation_and_files_without_discriminative_ones_are_refused(tmp_path):
    queries, known = tmp_path / "q.json", tmp_path / "a.json"
    queries.write_text(json.dumps([{"id": 1, "image": "a", "query": "?"}]))
    known.write_text("[]")
    with pytest.raises(ValueError, match="no annotation for query 1"):
        amber_documents(queries, known)
    known.write_text(json.dumps([{"id": 1, "type": "generative", "truth": []}]))
    with pytest.raises(ValueError, match="no discriminative query"):
        amber_documents(queries, known)
    queries.write_text('[{"id": 1}]')
    with pytest.raises(ValueError, match=r"q\.json, record 0: expected image, query"):
        amber_documents(queries, known)
    queries.write_text('{"id": 1')
    with pytest.raises(ValueError, match=r"q\.json is neither"):
        amber_documents(queries, known)
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        amber_documents(tmp_path / "gone.json", known)


def template(n):
    return [
        {"question_type": "attribute", "image_id": f"id{k}", "question": f"What is {k}?",
         "image_src": f"https://example.org/1/{k}_o.jpg", "gt_answer": f"It is {k}.",
         "model_answer": ""}
        for k in range(n)
    ]  # fmt: skip


def samples(path, given):
    rows = [{"target": name, "filtered_resps": text} for name, text in given.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_mmhal_answers_go_back_into_the_template_in_its_order(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(template(12)))
    docs = mmhal_documents(tmp_path / "t.json")
    assert docs[3].image == "3_o.jpg" and docs[3].question == "What is 3?"
    write_documents(tmp_path / "d.jsonl", docs)
    # lmms-eval's own order is another: longest question first; U+2028 ends no line.
    given = {doc.question_id: f"answer\u2028to {doc.question}" for doc in reversed(docs)}
    path = export(
        "mmhal_bench", tmp_path / "d.jsonl", samples(tmp_path / "s", given), tmp_path / "r"
    )
    rows = json.loads(path.read_text())
    assert [row | {"model_answer": ""} for row in rows] == template(12)
    assert [row["model_answer"] for row in rows] == [
        f"answer\u2028to {row['question']}" for row in rows
    ]


def test_what_is_exported_finds_its_questions_in_our_own_scorers(tmp_path):
    rows = [row | {"image_content": ["Dog"]} for row in template(8)]
    for place, row in enumerate(rows):
        row["question_type"] = mmhal.TYPES[place]
    (tmp_path / "t.json").write_text(json.dumps(rows))
    docs = mmhal_documents(tmp_path / "t.json")
    write_documents(tmp_path / "d.jsonl", docs)
    said = {doc.question_id: f"answer {doc.question_id}" for doc in docs}
    path = export("mmhal_bench", tmp_path / "d.jsonl", samples(tmp_path / "s", said), tmp_path)
    asked = mmhal.load([SourceFile("t.json", rows)]).questions
    found = join(asked, json.loads(path.read_text()), mmhal.KEYS, fields=mmhal.fields)
    assert [found.responses[q.question_id] for q in asked] == list(said.values())
    record = {"image_id": 9, "question": "What is there?", "response": "A cat."}
    assert set(usual_fields(record)) == {"image", "text"} and response_of(record) == "A cat."


def test_object_halbench_pictures_come_as_files_or_in_the_question_file(tmp_path):
    png = io.BytesIO()
    Image.effect_noise((40, 40), 60).save(png, "PNG")
    inside = base64.b64encode(png.getvalue()).decode()
    rows = [{"image_id": 9, "image": "a.jpg", "question": "Describe it."},
            {"image_id": 9, "image": inside, "question": "What is there?"}]  # fmt: skip
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    docs = object_halbench_documents(tmp_path / "q.jsonl", tmp_path / "unpacked")
    assert docs[0].image == "a.jpg" and not (tmp_path / "unpacked" / "00000").exists()
    with open(docs[1].image, "rb") as file:
        assert file.read() == png.getvalue()
    write_documents(tmp_path / "d.jsonl", docs)
    said = samples(tmp_path / "s", {docs[1].question_id: "A cat."})
    path = export("object_halbench", tmp_path / "d.jsonl", said, tmp_path / "r")
    (line,) = path.read_text().splitlines()  # with --limit the other was not asked
    assert json.loads(line) == {"image_id": 9, "question": "What is there?", "response": "A cat."}
    (tmp_path / "q.jsonl").write_text(json.dumps(rows[1] | {"image": inside + "!"}))
    with pytest.raises(ValueError, match="neither a file name nor base64"):
        object_halbench_documents(tmp_path / "q.jsonl", tmp_path)


def test_amber_answers_are_written_word_for_word_and_foreign_ones_refused(tmp_path):
    kind = next(iter(AMBER_GROUPS))
    docs = [document("5", "a.jpg", "Is it?", {"id": 5, "type": kind, "truth": "no"})]
    write_documents(tmp_path / "d.jsonl", docs)
    said = samples(tmp_path / "s", {"5": "No, it is not."})
    path = export("amber_discriminative", tmp_path / "d.jsonl", said, tmp_path / "r")
    assert json.loads(path.read_text()) == [{"id": 5, "response": "No, it is not."}]
    with pytest.raises(ValueError, match="does not have: 6"):
        export("amber_discriminative", tmp_path / "d.jsonl",
               samples(tmp_path / "s", {"6": "No"}), tmp_path / "r")  # fmt: skip
    for scored_inside in ("mbpo_embedded_counter", "pope"):
        assert export(scored_inside, tmp_path / "d.jsonl", said, tmp_path / "r") is None


def test_questions_need_ids_of_their_own(tmp_path):
    twice = [document("1", "a", "?", {}), document("1", "b", "?", {})]
    for wrong in ([], twice):
        with pytest.raises(ValueError, match="different ids"):
            write_documents(tmp_path / "d.jsonl", wrong)
