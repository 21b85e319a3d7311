"""Keys and passwords that a run uses are in nothing that the run leaves behind."""

import json

import pytest

from deployments.access import SERVER_AUTH
from deployments.home import Home
from tests.chat_server import Script, completion
from tests.pipelines import rows, small_settings
from tests.servers import Place

pytestmark = [pytest.mark.server, pytest.mark.slow]

SECRETS = {
    "INJECTOR_KEY": "sk-0c5d17aa",
    "HF_TOKEN": "hf_9b31e2f0",
    SERVER_AUTH: "mbpo:pw-6e1d44c8",
    "PREFECT_SERVER_DATABASE_PASSWORD": "db-37f0b9ce",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://u:pg-88a2d7@127.0.0.1:1/none",
}
TRACES = [*list(SECRETS.values())[:4], "pg-88a2d7"]


def test_a_run_leaves_no_secret_in_home_store_or_output(tmp_path):
    asked = []

    def answer(body):
        asked.append(body)
        if len(asked) == 1:  # an endpoint that repeats the key in its complaint
            return 500, {"error": f"try again, {SECRETS['INJECTOR_KEY']}"}
        return 200, completion(f"There is a plaid elephant, number {len(asked)}.")

    place, root = Place(Home(tmp_path / "home", 1, "flows"), SECRETS), tmp_path / "store"
    with Script(to=answer) as endpoint:
        injector = {
            "kind": "endpoint", "base_url": endpoint.url, "model": "m",
            "api_key_env": "INJECTOR_KEY",
        }  # fmt: skip
        settings = small_settings("mbpo") | {
            "respond.sources": ["injected"], "respond.injector": injector
        }  # fmt: skip
        stages = ("ingest", "score", "select", "mine", "respond")
        status, said = place.run(
            *(word for stage in stages for word in ("--only", stage)),
            *(w for k, v in settings.items() for w in ("--set", f"{k}={json.dumps(v)}")),
            "--runtime", f"root={root}", "--runtime", 'devices=["cpu"]',
        )  # fmt: skip
        sent = {headers.get("Authorization") for _, headers, _ in endpoint.asked}
    assert status == 0, said
    assert sent == {f"Bearer {SECRETS['INJECTOR_KEY']}"}  # it was used
    assert any("elephant" in (row["text"] or "") for row in rows(root, "respond", "responses"))
    files = [file for folder in (place.home.folder, root) for file in folder.rglob("*")]
    contents = {file: file.read_bytes() for file in files if file.is_file()}
    assert {"prefect.db", "manifest.json", "server.log"} <= {file.name for file in contents}
    for file, content in {**contents, "output": said.encode()}.items():
        assert [trace for trace in TRACES if trace.encode() in content] == [], file
