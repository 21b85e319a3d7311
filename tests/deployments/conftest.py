"""A server with the toy pipeline, so that these tests do not wait for the real one."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.home import Home
from deployments.processes import free_port
from tests.servers import Place


@pytest.fixture(scope="session")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """What `up` leaves standing, with the toy pipeline; taken down at the end."""
    folder = tmp_path_factory.mktemp("standing") / "home"
    place = Place(Home(folder, free_port(), "toy"))
    status, output = place.up()
    assert status == 0, output
    yield place
    status, output = place.launch("down")
    assert status == 0, output
    assert place.processes() == []


@pytest.fixture
def fresh(standing: Place, tmp_path: Path) -> Place:
    """A home with nothing standing; its database is migrated already, which saves seconds."""
    place = Place(Home(tmp_path / "home", free_port(), "toy"))
    place.home.create()
    source = sqlite3.connect(f"file:{standing.home.folder}/prefect.db?mode=ro", uri=True)
    target = sqlite3.connect(place.home.folder / "prefect.db")
    source.backup(target)
    target.execute("delete from flow_run")
    target.commit()
    source.close()
    target.close()
    return place
