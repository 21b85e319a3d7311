"""`mbpo report` as a user types it."""

import pytest
from typer.testing import CliRunner

from benchmarks.stages import run_inline
from flows.cli import app
from tests.pipelines import small_recipe

STAGES = ("ingest", "score", "select", "mine")


def mbpo(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "store"
    run_inline(small_recipe(), folder, STAGES)
    return folder


def test_the_page_of_an_unfinished_run_is_written_below_the_root_and_says_when(root):
    done = mbpo("report", "--root", root)
    assert done.exit_code == 0, done.output
    (path,) = (root / "report").iterdir()
    assert str(path) in done.output and path.suffix == ".html"
    assert "training: not there yet: this run has no train" in done.output
    page = path.read_text()
    assert f"Run {path.stem}: completed, begun 2" in page
    assert '<th scope="col">seconds</th>' in page and "<td>cpu</td>" in page


def test_an_artifact_and_a_place_for_the_file_can_be_named(root, tmp_path):
    done = mbpo("report", "score", "--root", root, "--out", tmp_path / "deep" / "page.html")
    assert done.exit_code == 0, done.output
    assert "attack: not there yet: this run has no mine" in done.output
    assert "The artifact score/" in (tmp_path / "deep" / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--root", "nowhere"], 2, "no store at nowhere"),
        (["evaluate"], 1, "no artifact 'evaluate'"),
        (["2"], 0, "MB:"),
    ],
)
def test_what_is_not_there_is_said_in_words(root, words, status, message):
    done = mbpo("report", *words, *([] if "--root" in words else ["--root", root]))
    assert done.exit_code == status and message in done.output


def test_a_store_without_a_run_says_what_to_type(tmp_path):
    done = mbpo("report", "--root", tmp_path)
    assert done.exit_code == 2 and "make one with `mbpo run`" in done.output
