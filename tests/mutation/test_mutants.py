"""The list of mutants fits the code, the committed table fits the list, the check itself works."""

import ast
import time

import pytest

from tests.mutation.mutants import MUTANTS, Mutant
from tests.mutation.run import ROOT, check, main, report
from tests.mutation.table import TABLE, Outcome, rows_of, updated


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_compiles_and_changes_the_program(mutant):
    source = (ROOT / mutant.file).read_text()
    assert ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source))
    assert "|" not in mutant.breaks
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name or 'test_'}" in (ROOT / file).read_text()


def test_names_and_mistakes_are_distinct():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.find, mutant.replace) for mutant in MUTANTS}) == len(MUTANTS)


def test_the_committed_table_lists_every_mutant_killed():
    rows = rows_of(TABLE.read_text())
    assert [row[:4] for row in rows] == [
        (mutant.name, mutant.breaks, mutant.file, "killed") for mutant in MUTANTS
    ]
    for *_, noticed_by in rows:
        file, _, test = noticed_by.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), noticed_by


def toy(name, find, replace):
    return Mutant(name, "the sum", "toy.py", find, replace, ("test_toy.py",))


NOTICED = toy("minus", "a + b", "a - b")
UNNOTICED = toy("turned", "a + b", "b + a")
ENDLESS = toy("endless", "    return", "    while True: pass\n    return")
MISSPELT = toy("misspelt", "a + b", "a + bb")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "toy.py").write_text("def total(a, b):\n    return a + b\n")
    (tmp_path / "test_toy.py").write_text(
        "from toy import total\n\n\n"
        "def test_nothing():\n    pass\n\n\n"
        "def test_total():\n    assert total(2, 1) == 3\n"
    )
    return tmp_path


def tried(project, *mutants, limit=60.0):
    return list(check(project, mutants, parts=("toy.py", "test_toy.py"), limit=limit))


def test_what_is_noticed_is_killed_what_is_not_survives_and_is_a_failure(
    project, tmp_path_factory, capsys
):
    table = tmp_path_factory.mktemp("docs") / "table.md"
    before = (project / "toy.py").read_text()
    outcomes = tried(project, UNNOTICED, NOTICED, MISSPELT)
    assert [(outcome.result, outcome.noticed_by) for outcome in outcomes] == [
        ("survived", ""),
        ("killed", "test_toy.py::test_total"),
        ("broken", "test_toy.py::test_total"),
    ]
    assert report(outcomes[1:2], 1, table) == 0
    assert report(outcomes[:2], 2, table) == 1
    assert "1 of 2 killed; not: turned" in capsys.readouterr().out
    assert report(outcomes[1:2], 2, table) == 1  # one is missing
    assert (project / "toy.py").read_text() == before
    assert sorted(path.name for path in project.iterdir()) == ["test_toy.py", "toy.py"]


def test_a_mutant_that_never_ends_is_ended_and_named(project):
    start = time.monotonic()
    (outcome,) = tried(project, ENDLESS, limit=3.0)
    assert outcome.result == "timed out"
    assert time.monotonic() - start < 60


def test_nothing_is_said_where_tests_are_red_already_or_a_mutant_does_not_fit(project):
    with pytest.raises(ValueError, match=r"mutant lost no longer fits toy\.py"):
        tried(project, toy("lost", "a * b", "a"))
    (project / "toy.py").write_text("def total(a, b):\n    return a + b + 1\n")
    with pytest.raises(ValueError, match="red without any mutant"):
        tried(project, NOTICED)


def test_a_run_updates_the_rows_of_the_mutants_it_tried():
    one, other, gone = MUTANTS[0], MUTANTS[1], NOTICED
    page = updated("", [one, gone], [Outcome(one, "survived", ""), Outcome(gone, "killed", "a::b")])
    assert [row[0::3] for row in rows_of(page)] == [(one.name, "survived"), (gone.name, "killed")]
    page = updated(page, [other, one], [Outcome(one, "killed", "file::test")])
    assert rows_of(page) == [(one.name, one.breaks, one.file, "killed", "file::test")]
    page = updated(page, [other, one], [Outcome(other, "killed", "file::test")])
    assert [row[0] for row in rows_of(page)] == [other.name, one.name]


def test_the_command_line_refuses_a_name_that_no_mutant_has(capsys):
    with pytest.raises(SystemExit):
        main(["no-such-mutant"])
    assert "no mutant is called no-such-mutant" in capsys.readouterr().err
