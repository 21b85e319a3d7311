"""What is remembered of a source is what reading it again would say."""

import json
import os

import pytest

from mbpo_core.data.sources import LinkedFolder
from tasks import source_facts
from tasks.source_facts import count_records, fingerprint
from tasks.sources import SourceError, file_state, file_states


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder / "records.json", 3)
    for index in range(4):
        (folder / f"{index}.png").write_bytes(b"png")
    return folder / "records.json"


def write(path, count, age=60):
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "This."}]
    path.write_text(
        json.dumps([{"image": f"{n}.png", "conversations": said} for n in range(count)])
    )
    settle(path, age)


def settle(path, age=60):
    """Set the file's time back, as if it had been written that many seconds ago."""
    then = path.stat().st_mtime_ns - age * 10**9
    os.utime(path, ns=(then, then))


def asked(source, root):
    return fingerprint(source, source.parent, root), count_records(source, root)


@pytest.fixture
def readings(monkeypatch):
    """Count how often the records of a source are read."""
    read, kept = [], source_facts.load_records
    monkeypatch.setattr(source_facts, "load_records", lambda path: read.append(path) or kept(path))
    source_facts._count.cache_clear()
    return read


def test_a_known_source_is_not_read_again(source, tmp_path, readings):
    found = asked(source, tmp_path)
    assert found[1] == 3 and len(readings) == 1
    source_facts._count.cache_clear()
    assert asked(source, tmp_path) == found and len(readings) == 1
    assert asked(source, tmp_path / "other") == found and len(readings) == 2


def test_a_changed_source_is_read_and_has_another_hash(source, tmp_path):
    before = asked(source, tmp_path)
    write(source, 4)
    after = asked(source, tmp_path)
    assert after[1] == 4 and after[0] != before[0]


def test_changed_and_missing_pictures_are_noticed_without_reading_records(
    source, tmp_path, readings
):
    found = [fingerprint(source, source.parent, tmp_path)]
    settle(source.parent / "1.png", 5)
    found.append(fingerprint(source, source.parent, tmp_path))
    (source.parent / "1.png").unlink()
    found.append(fingerprint(source, source.parent, tmp_path))
    (source.parent / "3.png").unlink()  # no record names it
    assert fingerprint(source, source.parent, tmp_path) == found[-1]
    assert len(set(found)) == 3 and len(readings) == 1


def test_what_is_remembered_may_be_lost_or_damaged(source, tmp_path, readings):
    found = fingerprint(source, source.parent, tmp_path)
    (kept,) = (tmp_path / "cache" / "sources").iterdir()
    kept.write_text('{"files": [')
    assert fingerprint(source, source.parent, tmp_path) == found and len(readings) == 2
    kept.unlink()
    assert fingerprint(source, source.parent, tmp_path) == found and len(readings) == 3


def test_a_file_that_may_still_change_within_its_time_is_not_remembered(source, tmp_path):
    os.utime(source)
    assert asked(source, tmp_path)[1] == 3
    assert not (tmp_path / "cache").exists()


def test_a_missing_source_says_so(tmp_path):
    with pytest.raises(SourceError, match="source not found"):
        count_records(tmp_path / "none.json", tmp_path)


def test_many_states_at_once_are_those_of_each_file(tmp_path):
    """Plain files, folders, links in and out, ways out and names that are none."""
    root, outside = tmp_path / "images", tmp_path / "outside"
    for folder in (root / "a", outside):
        folder.mkdir(parents=True)
        (folder / "x.png").write_bytes(b"x" * len(str(folder)))
    (root / "in.png").symlink_to(root / "a" / "x.png")
    (root / "out.png").symlink_to(outside / "x.png")
    (root / "linked").symlink_to(outside)
    names = ["a/x.png", "a", "in.png", "out.png", "linked/x.png", "gone.png", "../outside/x.png",
             str(root / "a" / "x.png"), str(outside / "x.png"), "nul\0.png", "",
             "a/../in.png"]  # fmt: skip
    for where in (root, LinkedFolder(root)):
        assert list(file_states(names, where)) == [file_state(name, where) for name in names]
    assert list(file_states(["out.png", "linked/x.png"], root)) == ["missing"] * 2
