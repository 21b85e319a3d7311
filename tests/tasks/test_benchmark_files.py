"""Files of questions and answers, in every format in which benchmarks are published."""

import gzip
import json

import pandas as pd
import pytest

from tasks.benchmark_files import answer_records, fingerprint_files, read_files
from tasks.sources import SourceError

ROWS = [
    {"question_id": "1", "text": "Is there a dog?", "hint": "NA"},
    {"question_id": "2", "text": 'A "quoted" cat', "hint": ""},
]


def write(path, rows=ROWS):
    kind = path.name.split(".")[1]
    if kind == "json":
        text = json.dumps(rows)
    elif kind in ("jsonl", "ndjson"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    elif kind in ("tsv", "csv"):
        text = pd.DataFrame(rows).to_csv(sep="\t" if kind == "tsv" else ",", index=False)
    elif kind == "xlsx":
        pd.DataFrame(rows).to_excel(path, index=False)
        return path
    else:
        pd.DataFrame(rows).to_parquet(path)
        return path
    data = ("\ufeff" + text).encode() if kind == "csv" else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    "name",
    ["q.json", "q.jsonl", "q.ndjson", "q.tsv", "q.csv", "q.xlsx", "q.parquet", "q.json.gz",
     "q.jsonl.gz", "q.tsv.gz"],
)  # fmt: skip
def test_every_format_gives_the_same_records_and_cells_stay_texts(tmp_path, name):
    (found,) = read_files([str(write(tmp_path / name))])
    assert found.content == ROWS  # "NA" and "" are texts, not missing numbers
    assert found.name == name.removesuffix(".gz")
    assert answer_records(tmp_path / name) == ROWS


def test_json_lines_under_the_name_of_json_are_read_as_such(tmp_path):
    path = tmp_path / "coco_pope_random.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert read_files([str(path)])[0].content == ROWS


def test_folders_are_looked_through_and_other_files_left_alone(tmp_path):
    write(tmp_path / "b.json")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("words")
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8")
    found = read_files([str(tmp_path)])
    assert [(f.name, f.content) for f in found] == [("b.json", ROWS), ("a.txt", "words")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no file of a benchmark"):
        read_files([str(tmp_path / "empty")])


def test_the_fingerprint_is_that_of_names_and_bytes(tmp_path):
    one, other = write(tmp_path / "a.json"), write(tmp_path / "b.json")
    before = fingerprint_files([str(one)])
    assert before != fingerprint_files([str(other)])
    write(one, ROWS[:1])
    assert before != fingerprint_files([str(one)])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "a.json is no JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a":\n', "a.jsonl, line 2 is no JSON"),
        ("a.json", b"\xff\xfe\x00", "is no UTF-8 text"),
        ("a.txt", b"text", "holds no answers but 'text'"),
        ("a.json", b'{"v1_0": ["x"]}', "neither a list of answers nor an object of id: text"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        answer_records(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"question file not found: .*nowhere"):
        read_files([str(tmp_path / "nowhere")])
    with pytest.raises(SourceError, match=r"file of answers not found: .*nowhere"):
        answer_records(tmp_path / "nowhere")


def test_answers_by_id_and_logged_samples_become_flat_records(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"v1_0": "yes", "v1_1": "no"}')
    assert answer_records(path)[1] == {"question_id": "v1_1", "response": "no"}
    logged = {"doc_id": 0, "doc": {"question_id": "7", "question": "?"}, "filtered_resps": ["yes"]}
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps(logged) + "\n")
    (found,) = answer_records(path)
    assert found["question_id"] == "7" and found["filtered_resps"] == ["yes"]
