"""The commit in a manifest, with git and without."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.materialise import code_revision
from tasks.pool import PROJECT


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    code_revision.cache_clear()
    yield
    code_revision.cache_clear()


def test_in_a_checkout_it_is_what_git_says() -> None:
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    if said.returncode:
        pytest.skip("not in a checkout")
    assert code_revision()[0] == said.stdout.strip()


def test_without_git_it_is_what_the_image_was_built_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MBPO_REVISION", raising=False)
    assert code_revision() == ("", False)
    code_revision.cache_clear()
    monkeypatch.setenv("MBPO_REVISION", "4be07a61")
    assert code_revision() == ("4be07a61", False)
