"""A server for more than one machine: its state in a real Postgres, a password, every interface."""

import base64
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.access import CLIENT_AUTH, DATABASE, SERVER_AUTH
from deployments.home import Home
from deployments.processes import free_port, leftovers, recall
from tests.deployments.postgres import Postgres, cluster
from tests.servers import Place, listening

pytestmark = pytest.mark.server

AUTH = "mbpo:auth-5f1c90d2"
KEYS = {"HF_TOKEN": "hf_4be07a61", "OPENAI_API_KEY": "sk-93d2c7f8", "JUDGE_KEY": "judge-71aa0e55"}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with cluster() as server:
        yield server


@pytest.fixture(scope="module")
def shared(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Server and runner as a team has them, after one run of the toy pipeline."""
    home = Home(tmp_path_factory.mktemp("shared") / "home", free_port(), "toy", host="0.0.0.0")
    place = Place(home, {**KEYS, SERVER_AUTH: AUTH, DATABASE: postgres.url})
    status, output = place.up("--host", home.host)
    assert status == 0, output
    assert f"state:   PostgreSQL, 127.0.0.1:{postgres.port}/postgres" in output
    status, output = place.run("recipe-a")
    assert status == 0, output
    assert "the results of recipe-a" in output
    yield place
    status, output = place.launch("down")
    assert status == 0, output
    assert place.processes() == []


def test_the_state_of_a_run_is_in_postgres_and_nowhere_else(
    shared: Place, postgres: Postgres
) -> None:
    assert postgres.ask("select state_type::text, name is null from flow_run") == [
        ("COMPLETED", False)
    ]
    assert {name for (name,) in postgres.ask("select name from deployment")} == {
        "full", "ingest", "mine"
    }  # fmt: skip
    assert not list(shared.home.folder.rglob("*.db"))


def status_of(url: str, auth: str | None = None) -> int:
    request = urllib.request.Request(url)
    if auth is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_listens_where_it_was_told(shared: Place) -> None:
    assert listening(shared.home, shared.home.port) == {"0.0.0.0"}
    assert listening(shared.home) <= {"0.0.0.0", "127.0.0.1"}


def test_without_the_password_nobody_is_let_in(shared: Place) -> None:
    settings = f"{shared.home.url}/admin/settings"
    assert status_of(settings) == 401
    assert status_of(settings, "mbpo:wrong") == 401
    assert status_of(settings, AUTH) == 200
    assert status_of(f"{shared.home.url}/health") == 200


def test_the_server_itself_does_not_tell_its_secrets(shared: Place, postgres: Postgres) -> None:
    request = urllib.request.Request(f"{shared.home.url}/admin/settings")
    request.add_header("Authorization", f"Basic {base64.b64encode(AUTH.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        told = answer.read().decode()
    assert not any(secret in told for secret in (AUTH, *postgres.traces))


def test_no_secret_is_in_a_file_a_log_or_a_command_line(shared: Place, postgres: Postgres) -> None:
    secrets = [AUTH, base64.b64encode(AUTH.encode()).decode(), *KEYS.values(), *postgres.traces]
    files = {file: file.read_bytes() for file in shared.home.folder.rglob("*") if file.is_file()}
    assert {"server.log", "runner.log", "server.process.json"} <= {file.name for file in files}
    for file, content in files.items():
        assert [s for s in secrets if s.encode() in content] == [], file
    said = "\n".join(shared.processes())
    assert said.count("\n") >= 1 and not any(secret in said for secret in secrets)


def test_no_secret_is_in_the_records_of_the_runs(shared: Place, postgres: Postgres) -> None:
    """A dump of the whole database: parameters, logs, events, settings of the deployments."""
    tables = postgres.ask("select tablename from pg_tables where schemaname = 'public'")
    dump = "\n".join(
        str(row) for (table,) in tables for row in postgres.ask(f'select t::text from "{table}" t')
    )
    assert "working on ingest" in dump  # the run's log
    assert not any(secret in dump for secret in (AUTH, *KEYS.values(), *postgres.traces))


def test_only_the_server_knows_the_database(shared: Place) -> None:
    server = recall(shared.home, "server").process
    family = {server, *server.children(recursive=True)}
    others = [each for each in leftovers(shared.home) if each not in family]
    assert DATABASE in server.environ() and others
    for process in others:
        assert DATABASE not in process.environ() and SERVER_AUTH not in process.environ()
        assert process.environ()[CLIENT_AUTH] == AUTH


def test_another_database_than_that_of_the_standing_server_is_refused(shared: Place) -> None:
    status, output = shared.up("--database", "postgresql+asyncpg://prefect@db.example/prefect")
    assert status == 1
    assert "a server stands already, on 0.0.0.0, its state in PostgreSQL, 127.0.0.1" in output
    status, output = shared.up("--host", "127.0.0.1")
    assert status == 1 and "a server stands already, on 0.0.0.0" in output


@pytest.mark.slow
def test_a_wrong_password_ends_the_start_and_is_not_told(
    shared: Place, postgres: Postgres, tmp_path: Path
) -> None:
    wrong = replace(postgres, password="wr@ng-8f2e")
    place = Place(Home(tmp_path / "home", free_port(), "toy"), {DATABASE: wrong.url})
    status, output = place.up()
    assert status == 1
    assert "the server ended" in output
    logs = "".join(file.read_text() for file in place.home.logs.iterdir())
    assert "password authentication failed" in logs
    assert not any(trace in output + logs for trace in wrong.traces)
    assert place.processes() == []


@pytest.mark.slow
def test_the_password_may_come_by_itself(postgres: Postgres, tmp_path: Path) -> None:
    home = Home(tmp_path / "home", free_port(), "toy")
    place = Place(home, {"PGPASSWORD": postgres.password})
    url = f"postgresql+asyncpg://prefect@127.0.0.1:{postgres.port}/postgres"
    try:
        status, output = place.up("--database", url)
        assert status == 0, output
        assert not list(home.folder.rglob("*.db"))
    finally:
        place.launch("down")
