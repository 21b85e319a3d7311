"""`mbpo eval lmms` as a user types it, with and without an lmms-eval that does what it should."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from mbpo_core.evaluation.lmms.command import START_MODULE
from mbpo_core.evaluation.lmms.interpreter import inspect
from mbpo_core.evaluation.lmms.record import lmms_rows
from storage.catalog import query
from tests.mbpo_core.evaluation.lmms.checkpoints import RUN, checkpoint
from tests.mbpo_core.evaluation.lmms.test_tasks import amber_files

PAGE = Path(__file__).parents[2] / "docs" / "lmms-eval.md"


def lmms(*words):
    """Run the command; the store is below the output folder unless another one is named."""
    words = [str(word) for word in words]
    if "--root" not in words and "--out" in words:
        words += ["--root", words[words.index("--out") + 1] + "/store"]
    return CliRunner().invoke(app, ["eval", "lmms", *words], env={"COLUMNS": "200"})


@pytest.fixture
def model(tmp_path):
    return checkpoint(tmp_path / "model")


def installed(folder, monkeypatch, main):
    """Give this interpreter an lmms-eval whose program is `main`."""
    for name, version in (("lmms_eval", "0.7.3"), ("filelock", "3.32.7")):
        facts = folder / f"{name}-{version}.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
    for name, text in (("lmms_eval", ""), ("decord", ""), ("torchvision", "")):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    (folder / "lmms_eval" / "__main__.py").write_text(main)
    monkeypatch.setenv("PYTHONPATH", str(folder))


WRITES = f"""
import shutil, sys
out = sys.argv[sys.argv.index("--output_path") + 1] + "/checkpoints__embedded"
shutil.copytree({str(RUN)!r}, out)
"""


def test_the_exact_command_is_printed_first_and_what_it_needs_is_written(model, tmp_path):
    done = lmms(model, "--out", tmp_path / "out", "--device", "cpu", "--scenes", 2, "--no-run")
    assert done.exit_code == 0, done.output
    words = shlex.split(done.output.splitlines()[0])
    assert words[words.index("-m") + 1] == START_MODULE
    assert words[words.index("--tasks") + 1] == "mbpo_embedded_consistent,mbpo_embedded_counter"
    tasks = Path(words[words.index("--include_path") + 1])
    assert tasks == tmp_path / "out" / "tasks"
    assert sorted(path.suffix for path in tasks.iterdir() if path.is_file()) == [
        ".jsonl", ".jsonl", ".yaml", ".yaml",
    ]  # fmt: skip
    record = json.loads((tmp_path / "out" / "command.json").read_text())
    assert record["command"] == done.output.splitlines()[0]


def test_without_lmms_eval_it_says_what_to_install_and_succeeds(model, tmp_path):
    if inspect(sys.executable).lmms_eval is not None:
        pytest.skip("this interpreter has lmms-eval")
    done = lmms(model, "--out", tmp_path / "out", "--tasks", "pope")
    assert done.exit_code == 0, done.output
    assert "Not run" in done.output and "pip install lmms-eval decord 'filelock<4'" in done.output
    assert not (tmp_path / "out" / "tasks").exists()  # nothing of ours was asked for


def test_figures_of_a_run_are_read_back_and_stored(model, tmp_path, monkeypatch):
    installed(tmp_path / "packages", monkeypatch, WRITES)
    out = tmp_path / "out"
    done = lmms(model, "--out", out, "--name", "mine", "--device", "cpu", "--scenes", 3)
    assert done.exit_code == 0, done.output
    assert "mine, lmms-eval 0.7.3" in done.output
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows == lmms_rows(out) and len(rows) == 22 and {row["model"] for row in rows} == {"mine"}
    assert all(f"{row['value']:.3f}" in done.output for row in rows)
    stored = query(out / "store", "select * from metrics")
    names = [column[0] for column in stored.description]
    kept = [dict(zip(names, row, strict=True)) for row in stored.fetchall()]
    same = ("model", "benchmark", "kind", "metric", "value", "n", "low", "high", "method")
    assert [[row[name] for name in same] for row in kept] == [
        [row[name] for name in same] for row in rows
    ]
    # What was run by hand, on another machine perhaps, is read without running anything.
    (out / "metrics.jsonl").unlink()
    done = lmms(model, "--out", out, "--name", "mine", "--device", "cpu", "--no-run")
    assert done.exit_code == 0 and "22 rows" in done.output


@pytest.mark.parametrize(("main", "status"), [("", 0), ("raise SystemExit(3)", 3)])
def test_a_run_without_results_is_an_error_even_if_it_ends_well(
    model, tmp_path, monkeypatch, main, status
):
    installed(tmp_path / "packages", monkeypatch, main)
    done = lmms(model, "--out", tmp_path / "out", "--tasks", "pope", "--device", "cpu")
    assert done.exit_code == 1
    assert "left no results" in done.output and f"exit status {status}" in done.output


def test_results_of_a_run_that_failed_later_are_not_passed_off_as_whole(
    model, tmp_path, monkeypatch
):
    installed(tmp_path / "packages", monkeypatch, WRITES + "raise SystemExit(3)")
    done = lmms(model, "--out", tmp_path / "out", "--device", "cpu", "--scenes", 3)
    assert done.exit_code == 1 and "ended with exit status 3" in done.output


def test_answers_for_scorers_outside_are_exported(model, tmp_path):
    data = amber_files(tmp_path)
    words = [model, "--tasks", "amber_discriminative,pope", "--questions", data.questions,
             "--image-root", data.images, "--out", tmp_path / "out", "--no-run"]  # fmt: skip
    assert lmms(*words).exit_code == 0
    task = "amber_discriminative"
    results = tmp_path / "out" / "results" / "x"
    results.mkdir(parents=True)
    (results / "20260101_000000_results.json").write_text(
        json.dumps({"results": {task: {"f1,none": 0.5}}})
    )
    (results / f"20260101_000000_samples_{task}.jsonl").write_text(
        json.dumps({"target": "2", "filtered_resps": "No", "f1": {}}) + "\n"
    )
    done = lmms(*words)
    assert done.exit_code == 0, done.output
    written = tmp_path / "out" / "responses" / f"{task}.json"
    assert json.loads(written.read_text()) == [{"id": 2, "response": "No"}]
    assert str(written) in done.output.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tasks", "mmhal_bench"], "needs its question file: --questions mmhal_bench=FILE"),
        (["--tasks", "pope", "--questions", "mmhal_bench=x"], "not among the asked"),
        (["--tasks", "pope", "--questions", "x"], "one task of ours, got 0"),
        (["--tasks", "mmhal_bench", "--questions", "x", "--questions", "y"], "given twice"),
        (["--tasks", ","], "at least one lmms-eval task"),
        (["--tasks", "mmhal_bench", "--questions", "gone.json"], "no question file: gone.json"),
        (["--python", "gone"], "no Python interpreter: gone"),
    ],
)
def test_wrong_usage_is_one_message(model, tmp_path, words, said):
    done = lmms(model, "--out", tmp_path / "out", "--no-run", *words)
    assert done.exit_code in (1, 2) and said in done.output.replace("\n", " ")
    assert "Traceback" not in done.output


def test_a_folder_of_another_checkpoint_is_not_overwritten(model, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    words = ["--out", tmp_path / "out", "--tasks", "pope", "--no-run"]
    assert lmms(model, *words).exit_code == 0
    done = lmms(other, *words)
    assert done.exit_code == 2 and "give another --out" in done.output.replace("\n", " ")


def test_every_command_of_the_page_is_understood_and_help_warns_of_jpeg():
    found = re.findall(r"^mbpo (eval lmms .*)", PAGE.read_text(), re.MULTILINE)
    assert len(found) >= 3
    for line in found:
        words = shlex.split(line, comments=True)
        done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0 and "JPEG" in done.output, done.output
        asked = {word for word in words if word.startswith("--")}
        assert asked <= set(re.findall(r"--[a-z-]+", done.output))
