"""The real pipeline on a real Prefect server, as a user drives it."""

import json
import math
import sqlite3

import pytest

from deployments.home import Home
from deployments.processes import free_port
from flows.pipeline import DEPLOYMENTS
from tasks.registry import ORDER
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


def test_after_a_failure_in_mine_only_its_missing_shards_run(server, tmp_path):
    root = tmp_path / "store"
    status, said = deployment_run(server, "full", root, fail="mine/1", retries=0)
    assert status == 1, said
    status, said = deployment_run(server, "mine", root)
    assert status == 0, said
    status, said = deployment_run(server, "full", root)
    assert status == 0, said
    first, alone, whole = shard_runs(server)
    assert {"mine-0000", "mine-0001", "mine-0002"} <= first
    assert alone == {"mine-0001"}
    assert not any(name.startswith(("ingest", "score", "select", "mine")) for name in whole)
    assert {name.split("-")[0] for name in whole} == {
        "respond", "pair", "train", "ask", "answer", "evaluate"
    }  # fmt: skip
    assert server.states() == ["FAILED", "COMPLETED", "COMPLETED"]
    assert {row["model"] for row in rows(root, "evaluate", "metrics")} == {"base", "trained"}


def test_another_recipe_is_a_parameter_of_the_same_deployment(server, tmp_path):
    status, said = deployment_run(server, "full", tmp_path / "store", recipe="dpo")
    assert status == 0, said
    assert server.states()[-1] == "COMPLETED"
    steps = rows(tmp_path / "store", "train", "train_steps")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert rows(tmp_path / "store", "mine", "negatives")[0]["reason"] == "no_miner"


def test_there_is_one_deployment_for_the_whole_and_one_for_each_stage(server):
    status, said = server.prefect("deployment", "ls")
    assert status == 0 and all(f"mbpo/{name}" in said for name in DEPLOYMENTS)
    assert len(DEPLOYMENTS) == 1 + len(ORDER)


def test_a_wrong_parameter_is_refused_before_a_run_is_created(server):
    before = server.states()
    status, said = server.prefect("deployment", "run", "mbpo/full", "-p", "limit=many")
    assert status == 1 and "limit" in said
    assert server.states() == before
