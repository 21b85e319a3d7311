"""Who is let in, and what is refused before anything starts; no message tells a secret."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.access import (
    CLIENT_AUTH,
    DATABASE,
    DATABASE_OF_OLD,
    SERVER_AUTH,
    LaunchError,
    client_auth,
    database_label,
    database_url,
    is_loopback,
    require_auth,
    without_servers_own,
)
from deployments.home import Home
from deployments.local import ensure
from deployments.processes import port_is_free, recall
from tests.servers import Place

URL = "postgresql+asyncpg://prefect:s3cret-9b@db.example:5433/runs"


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.7", False), ("mbpo.example", False)],
)  # fmt: skip
def test_other_machines_are_let_in_only_with_a_password(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone
    if alone:
        require_auth(host, {})
    else:
        with pytest.raises(LaunchError, match=f"on --host {host} other machines reach"):
            require_auth(host, {SERVER_AUTH: " "})
    require_auth(host, {SERVER_AUTH: "user:word"})


def test_an_open_server_for_all_is_refused_before_it_starts(tmp_path: Path) -> None:
    place = Place(Home(tmp_path / "home", 1, "toy"))
    status, output = place.up("--host", "0.0.0.0")
    assert status == 1
    assert f"set {SERVER_AUTH}=USER:PASSWORD in the environment" in output
    assert "Traceback" not in output
    assert not list(place.home.folder.rglob("*.log"))


def test_clients_are_let_in_with_the_servers_own_password() -> None:
    assert client_auth({}) == {}
    assert client_auth({CLIENT_AUTH: "a:b"}) == {CLIENT_AUTH: "a:b"}
    assert client_auth({CLIENT_AUTH: "old:b", SERVER_AUTH: "new:b"}) == {CLIENT_AUTH: "new:b"}


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "http://127.0.0.1:42"), ("::", "http://[::1]:42"), ("h", "http://h:42")],
)
def test_this_machine_reaches_the_server_wherever_it_listens(host: str, address: str) -> None:
    assert Home(Path("home"), 42, host=host).address == address


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(LaunchError, match=r"192\.0\.2\.1 is no address of this machine"):
        port_is_free(4266, "192.0.2.1")
    with pytest.raises(LaunchError, match=r"nowhere\.invalid is no address"):
        port_is_free(4266, "nowhere.invalid")


def test_the_database_comes_from_the_command_line_or_the_environment() -> None:
    plain = "postgresql+asyncpg://prefect@db.example/runs"
    assert database_url(None, {}) is None
    assert database_url(None, {DATABASE_OF_OLD: plain}) == plain
    assert database_url(None, {DATABASE_OF_OLD: plain, DATABASE: URL}) == URL
    assert database_url(plain, {DATABASE: URL}) == plain
    with_password = "postgresql+asyncpg://prefect:s3cret-9b@db.example/runs"
    assert database_url(None, {DATABASE: with_password}) == with_password


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgresql+asyncpg:///runs?user=prefect&password=s3cret-9b",
        "postgresql://prefect:s3cret-9b@db.example/runs",
        "mysql://prefect:s3cret-9b@db.example/runs",
        "s3cret-9b",
        "postgresql+asyncpg://prefect:s3cret-9b/@db.example/runs",
        "postgresql+asyncpg://prefect:17/s3cret-9b@db.example/runs",
        "postgresql+asyncpg://prefect@[s3cret-9b/runs",
    ],
)
def test_a_refused_url_is_not_quoted(url: str) -> None:
    with pytest.raises(LaunchError) as refused:
        database_url(url, {})
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_password_on_the_command_line_stays_there(tmp_path: Path) -> None:
    place = Place(Home(tmp_path / "home", 1, "toy"))
    status, output = place.up("--database", URL)
    assert status == 1
    assert f"put the URL into {DATABASE} instead" in output
    assert "s3cret" not in output and "Traceback" not in output
    assert not place.home.folder.exists()


def test_a_database_in_parts_is_asked_for_as_one() -> None:
    with pytest.raises(LaunchError, match="PREFECT_SERVER_DATABASE_HOST is set, but no URL"):
        database_url(None, {"PREFECT_SERVER_DATABASE_HOST": "db.example"})


@pytest.mark.parametrize(
    ("url", "label"),
    [
        (None, "SQLite in the home"),
        (URL, "PostgreSQL, db.example:5433/runs"),
        ("postgresql+asyncpg://me@[::1]/runs", "PostgreSQL, ::1:5432/runs"),
        ("postgresql+asyncpg://me@/runs?host=/run/pg", "PostgreSQL, /run/pg:5432/runs"),
        ("sqlite+aiosqlite:////data/prefect.db", "SQLite, //data/prefect.db"),
    ],
)
def test_a_database_is_named_without_user_and_password(url: str | None, label: str) -> None:
    assert database_label(url) == label
    assert "s3cret" not in repr(Home(Path("home"), 1, database=url))


def test_only_the_server_learns_of_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (DATABASE, DATABASE_OF_OLD):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(DATABASE_OF_OLD, "postgresql+asyncpg://other@db.example/other")
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_PASSWORD", "s3cret-9b")
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    home = Home(Path("home"), 1)
    server, runner = home.environment_of("server"), home.environment_of("runner")
    assert server[DATABASE] == "sqlite+aiosqlite:///home/prefect.db"
    assert not any("DATABASE" in name for name in runner)
    assert runner["HF_TOKEN"] == "hf_1"
    assert without_servers_own({"PGPASSWORD": "x", "PATH": "y"}) == {"PATH": "y"}


def test_a_server_that_hangs_is_not_started_again_on_another_database(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", 1, database=URL)
    home.create()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as hangs:
        import psutil

        record = {
            "pid": hangs.pid, "started": psutil.Process(hangs.pid).create_time(), "port": 1,
            "host": "0.0.0.0", "state": home.state,
        }  # fmt: skip
        (home.folder / "server.process.json").write_text(json.dumps(record))
        assert recall(home, "server").host == "0.0.0.0"
        with pytest.raises(LaunchError, match=r"its database is needed, PostgreSQL, db\.example"):
            ensure(Home(home.folder, 1))
        assert hangs.poll() is None
        hangs.communicate(b"\n")
