"""Keys of the environment reach neither the store nor what is printed."""

import json

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from flows.cli import app
from mbpo_core.config.responses import EndpointInjector
from tests.chat_server import Script
from tests.pipelines import SMALL

SECRETS = {
    "HF_TOKEN": "hf_SecretOfTheHub1234567890",
    "HUGGING_FACE_HUB_TOKEN": "hf_OlderSecret1234567890",
    "OPENAI_API_KEY": "sk-SecretOfTheJudge1234567890",
    "AWS_SECRET_ACCESS_KEY": "SecretOfTheBucket1234567890",
}
STAGES = ("ingest", "score", "select", "mine", "respond")


def mbpo(root, *arguments):
    """Run the command line as its users do, with secrets in the environment."""
    return CliRunner().invoke(app, [*map(str, arguments), "--root", str(root)], env=SECRETS)


def nowhere(root, *texts):
    """No secret stands in any file of the store or in any text."""
    files = [file for file in root.rglob("*") if file.is_file()]
    for secret in SECRETS.values():
        assert not any(secret in text for text in texts)
        assert not [file for file in files if secret.encode() in file.read_bytes()]
    return files


def settings(url):
    injector = {"kind": "endpoint", "base_url": url, "model": "m", "attempts": 1,
                "api_key_env": "OPENAI_API_KEY"}  # fmt: skip
    changes = {name: value for name, value in SMALL.items() if name.partition(".")[0] in STAGES}
    changes |= {"ingest.source.scenes": 2, "select.k": 2, "mine.steps": 1,
                "respond.sources": ["injected"], "respond.injector": injector}  # fmt: skip
    return [f"--set={name}={json.dumps(value)}" for name, value in changes.items()]


def echo(script):
    """An endpoint that repeats the key that it got, in a refusal."""
    return lambda body: (401, {"error": f"wrong key {script.asked[-1][1]['Authorization']}"})


@pytest.fixture(scope="module")
def refused_run(tmp_path_factory):
    """A run whose last stage asks an endpoint that tells the key again and refuses."""
    root = tmp_path_factory.mktemp("secrets") / "store"
    with Script() as script:
        script.to = echo(script)
        done = mbpo(root, "run", "--workers", 1, *settings(script.url))
    assert SECRETS["OPENAI_API_KEY"] in str(script.asked)  # it was used
    return root, done.exit_code, [done.stdout, done.stderr]


def test_a_run_that_fails_at_an_endpoint_tells_no_key(refused_run):
    root, status, said = refused_run
    assert status == 1 and "wrong key" in said[-1] and "***" in said[-1]
    assert len(nowhere(root, *said)) > 10


def test_show_and_sql_tell_none(refused_run):
    root, _, _ = refused_run
    told = [mbpo(root, "show", "mine"), mbpo(root, "sql", "FROM duckdb_settings()"),
            mbpo(root, "sql", "FROM runs")]  # fmt: skip
    assert all(done.exit_code == 0 for done in told)
    nowhere(root, *(done.stdout + done.stderr for done in told))


def test_an_address_with_a_password_is_refused_before_it_is_stored():
    with pytest.raises(ValidationError, match="without user and password") as caught:
        EndpointInjector(base_url="https://me:SecretWord@host/v1", model="m")
    assert "SecretWord" not in str(caught.value)
