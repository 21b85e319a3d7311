"""What is shown in Prefect, where it goes wrong, and how runs are called."""

import logging

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.processes import free_port
from flows.prefect_page import RunPage, stage_text
from flows.run_names import name_of
from storage.store import ArtifactStore
from tasks.materialise import Materialised
from tests.storage.store_builders import build


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "mbpo"),
        ({"recipe": "dpo", "only": None, "limit": None}, "dpo"),
        ({"recipe": "mbpo", "only": ["mine", "respond"]}, "mbpo, mine+respond"),
        ({"recipe": "mfpo", "start": "pair", "limit": 64}, "mfpo, from pair, limit 64"),
        ({"recipe": "mbpo", "refresh": ["mine"]}, "mbpo, refresh mine"),
        ({"retry": ["oom", "error"]}, "mbpo, retry oom+error"),
    ],
)
def test_a_run_is_called_by_what_was_asked_for(given, name):
    assert name_of(given) == name


@pytest.fixture
def made(tmp_path):
    store = ArtifactStore(tmp_path / "store")
    return store, Materialised(build(store), hit=False, seconds=1.0, computed=(0, 1))


def test_the_text_of_a_stage_counts_its_rows_and_refusals(made):
    store, found = made
    text = stage_text(store.manifest(found.ref), found, "the/folder")
    assert text.startswith("# mine: negatives")
    assert f"`{found.ref.short}`, shards computed: 2: **6 rows**, 2 of them refused" in text
    assert "| refused because | rows |\n|---|---|\n| unreadable | 2 |" in text
    assert f"mbpo show {found.ref.short}" in text and "`the/folder`" in text


def test_a_server_that_does_not_answer_costs_a_line_of_log(made, caplog):
    store, found = made
    page = RunPage(store, "mbpo", logging.getLogger("page"))
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        page.tags(["pilot"])
        page.progress("mine", 1, 2)
        page.finished("mine", found)
        page.completed({"mine": found.ref})
        page.failed_try("mine-0001", "killed")
        page.tried_again()
    told = [record.getMessage() for record in caplog.records if record.name == "page"]
    assert [line.split(":")[0] for line in told] == [
        f"not shown in Prefect ({name})"
        for name in ("tags", "progress", "finished", "completed", "tried_again")
    ]
