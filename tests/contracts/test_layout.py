"""The top level is given: what a tool leaves there by accident is no part of the project."""

import subprocess

import pytest

from tests.servers import CHECKOUT

FOLDERS = {"flows", "tasks", "mbpo_core", "storage", "deployments", "tests", "benchmarks", "docs",
           "examples"}  # fmt: skip
FILES = {"pyproject.toml", "Makefile", "README.md", "LICENSE", "CITATION.cff", "constraints.txt"}


def test_nothing_stands_at_the_top_level_but_what_is_given():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    names = [name.split("/") for name in listed.stdout.split("\0") if name]
    assert len(names) > 100
    folders = {first for first, *rest in names if rest and not first.startswith(".")}
    files = {first for first, *rest in names if not rest and not first.startswith(".")}
    assert folders <= FOLDERS and files <= FILES, sorted((folders - FOLDERS) | (files - FILES))
