import json
import math
from statistics import stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbpo_core.evaluation.lmms.record import Record, lmms_rows, write_metrics, write_record
from mbpo_core.evaluation.lmms.results import read_results, results_files
from mbpo_core.evaluation.lmms.samples import read_samples, responses, samples_file
from mbpo_core.evaluation.statistics import Z_95
from tests.mbpo_core.evaluation.lmms.checkpoints import RUN, results_path

TASK = "mbpo_embedded_counter"
KEYS = {"model", "benchmark", "kind", "metric", "value", "n", "low", "high", "method",
        "lmms_eval_version", "date", "judge"}  # fmt: skip


def write(folder, results, **others):
    path = folder / "20260102_030405_results.json"
    path.write_text(json.dumps({"results": results} | others))
    return path


def test_every_figure_of_a_genuine_run_follows_from_its_samples():
    rows = [r for r in read_results(results_path()) if r["benchmark"] == f"lmms-eval/{TASK}"]
    samples = list(read_samples(samples_file(results_path(), TASK)))
    assert len(samples) == 21  # three scenes, seven questions each
    for row in rows:
        name = row["metric"] + ("" if row["kind"] == "all" else f"/{row['kind']}")
        values = [sample[name] for sample in samples if name in sample]
        assert row["n"] == len(values) and set(row) == KEYS, name
        if name == "chair_i/describe":  # a ratio of sums: lmms-eval gives it no standard error
            wrong, said = (sum(v[key] for v in values) for key in ("hallucinated", "mentions"))
            assert row["value"] == wrong / said
            assert (row["low"], row["high"], row["method"]) == (None, None, "lmms-eval")
            continue
        mean = sum(values) / len(values)
        half = Z_95 * stdev(values) / math.sqrt(len(values))
        assert row["value"] == pytest.approx(mean) and row["method"] == "stderr"
        assert (row["low"], row["high"]) == pytest.approx((mean - half, mean + half))
    kinds = {row["kind"] for row in rows if row["metric"] == "accuracy"}
    assert kinds == {"all", "color", "where", "count", "existence", "attribute", "choice"}


def test_rows_say_which_model_version_and_day():
    first = read_results(results_path())[0]
    assert (first["model"], first["lmms_eval_version"]) == ("embedded", "unknown@unknown")
    assert results_path().name.startswith(first["date"])
    named = read_results(results_path(), model="mine", version="0.7.3")[0]
    assert (named["model"], named["lmms_eval_version"]) == ("mine", "0.7.3")


def test_what_is_no_figure_is_left_out_and_what_is_no_number_has_no_value(tmp_path):
    figures = {
        "alias": "x", "samples": 4, "paired_pvalue": 0.1,
        "score,none": float("nan"), "score_stderr,none": 0.5,
        "gpt,none": "N/A", "flag,none": True, "list,none": [1], "huge,none": 10**400,
        "one,none": 0.25, "one_stderr,none": "N/A", "one_stderr_clt,none": 0.1,
        "a/b,strict": 2, "by,none": {"OCR": 0.5, "Math": None},
    }  # fmt: skip
    path = write(tmp_path, {"mmvet": figures}, **{"n-samples": {"mmvet": {"effective": 4.0}}})
    rows = {(r["metric"], r["kind"]): r for r in read_results(path)}
    assert {name for name, row in rows.items() if row["value"] is None} == {
        ("score", "all"), ("gpt", "all"), ("flag", "all"), ("list", "all"), ("huge", "all"),
        ("by", "Math"),
    }  # fmt: skip
    assert rows["one", "all"]["value"] == 0.25 and rows["one", "all"]["low"] is None
    # A slash is a subgroup in our own tasks only.
    assert rows["a/b[strict]", "all"]["value"] == 2 and rows["by", "OCR"]["value"] == 0.5
    assert len(rows) == 9 and {row["n"] for row in rows.values()} == {4}


def test_the_judge_is_named_where_the_results_name_one(tmp_path):
    old = [{"version": 0}, {"gpt_eval_model_name": "judge-1"}]
    new = {"gpt_eval_model_name": "judge-2"}
    configs = {"a": {"metadata": old}, "b": {"metadata": new}, "c": {}, "d": None}
    results = {task: {"m,none": 1.0} for task in configs}
    rows = read_results(write(tmp_path, results, configs=configs))
    assert [row["judge"] for row in rows] == ["judge-1", "judge-2", None, None]


def test_answers_that_two_filters_share_are_not_counted_twice(tmp_path):
    path = write(tmp_path, {"t": {"m,none": 1.0, "m,strict": 0.0}},
                 **{"n-samples": {"t": {"effective": 2}}})  # fmt: skip
    samples_file(path, "t").write_text('{"m": 1}\n' * 4)
    assert [row["n"] for row in read_results(path)] == [2, 2]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": 3}', '{"results": {"t": 1}}'])
def test_a_file_that_holds_no_results_is_named(tmp_path, text):
    path = tmp_path / "x_results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"x_results\.json"):
        read_results(path)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone_results\.json"):
        read_results(tmp_path / "gone_results.json")
    (tmp_path / "bytes_results.json").write_bytes(b'{"results": {"\xff": {}}}')
    with pytest.raises(ValueError, match=r"bytes_results\.json"):
        read_results(tmp_path / "bytes_results.json")


@settings(deadline=None)
@given(st.integers(0, len(results_path().read_text()) - 2))
def test_a_run_killed_while_it_wrote_is_an_error_wherever_it_stopped(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "cut_results.json"
    path.write_text(results_path().read_text()[:length])
    with pytest.raises(ValueError, match=r"cut_results\.json"):
        read_results(path)


words = st.text("a1,/", max_size=4)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["m,none", "m_stderr,none", "a/b,none", "alias", ",", "m,", "samples"])


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["t", TASK]), st.dictionaries(names, json_values) | json_values
    ),
    st.dictionaries(
        st.sampled_from(["configs", "n-samples", "date", "model_name", "lmms_eval_version"]),
        json_values,
    ),
)
def test_whatever_a_file_holds_rows_are_whole_or_the_file_is_refused(
    tmp_path_factory, results, others
):
    path = write(tmp_path_factory.mktemp("any"), results, **others)
    try:
        rows = read_results(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    for row in rows:
        assert set(row) == KEYS
        assert row["value"] is None or math.isfinite(row["value"])
        assert (row["low"] is None) == (row["high"] is None) == (row["method"] == "lmms-eval")


def test_half_a_line_of_samples_is_named_with_its_number(tmp_path):
    path = write(tmp_path, {"t": {"m,none": 1.0}})
    samples = samples_file(path, "t")
    samples.write_text('{"m": 1}\n{"m": ')
    with pytest.raises(ValueError, match=r"samples_t\.jsonl, line 2"):
        read_results(path)
    samples.write_text("[1]\n")
    with pytest.raises(ValueError, match="line 1: expected an object"):
        read_results(path)


def test_responses_go_by_the_questions_id(tmp_path):
    found = responses(samples_file(results_path(), TASK))
    assert len(found) == 21 and all(name.startswith("test-0-") for name in found)
    path = tmp_path / "s.jsonl"
    for line, words in [({"filtered_resps": "x"}, "one question id"),
                        ({"target": "a", "filtered_resps": ["x", "y"]}, "one text")]:  # fmt: skip
        path.write_text(json.dumps(line))
        with pytest.raises(ValueError, match=words):
            responses(path)
    path.write_text('{"target": "a", "filtered_resps": ["x"]}\n' * 2)
    with pytest.raises(ValueError, match="second answer to a"):
        responses(path)


def test_the_latest_run_of_a_task_counts_and_other_tasks_stay(tmp_path):
    for day, results in [
        ("01", {"a": {"m,none": 1}, "b": {"m,none": 2}}),
        ("02", {"a": {"m,none": 3}}),
    ]:
        folder = tmp_path / "results" / "x__y"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, results).rename(folder / f"202601{day}_000000_results.json")
    assert len(results_files(tmp_path)) == 2
    write_record(tmp_path, Record("mine", "c", "python -m lmms_eval", "0.7.3"))
    rows = lmms_rows(tmp_path)
    assert [(r["benchmark"], r["value"]) for r in rows] == [("lmms-eval/a", 3), ("lmms-eval/b", 2)]
    assert {(r["model"], r["lmms_eval_version"]) for r in rows} == {("mine", "0.7.3")}
    lines = write_metrics(tmp_path, rows).read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_a_folder_is_for_one_checkpoint(tmp_path):
    write_record(tmp_path, Record("mine", "c", "x", None))
    write_record(tmp_path, Record("mine", "c", "another command", "0.7.3"))
    with pytest.raises(ValueError, match="give another --out"):
        write_record(tmp_path, Record("mine", "d", "x", None))
    (tmp_path / "command.json").write_text('{"model": 1}')
    with pytest.raises(ValueError, match=r"command\.json is no record"):
        lmms_rows(tmp_path)


def test_the_committed_run_names_no_machine():
    for path in RUN.iterdir():
        text = path.read_text()
        assert not any(f'"{root}' in text for root in ("/tmp", "/home", "/root", "/work")), path
