"""The deployments of the real pipeline: names, defaults, and the same again for work pools."""

import tomllib

import pytest
import yaml

from deployments.home import CHECKOUT, configured_port

STAGES = ("ingest", "score", "select", "mine", "respond", "pair", "train", "ask", "answer",
          "evaluate", "report")  # fmt: skip


@pytest.fixture(scope="module")
def table() -> dict:
    from flows.pipeline import DEPLOYMENTS

    return DEPLOYMENTS


def test_there_is_one_deployment_for_all_and_one_for_each_stage(table: dict) -> None:
    assert set(table) == {"full", *STAGES}
    assert table["full"] == {}
    assert all(table[stage]["only"] == [stage] for stage in STAGES)


def test_entry_points_name_the_module(table: dict) -> None:
    from deployments.serve import deployments

    made = {each.name: each for each in deployments()}
    assert {name: each.parameters for name, each in made.items()} == table
    assert {each.entrypoint for each in made.values()} == {"flows.pipeline.mbpo"}


def test_pools_offer_the_same_under_names_of_their_own(table: dict) -> None:
    file = yaml.safe_load((CHECKOUT / "deployments" / "prefect.yaml").read_text())
    pooled = {each["name"]: each["parameters"] for each in file["deployments"]}
    assert pooled == {f"{name}-pool": parameters for name, parameters in table.items()}


def test_client_and_server_agree_on_the_port() -> None:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["prefect"]
    assert settings["server"]["api"]["port"] == configured_port()
