"""What is written down is true: commands, files, functions and settings in the documentation."""

import ast
import importlib
import importlib.metadata
import itertools
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.pipeline import DEPLOYMENTS
from mbpo_core.config import parse_override
from mbpo_core.recipes import configured
from tasks.registry import ORDER, STAGES
from tests.servers import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
PIPELINE = (CHECKOUT / "docs" / "pipeline.md").read_text()
PAPER_MAP = (CHECKOUT / "mbpo_core" / "README.md").read_text()
PAGES = sorted([CHECKOUT / "README.md", *CHECKOUT.glob("docs/*.md")])


def commands(name):
    """Lines of the shell blocks of all pages that begin with a word, comments cut off."""
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == [name]:
                    yield words[1:]


@pytest.mark.parametrize("words", list(commands("mbpo")), ids=" ".join)
def test_every_mbpo_command_of_the_pages_is_understood(words):
    """All words are accepted: with --help behind them nothing runs, but options are checked."""
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0, done.output
    asked = {word.split("=")[0] for word in words if word.startswith("--")}
    assert asked <= set(re.findall(r"--[a-z-]+", done.output)), done.output


@pytest.mark.parametrize("words", list(commands("mbpo")), ids=" ".join)
def test_settings_and_recipes_of_the_commands_exist_and_go_together(words):
    named = [word for word in words[1:2] if words[0] in ("plan", "run") and word[0] != "-"]
    settings = {}
    for option, given in itertools.pairwise(words):
        if option == "--source":
            settings["ingest.source"] = {"kind": "files", "path": given}
        if option == "--set":
            settings |= [parse_override(given)]
    configured(*named or ["mbpo"], settings)


def test_every_make_target_of_the_pages_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    asked = {words[0] for words in commands("make")} | set(re.findall(r"`make ([a-z-]+)", README))
    assert asked and asked <= targets


def test_every_deployment_of_the_pages_is_served_or_pooled():
    asked = {words[2] for words in commands("prefect") if words[:2] == ["deployment", "run"]}
    assert asked and asked <= {f"mbpo/{name}{end}" for name in DEPLOYMENTS for end in ("", "-pool")}


def test_every_stage_is_named_with_its_artifact():
    for name in ORDER:
        assert f"| `{name}` | `{STAGES[name].tables[0].name}` |" in PIPELINE
    for page in (README, PIPELINE):
        assert " ─► ".join(ORDER) in page


def test_what_is_cited_is_one_thing_in_both_places():
    cited = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    paper = cited["preferred-citation"]
    assert paper["title"] in README and paper["url"] in README
    names = " and ".join(f"{a['given-names']} {a['family-names']}" for a in paper["authors"])
    assert names in " ".join(README.split())
    assert cited["version"] == importlib.metadata.version("mbpo")


def test_files_that_the_pages_point_at_exist():
    for page in [*PAGES, CHECKOUT / "mbpo_core" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"


def test_the_paper_map_names_functions_and_tests_that_exist():
    rows = re.findall(r"^\|[^|]*\| `([\w.]+)` \| `([\w./]+)` \|$", PAPER_MAP, re.MULTILINE)
    assert len(rows) > 10
    for function, test in rows:
        module, _, name = function.rpartition(".")
        assert hasattr(importlib.import_module(f"mbpo_core.{module}"), name), function
        path = CHECKOUT / "tests" / "mbpo_core" / test
        assert path.is_file() and "def test_" in path.read_text(), test


def test_the_tests_against_others_work_exist():
    named = re.findall(r"^\|[^|]*\|[^|]*\|[^|]*\| `([\w./]+)` \|$", PAPER_MAP, re.MULTILINE)
    assert len(named) >= 5
    assert all((CHECKOUT / "tests" / "mbpo_core" / name).is_file() for name in named)


@pytest.mark.parametrize("path", sorted(CHECKOUT.glob("mbpo_core/**/*.py")), ids=lambda p: p.name)
def test_files_and_functions_keep_to_their_size(path: Path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_example_of_the_page_about_evaluation_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs/evaluation.md").read_text(),
                         re.DOTALL)  # fmt: skip
    exec(code, {})
    printed = capsys.readouterr().out
    assert "random accuracy Estimate(value=0.5, n=2," in printed
