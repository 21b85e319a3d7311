"""The miner that docs/extending.md adds is a miner: applied to a copy, it keeps the contract."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.run import PARTS
from tests.servers import CHECKOUT

PAGE = (CHECKOUT / "docs" / "extending.md").read_text()
NEW = re.findall(r"```python (\S+)\n(.*?)```", PAGE, re.DOTALL)
CHANGED = re.findall(r"```diff (\S+)\n(.*?)```", PAGE, re.DOTALL)
CONTRACT = "tests/contracts/test_miners.py"


def hunks(diff: str) -> list[tuple[str, str]]:
    """Return what each stretch of a diff is before and after it."""
    found = []
    for stretch in diff.split("@@\n")[1:]:
        lines = stretch.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        found.append((before, after))
    return found


def applied(root: Path) -> None:
    """Make the changes of the page to the checkout in a folder."""
    for name, text in NEW:
        (root / name).write_text(text)
    for name, diff in CHANGED:
        text = (root / name).read_text()
        for before, after in hunks(diff):
            assert text.count(before) == 1, f"{name} has not once:\n{before}"
            text = text.replace(before, after)
        (root / name).write_text(text)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the checkout with the miner of the page."""
    root = tmp_path_factory.mktemp("extended")
    for part in (*PARTS, "benchmarks"):
        copy = shutil.copytree if (CHECKOUT / part).is_dir() else shutil.copy
        ignored = (
            {"ignore": shutil.ignore_patterns("__pycache__")} if copy is shutil.copytree else {}
        )
        copy(CHECKOUT / part, root / part, **ignored)
    applied(root)
    return root


def ran(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=root, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_four_files_are_all_that_a_miner_takes(extended):
    assert [name for name, _ in NEW + CHANGED] == [
        "mbpo_core/mining/blur.py", "mbpo_core/config/mining.py", "tasks/miners.py",
        "tests/contracts/miners.py",
    ]  # fmt: skip
    ran(extended, "-m", "ruff", "check", *(name for name, _ in NEW + CHANGED))


@pytest.mark.slow
def test_the_miner_of_the_page_keeps_the_contract_and_goes_with_the_others(extended):
    told = ran(extended, "-m", "pytest", CONTRACT, "-k", "blur")
    assert re.search(r"[1-9]\d* passed", told), told
    told = ran(extended, "-m", "pytest", "tests/contracts/test_combinations.py",
               "-k", "blur or every_member")  # fmt: skip
    assert re.search(r"[2-9]\d* passed|[2-9] passed", told), told
