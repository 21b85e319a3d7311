"""What leaves the store: a folder appears whole or not at all, and nothing else is lost."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import DamagedArtifact, DiskError
from storage.outgoing import MARK, copy_checked, new_folder

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def fill(target, root, text="new", **how):
    with new_folder(target, root=root, **how) as folder:
        (folder / "data.txt").write_text(text)
        (folder / MARK).write_text("{}")


def test_a_folder_appears_whole(root, tmp_path):
    target = tmp_path / "deep" / "out"
    with new_folder(target, root=root) as folder:
        (folder / "data.txt").write_text("new")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert (target / "data.txt").read_text() == "new"


def test_an_error_leaves_nothing_and_an_empty_folder_may_be_taken(root, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(KeyError), new_folder(target, root=root) as folder:
        (folder / "data.txt").write_text("new")
        raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]
    assert not any(target.iterdir())
    fill(target, root)
    assert (target / "data.txt").read_text() == "new"


def test_a_full_disk_is_named_and_leaves_nothing(root, tmp_path):
    target = tmp_path / "out"
    said = r"full.*nothing was written there.*export again"
    with pytest.raises(DiskError, match=said), new_folder(target, root=root) as folder:
        (folder / "data.txt").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_what_is_there_stays_unless_it_is_to_be_replaced(root, tmp_path):
    target = tmp_path / "out"
    fill(target, root, "old")
    with pytest.raises(ValueError, match=r"is not empty; name another folder, or --force"):
        fill(target, root)
    fill(target, root, force=True)
    assert (target / "data.txt").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


def test_a_folder_that_was_not_exported_is_kept_beside(root, tmp_path):
    for number in (1, 2):
        target = tmp_path / "out"
        if target.exists():
            (target / MARK).unlink()
        else:
            target.mkdir()
        (target / "mine.txt").write_text(f"work {number}")
        fill(target, root, force=True)
        assert (tmp_path / f"out.{number}" / "mine.txt").read_text() == f"work {number}"
        assert not (target / "mine.txt").exists()


def test_the_store_the_current_folder_and_files_are_not_replaced(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("text")
    inside = root / "artifacts" / "new"
    for target in (root, tmp_path, inside):
        with pytest.raises(ValueError, match="would mix"):
            fill(target, root, force=True)
    with pytest.raises(ValueError, match="is a file"):
        fill(tmp_path / "file", root, force=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match="is the current folder"):
        fill(tmp_path / "here", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "here", "store"]


def test_a_copy_is_compared_with_what_was_written(tmp_path):
    source, told = tmp_path / "part", []
    source.write_bytes(b"bytes")
    good = hashlib.sha256(b"bytes").hexdigest()
    copy_checked(source, tmp_path / "a" / "copy", good, told.append)
    assert (tmp_path / "a" / "copy").read_bytes() == b"bytes" and told == [5]
    with pytest.raises(DamagedArtifact, match=r"its sha256 is another.*mbpo doctor --repair"):
        copy_checked(source, tmp_path / "copy", "0" * 64, told.append)
    with pytest.raises(DamagedArtifact, match="is gone"):
        copy_checked(tmp_path / "none", tmp_path / "copy", good, told.append)


KILLED = """
import os, signal, sys
from pathlib import Path
from storage.outgoing import new_folder
with new_folder(Path(sys.argv[1]), root=Path(sys.argv[2]), force=True) as folder:
    (folder / "data.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_what_was_there(root, tmp_path):
    target = tmp_path / "out"
    fill(target, root, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, target, root], cwd=PROJECT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (target / "data.txt").read_text() == "old"
    shown = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
    assert shown == {"out", "store"}
