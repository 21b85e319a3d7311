"""Every command can print JSON, and then nothing else on stdout."""

import json

import pytest

from flows.cli import app
from tests.flows.test_cli import mbpo

CHEAP = {
    "plan mbpo", "ls", "ls runs", "runs", "show mine", "diff score score", "why mine", "tag", "gc",
    "trace pool-0-000000-color", "doctor", "gallery mine --rows 1", "eval benchmarks",
    "eval table", "sql select(1)", "export score",
}  # fmt: skip
IN_LINES = {"eval table", "sql select(1)"}
"""One object a line: they may be long."""


def commands(typer_app, words=()):
    for each in typer_app.registered_commands:
        yield (*words, each.name or each.callback.__name__)
    for group in typer_app.registered_groups:
        yield from commands(group.typer_instance, (*words, group.name))


@pytest.mark.parametrize("words", sorted(commands(app)), ids=" ".join)
def test_every_command_has_json_in_its_help(words):
    assert "--json" in mbpo(*words, "--help").output


def test_each_kind_of_command_is_among_those_that_are_tried():
    costly = {"run", "stage", "report", "eval responses", "eval model", "eval compare", "eval lmms",
              "try", "import", "retry"}  # fmt: skip
    tried = {" ".join(words) for words in commands(app) if any(
        line.startswith(" ".join(words)) for line in CHEAP)}  # fmt: skip
    assert {" ".join(words) for words in commands(app)} <= tried | costly


@pytest.mark.parametrize("line", sorted(CHEAP))
def test_json_is_all_that_stdout_has(two_runs, line, tmp_path):
    words = line.split() + ([] if line == "eval benchmarks" else ["--root", two_runs])
    files = {"gallery": "sheet.png", "export": "folder"}
    out = ["--out", tmp_path / files[words[0]]] if words[0] in files else []
    done = mbpo(*words, *out, "--json")
    assert done.exit_code == 0, done.output
    for text in done.stdout.splitlines() if line in IN_LINES else [done.stdout]:
        json.loads(text)
