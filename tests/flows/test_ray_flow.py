"""The flow on a Ray cluster: shards are task runs of prefect-ray, and outlive a node."""

import shutil
import threading

import pytest
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from flows.pipeline import mbpo
from storage.store import ArtifactStore
from tests.pipelines import SMALL, run, runtime, small_recipe
from tests.ray_clusters import SHARDED, two_nodes
from tests.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.server]
SETTINGS = {"mine.shard_rows": 1, "mine.steps": 40}


@pytest.fixture(scope="module")
def prefect():
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture
def cluster(tmp_path):
    with two_nodes(tmp_path) as nodes:
        yield nodes


@pytest.fixture
def local(tmp_path):
    """A finished run in this process, and the manifests of its sharded stages."""
    root = tmp_path / "local"
    recipe = small_recipe(**{name.replace(".", "__"): value for name, value in SETTINGS.items()})
    run(recipe, runtime(root, runner="local"))
    return root, manifests(root)


def manifests(root):
    store = ArtifactStore(root)
    return {stage: store.manifest(store.resolve(stage)) for stage in SHARDED}


def start(root, **how):
    return mbpo(
        only=list(SHARDED), refresh=list(SHARDED), overrides=SMALL | SETTINGS,
        runtime={"root": str(root), "runner": "ray", "workers": 2, "devices": ["cpu"], **how},
    )  # fmt: skip


def shard_runs():
    """State and number of tries of the task runs by name; the server learns of them bit by bit."""
    with get_client(sync_client=True) as client:
        return {run.name: (run.state.type.value, run.run_count) for run in client.read_task_runs()}


def kill_when_mine_is_under_way(root, cluster, ended, there):
    """Take the second node away once two shards of the attack are there; `there` tells how many."""
    whole, second = cluster
    while not ended.wait(0.05):
        if (found := len(list(root.glob("staging/mine/*/shard-*")))) >= 2:
            there.append(found)
            whole.remove_node(second, allow_graceful=False)
            return


def test_a_node_that_is_killed_in_the_middle_changes_no_byte(prefect, cluster, local, tmp_path):
    root, ended = shutil.copytree(local[0], tmp_path / "store"), threading.Event()
    there = []
    killer = threading.Thread(
        target=kill_when_mine_is_under_way, args=(root, cluster, ended, there)
    )
    killer.start()
    try:
        start(root)
    finally:
        ended.set()
        killer.join()
    made = manifests(root)
    assert {s: m.ref for s, m in made.items()} == {s: m.ref for s, m in local[1].items()}
    wait_until(lambda: {state for state, _ in shard_runs().values()} == {"COMPLETED"}, 30, "ends")
    runs = shard_runs()
    assert {f"mine-{shard:04d}" for shard in range(8)} <= runs.keys()
    assert there and there[0] < 8, "the node was taken away too late"
    assert {name.split("-")[0] for name in runs} == set(SHARDED)


def test_a_shard_that_fails_ends_the_flow_with_its_error(prefect, cluster, local):
    with pytest.raises(RuntimeError, match=r"shard 1 of score: RuntimeError.*asks for it"):
        start(local[0], fail="score/1")
