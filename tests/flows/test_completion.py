"""What the shell offers, asked as the shell asks, and that it need not wait for it."""

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flows.cli import app
from storage.tags import Tag, write_tag
from tests.flows.test_cli import PROJECT

ASK = "import sys; sys.argv = ['mbpo']; from flows.cli import main; main()"


def asking(line):
    """Return what the shell sets to ask for the last word of a line, which may be empty."""
    return {"_MBPO_COMPLETE": "complete_bash", "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1)}  # fmt: skip


def offered(line):
    return CliRunner().invoke(app, [], prog_name="mbpo", env=asking(line)).output.split()


@pytest.fixture
def folder(copy, tmp_path, monkeypatch):
    """The working directory: its store is the filled one, with a tag on a run."""
    monkeypatch.chdir(tmp_path)
    copy.rename(tmp_path / ".mbpo")
    run_id = next((tmp_path / ".mbpo" / "runs").glob("*.json")).stem
    write_tag(tmp_path / ".mbpo", Tag("paper", run_id=run_id))
    return tmp_path


def test_versions_stages_recipes_tags_and_commands_are_offered(folder, filled):
    mined = {made["mine"].ref.short for made in filled[1:]}
    assert set(offered("mbpo show mine/")) == mined
    assert offered("mbpo diff p") == ["paper", "pair"]
    assert "paper/mine" in offered("mbpo show paper/")
    assert offered("mbpo stage s") == ["score", "select"]
    assert "mfpo" in offered("mbpo run ")
    assert offered("mbpo tag ") == ["paper"]
    assert set(offered("mbpo tr")) == {"trace", "try"}
    assert "--keep-runs" in offered("mbpo gc --k")


def test_another_root_is_looked_into_and_none_is_no_error(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    assert offered(f"mbpo ls --root {folder / '.mbpo'} --tag p") == ["paper"]
    assert offered("mbpo show x") == []


def test_a_process_answers_as_the_shell_starts_it(folder):
    environment = os.environ | asking("mbpo show mine/") | {"PYTHONPATH": str(PROJECT)}
    words = [sys.executable, "-c", ASK]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == offered("mbpo show mine/")


def test_no_command_needs_torch_to_be_known():
    """Completing a word loads all commands: torch and transformers would take seconds."""
    code = "import sys, flows.cli; print({'torch', 'transformers', 'prefect'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
