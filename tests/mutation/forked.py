"""pytest in a fork of a process that has imported what is slow to import, and none of our code."""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

SLOW_TO_IMPORT = (
    "torch",
    "transformers.models.qwen2_vl.modeling_qwen2_vl",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
    "transformers.trainer",
    "peft",
)
"""Third-party modules: a fork with them is there at once, a new process takes seven seconds."""

_FORKS = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Run:
    """One run of pytest."""

    code: int | None
    """Exit code: 0 all green, 1 a test red, anything else no verdict; None if out of time."""
    test: str = ""
    """`file::test` of the first red test."""
    message: str = ""
    """How it failed."""
    output: str = ""
    """What pytest printed."""


def warm_up() -> None:
    """Let the forks of this process begin with `SLOW_TO_IMPORT`; only before the first one."""
    _FORKS.set_forkserver_preload(list(SLOW_TO_IMPORT))


def run_tests(folder: Path, tests: Sequence[str], limit: float | None) -> Run:
    """Run tests of a checkout in `folder` until the first red one, at most `limit` seconds."""
    report, output = folder / "report.xml", folder / "output.txt"
    report.unlink(missing_ok=True)
    process = _FORKS.Process(target=_pytest, args=(folder, list(tests), report, output))
    process.start()
    try:
        process.join(limit)
        if process.exitcode is None:
            return Run(None)
    finally:
        # Tests may have started processes: the whole session goes.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return Run(process.exitcode, *_first_red(report), output.read_text())


def _pytest(folder: Path, tests: list[str], report: Path, output: Path) -> None:
    os.setsid()
    with output.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = str(folder)
    # No byte code: two mutants of one size, made in one second, would share it.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    import pytest
    from hypothesis import Phase, settings

    # The same examples in every run, and none of them made smaller: one is enough.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", phases=phases, derandomize=True, database=None)
    settings.load_profile("mutants")
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    options += [f"--rootdir={folder}"]
    options += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
    # A plugin that was imported by now needs no rewritten assertions.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    sys.exit(int(pytest.main([*options, *tests])))


def _first_red(report: Path) -> tuple[str, str]:
    if not report.is_file():
        return "", ""
    for case in ElementTree.parse(report).iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            name = case.get("name", "").split("[")[0]
            return f"{case.get('file')}::{name}", problem.get("message", "")
    return "", ""
