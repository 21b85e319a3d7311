"""The start module and the questions to an interpreter, each in a process of its own.

torchvision's failure is its own: a package of that name asks torch for the same description of an
operator that nobody declared.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mbpo_core.evaluation.lmms.interpreter import PACKAGE, Interpreter, inspect

DESCRIBES = """
import torch
from torchvision import early
for operator in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{operator}")(lambda dets, scores, iou: dets)
from torchvision.after import whole
"""
CHECKS = """
import torch
from mbpo_core.evaluation.lmms.start import make_torchvision_importable
print(make_torchvision_importable())
import torchvision
print(torchvision.whole)
"""


def packages(folder, **modules):
    """Write packages with these __init__ files and return the folder."""
    for name, text in modules.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    return folder


def python(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )


def test_operators_are_declared_where_torchvision_fails_for_want_of_them(tmp_path):
    folder = packages(tmp_path, torchvision=DESCRIBES)
    (folder / "torchvision" / "after.py").write_text("whole = 'whole'")
    (folder / "torchvision" / "early.py").write_text("print('early')")
    assert "torchvision::nms does not exist" in python("import torchvision", folder).stderr
    done = python(CHECKS + "torch.ops.torchvision.nms(torch.ones(1), torch.ones(1), 0.5)\n", folder)
    # Nothing of the failed attempt is kept: what it had imported is imported anew.
    assert done.stdout.split() == ["early", "early", "True", "whole"]
    # Declared is not implemented: a call is an error, never a wrong number.
    assert done.returncode != 0 and "NotImplementedError" in done.stderr, done.stderr


def test_a_torchvision_that_works_is_left_alone(tmp_path):
    done = python(CHECKS, packages(tmp_path, torchvision="whole = 'whole'"))
    assert done.stdout.split() == ["False", "whole"], done.stderr
    assert "no attribute 'nms'" in python(CHECKS + "torch.ops.torchvision.nms", tmp_path).stderr


@pytest.mark.parametrize("failure", ["RuntimeError('disk full')", "ImportError('broken')"])
def test_other_failures_of_torchvision_are_not_hidden(tmp_path, failure):
    done = python(CHECKS, packages(tmp_path, torchvision=f"raise {failure}"))
    assert done.returncode != 0 and failure.split("'")[1] in done.stderr.splitlines()[-1]


def test_operators_are_not_declared_for_another_failure(tmp_path):
    """A second attempt would succeed here, and must not be made."""
    once = tmp_path / "once"
    failing = f"""
import pathlib
whole = "whole"
if not pathlib.Path({str(once)!r}).exists():
    pathlib.Path({str(once)!r}).touch()
    raise RuntimeError("disk full")
"""
    done = python(CHECKS, packages(tmp_path, torchvision=failing))
    assert done.returncode != 0 and "disk full" in done.stderr and once.exists()


def test_lmms_eval_runs_as_if_it_had_been_started_itself(tmp_path):
    folder = packages(tmp_path, torchvision="", lmms_eval="")
    (folder / "lmms_eval" / "__main__.py").write_text("import sys; print(__name__, sys.argv[1:])")
    done = subprocess.run(
        [sys.executable, "-m", "mbpo_core.evaluation.lmms.start", "--model", "x"],
        capture_output=True, text=True, cwd=PACKAGE.parent,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert done.stdout.strip() == "__main__ ['--model', 'x']", done.stderr


def test_an_interpreter_says_what_it_has(tmp_path, monkeypatch):
    folder = packages(tmp_path, decord="", mbpo_core="")
    for name, version in (("lmms_eval", "0.7.3"), ("filelock", "3.32.7")):
        facts = folder / f"{name}-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    found = inspect(sys.executable)
    assert found == Interpreter("0.7.3", True, "3.32.7", folder / "mbpo_core")
    assert found.missing() is None and found.import_path() == PACKAGE.parent
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    assert inspect(sys.executable).import_path() is None


@pytest.mark.parametrize(
    ("has", "install"),
    [
        ((None, False, None), "pip install lmms-eval decord 'filelock<4'"),
        (("0.7.3", False, "3.20.0"), "pip install decord"),
        (("0.7.3", True, "4.2.11"), "pip install 'filelock<4'"),
        (("0.7.3", True, "10.0"), "pip install 'filelock<4'"),
        (("0.7.3", True, "3.32.7"), None),
    ],
)
def test_what_is_missing_is_said_as_a_command(has, install):
    assert Interpreter(*has, None).missing() == install


def test_an_mbpo_beside_other_packages_is_not_lent_out(monkeypatch):
    place = Path("/x/site-packages/mbpo_core")
    monkeypatch.setattr("mbpo_core.evaluation.lmms.interpreter.PACKAGE", place)
    with pytest.raises(ValueError, match="install mbpo into it"):
        Interpreter("0.7.3", True, None, None).import_path()
    assert Interpreter("0.7.3", True, None, place).import_path() is None


def test_programs_that_are_no_python_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no Python interpreter"):
        inspect(str(tmp_path / "python"))
    for body, words in [("exit 3", "no usable Python"), ("echo hello", "unexpected answer")]:
        program = tmp_path / body.split()[0]
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        with pytest.raises(ValueError, match=words):
            inspect(str(program))
