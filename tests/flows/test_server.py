"""The real pipeline on a real Prefect server, as a user drives it."""

import base64
import io
import json
import logging
import math
import sqlite3

import pytest
from PIL import Image
from prefect import flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_EXTRA_LOGGERS,
    temporary_settings,
)

from deployments.home import Home
from deployments.processes import free_port
from flows.pipeline import DEPLOYMENTS
from flows.prefect_page import RunPage
from flows.shard_tasks import shard_task
from storage.store import ArtifactStore
from tasks.registry import ORDER
from tasks.shard_pool import WorkerDiedError
from tests.pipelines import rows, small_settings
from tests.servers import Place

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Server and runner with the deployments of `flows.pipeline`."""
    folder = tmp_path_factory.mktemp("server") / "home"
    place = Place(Home(folder, free_port()))
    status, output = place.up()
    assert status == 0, output
    yield place
    status, output = place.launch("down")
    assert status == 0, output
    assert place.processes() == []


def deployment_run(place, name, root, recipe="mbpo", **runtime):
    """Type `prefect deployment run mbpo/NAME --watch`; return its status and what it said."""
    how = {"root": str(root), "devices": ["cpu"], "workers": 2, **runtime}
    return place.prefect(
        "deployment", "run", f"mbpo/{name}", "--watch", "--watch-timeout", "240",
        "-p", f"recipe={recipe}", "-p", f"overrides={json.dumps(small_settings(recipe))}",
        "-p", f"runtime={json.dumps(how)}",
    )  # fmt: skip


def shard_runs(place):
    """Names of the task runs of each flow run, oldest flow run first."""
    query = """
        select flow_run.id, task_run.name from flow_run
        left join task_run on task_run.flow_run_id = flow_run.id order by flow_run.created
    """
    with sqlite3.connect(f"file:{place.home.folder}/prefect.db?mode=ro", uri=True) as database:
        found = {}
        for flow_run, name in database.execute(query):
            found.setdefault(flow_run, set()).add(name)
    database.close()
    return list(found.values())


def artifacts(place):
    """What Prefect's page shows: (key, type, data) of all artifacts, oldest first.

    Those without a key are results that Prefect keeps for itself.
    """
    with sqlite3.connect(f"file:{place.home.folder}/prefect.db?mode=ro", uri=True) as database:
        found = database.execute(
            "select key, type, data from artifact where key is not null order by created"
        ).fetchall()
    database.close()
    return [(k, kind, json.loads(d) if isinstance(d, str) else d) for k, kind, d in found]


def test_after_a_failure_in_mine_only_its_missing_shards_run(server, tmp_path):
    root = tmp_path / "store"
    status, said = deployment_run(server, "full", root, fail="mine/1", retries=0)
    assert status == 1, said
    (bar,) = [data for key, _, data in artifacts(server) if key == "mbpo-mine-progress"]
    assert 0 <= bar < 100
    status, said = deployment_run(server, "mine", root)
    assert status == 0, said
    status, said = deployment_run(server, "full", root)
    assert status == 0, said
    first, alone, whole = shard_runs(server)
    assert {"mine-0000", "mine-0001", "mine-0002"} <= first
    assert alone == {"mine-0001"}
    assert not any(name.startswith(("ingest", "score", "select", "mine")) for name in whole)
    assert {name.split("-")[0] for name in whole} == {
        "respond", "pair", "train", "ask", "answer", "evaluate", "report"
    }  # fmt: skip
    assert server.states() == ["FAILED", "COMPLETED", "COMPLETED"]
    assert {row["model"] for row in rows(root, "evaluate", "metrics")} == {"base", "trained"}
    _check_what_is_shown(server, root)


def _check_what_is_shown(server, root):
    """The last run's tables say what the store has; every stage has its page and its bar."""
    store = ArtifactStore(root)
    shown = {key: (kind, data) for key, kind, data in artifacts(server)}
    assert {f"mbpo-{stage}" for stage in ORDER} | {"mbpo-stages", "mbpo-metrics"} <= set(shown)
    assert all(shown[f"mbpo-{stage}-progress"] == ("progress", 100.0) for stage in ORDER)
    table = {row["stage"]: row for row in json.loads(shown["mbpo-stages"][1])}
    assert list(table) == list(ORDER)
    for stage, row in table.items():
        manifest = store.manifest(store.resolve(stage))
        assert (row["artifact"], row["rows"]) == (manifest.ref.short, manifest.rows)
        assert row["refused"] == sum(manifest.reasons.get(manifest.artifact, {}).values())
        assert manifest.ref.short in shown[f"mbpo-{stage}"][1]
    metrics = json.loads(shown["mbpo-metrics"][1])
    assert len(metrics) == len(rows(root, "evaluate", "metrics"))
    kind, picture = shown["mbpo-gallery"]
    bytes_ = base64.b64decode(picture.removeprefix("data:image/webp;base64,"))
    assert kind == "image" and Image.open(io.BytesIO(bytes_)).width > 400
    assert server.named_runs()[:3] == [
        ("mbpo", ["mbpo"]), ("mbpo, mine", ["mbpo", "mine"]), ("mbpo", ["mbpo"])
    ]  # fmt: skip


def test_another_recipe_is_a_parameter_of_the_same_deployment(server, tmp_path):
    status, said = deployment_run(server, "full", tmp_path / "store", recipe="dpo")
    assert status == 0, said
    assert server.states()[-1] == "COMPLETED"
    steps = rows(tmp_path / "store", "train", "train_steps")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert rows(tmp_path / "store", "mine", "negatives")[0]["reason"] == "no_miner"


def test_shards_that_were_tried_again_are_listed(server, tmp_path):
    tries = {0: 0, 1: 0}

    def compute(stage, shard):
        tries[shard] += 1
        if shard == 1 and tries[1] == 1:
            raise WorkerDiedError("killed")
        return {}

    @flow(name="tries")
    def two_shards():
        page = RunPage(ArtifactStore(tmp_path), "tries", logging.getLogger("page"))
        shards = shard_task(compute, 1, page.failed_try)
        for future in [shards.submit("mine", shard) for shard in tries]:
            future.result()
        page.tried_again()

    with temporary_settings({PREFECT_API_URL: server.home.url, PREFECT_LOGGING_EXTRA_LOGGERS: []}):
        two_shards()
    (found,) = [data for key, _, data in artifacts(server) if key == "tries-tries"]
    assert json.loads(found) == [{"shard": "mine-0001", "failed because": "killed"}]


def test_there_is_one_deployment_for_the_whole_and_one_for_each_stage(server):
    status, said = server.prefect("deployment", "ls")
    assert status == 0 and all(f"mbpo/{name}" in said for name in DEPLOYMENTS)
    assert len(DEPLOYMENTS) == 1 + len(ORDER)


def test_a_wrong_parameter_is_refused_before_a_run_is_created(server):
    before = server.states()
    status, said = server.prefect("deployment", "run", "mbpo/full", "-p", "limit=many")
    assert status == 1 and "limit" in said
    assert server.states() == before
