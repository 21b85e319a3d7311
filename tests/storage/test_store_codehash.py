import ast
import gc
import os
import textwrap
import time

import pytest

from storage.codehash import code_closure

FILES = {
    "__init__.py": "",
    "stage.py": """
        import os
        from . import helper
        from {p}.deep import util, CONSTANT
        def run():
            from {p}.lazy import late
            return late
        """,
    "helper.py": '''
        """Docstring."""
        def help():
            """Say it."""
            return 1  # one
        ''',
    "deep/__init__.py": "CONSTANT = 1",
    "deep/util.py": "import {p}.deep.bottom as bottom",
    "deep/bottom.py": "VALUE = 1",
    "lazy.py": "from . import cyclic\nlate = 1",
    "cyclic.py": "import {p}.stage",
    "unused.py": "VALUE = 1",
}
ALL = ["", ".cyclic", ".deep", ".deep.bottom", ".deep.util", ".helper", ".lazy", ".stage"]


class Project:
    def __init__(self, root, name):
        self.root, self.name = root / name, name
        for path, text in FILES.items():
            self.write(path, text)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).replace("{p}", self.name))
        os.utime(file, ns=(time.time_ns(), time.time_ns()))

    def closure(self, exclude=()):
        return code_closure(f"{self.name}.stage", [self.name], [self.name + e for e in exclude])


@pytest.fixture
def project(tmp_path, monkeypatch, request):
    monkeypatch.syspath_prepend(tmp_path)
    name = "closure_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    return Project(tmp_path, name)


def changed(before, after):
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


def test_the_closure_follows_every_form_of_import(project):
    assert list(project.closure()) == [project.name + suffix for suffix in ALL]


def test_nothing_is_executed(project):
    project.write("__init__.py", "raise SystemExit('executed')")
    project.write("deep/__init__.py", "raise SystemExit('executed')")
    assert f"{project.name}.deep.bottom" in project.closure()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("helper.py", "def help():\n    return 1\n"),
        ("helper.py", '# new\ndef help():\n\n    """Other words."""\n    return (1)\n'),
        ("deep/bottom.py", 'VALUE = 1\n"""What it is."""\n'),
        ("unused.py", "VALUE = 2"),
    ],
)
def test_comments_docstrings_layout_and_unreached_modules_change_nothing(project, path, text):
    before = project.closure()
    project.write(path, text)
    assert project.closure() == before


@pytest.mark.parametrize(
    ("path", "text", "module"),
    [
        ("helper.py", "def help():\n    return 2\n", ".helper"),
        ("deep/bottom.py", "VALUE = 2", ".deep.bottom"),
        ("deep/__init__.py", "CONSTANT = 2", ".deep"),
        ("cyclic.py", "import {p}.stage\nX = 1", ".cyclic"),
    ],
)
def test_an_edit_anywhere_below_changes_its_module_s_hash(project, path, text, module):
    before = project.closure()
    project.write(path, text)
    assert changed(before, project.closure()) == [project.name + module]


def test_a_new_import_brings_its_module_in(project):
    before = project.closure()
    project.write("deep/bottom.py", "from {p} import unused\nVALUE = 1")
    assert changed(before, project.closure()) == [
        f"{project.name}.deep.bottom",
        f"{project.name}.unused",
    ]


def test_excluded_modules_are_neither_hashed_nor_walked(project):
    closure = project.closure(exclude=[".deep", ".lazy"])
    assert list(closure) == [project.name + s for s in ("", ".helper", ".stage")]
    project.write("deep/bottom.py", "VALUE = 3")
    assert project.closure(exclude=[".deep", ".lazy"]) == closure
    assert "deep.util" not in str(project.closure(exclude=[".deep.util"]).keys())


def test_imports_for_annotations_only_are_not_walked(project):
    project.write(
        "helper.py",
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from {p} import unused
        else:
            from {p}.extra import thing
        """,
    )
    project.write("extra.py", "thing = 1")
    closure = project.closure()
    assert f"{project.name}.unused" not in closure and f"{project.name}.extra" in closure


def test_relative_imports_from_a_parent_package(project):
    project.write(
        "deep/bottom.py", "from .. import unused\nfrom ..extra import x\nfrom . import util"
    )
    project.write("extra.py", "x = 1")
    assert {f"{project.name}.unused", f"{project.name}.extra"} <= project.closure().keys()


def test_a_missing_project_module_is_an_error_and_foreign_ones_are_not_looked_at(project):
    project.write("helper.py", "import torch_that_is_not_there")
    project.closure()
    project.write("helper.py", "import {p}.nowhere")
    with pytest.raises(ModuleNotFoundError, match=r"nowhere"):
        project.closure()
    with pytest.raises(ValueError, match="outside of the packages"):
        code_closure("json", ["storage"])


def test_the_real_project_is_hashed_quickly_the_second_time():
    code_closure("storage.catalog", ["storage"])
    start = time.perf_counter()
    closure = code_closure("storage.catalog", ["storage"])
    assert "storage.files" in closure and "storage.codehash" not in closure
    assert time.perf_counter() - start < 0.5


@pytest.fixture
def parsing_finalisers():
    """Collect garbage all the time, and parse in every collection, deeper than the test runs."""

    def parse(depth):
        return parse(depth - 1) if depth else ast.parse("x = 1")

    def collected(phase, info):
        parse(25)

    threshold = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(10)
    yield
    gc.set_threshold(*threshold)
    gc.callbacks.remove(collected)


def test_garbage_collected_in_the_midst_does_not_disturb(project, parsing_finalisers):
    assert code_closure(f"{project.name}.stage", [project.name])
    assert gc.isenabled()
