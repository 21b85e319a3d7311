"""`mbpo run dpo --source pairs.json`: +BPO, +POVID, +RLAIF-V and +CSR are DPO on imported pairs."""

import json
import math

import pytest
from typer.testing import CliRunner

from flows.cli import app
from mbpo_core.testbed.world import write_world
from tests.pipelines import rows, small_settings


def mbpo(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})


def settings():
    values = small_settings("dpo")
    values.pop("ingest.source.scenes")
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Captions of scenes in RLHF-V's layout, each against the caption of the next scene."""
    folder = tmp_path_factory.mktemp("pairs")
    write_world(folder, "pool", 6)
    (path,) = folder.glob("*.json")
    records = [r for r in json.loads(path.read_text()) if r["id"].endswith("-describe")]
    texts = [[turn["value"] for turn in record["conversations"]] for record in records]
    wrong = [chosen for _, chosen in texts[1:] + texts[:1]]
    layout = [
        {"idx": number, "image": record["image"], "text": json.dumps(
            {"question": question, "chosen": chosen, "rejected": rejected})}
        for number, (record, (question, chosen), rejected)
        in enumerate(zip(records, texts, wrong, strict=True))
    ]  # fmt: skip
    (folder / "rlhf.json").write_text(json.dumps(layout))
    return folder / "rlhf.json"


def test_dpo_trains_on_pairs_that_a_file_brings(pairs, tmp_path):
    root = tmp_path / "store"
    words = ["run", "dpo", "--root", root, "--workers", 1, "--source", pairs, *settings()]
    done = mbpo(*words, "--set", 'respond.sources=["dataset"]')
    assert done.exit_code == 0, done.output
    given = {one["chosen"]: one["rejected"] for one in map(load, json.loads(pairs.read_text()))}
    groups = [row for row in rows(root, "pair", "groups") if row["reason"] is None]
    assert len(groups) == len(given) == 6
    for group in groups:
        chosen, rejected = group["candidates"]
        assert given[chosen["text"]] == rejected["text"]
        assert chosen["image_id"] == rejected["image_id"] == group["image_id"]
        assert (group["source"], rejected["generated_from"]) == ("dataset", None)
    steps = rows(root, "train", "train_steps")
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5) != steps[1]["loss"]
    assert {row["model"] for row in rows(root, "evaluate", "metrics")} == {"base", "trained"}


def load(record):
    return json.loads(record["text"])


def test_pairs_in_the_embedded_world_are_refused_for_want_of_texts(tmp_path):
    done = mbpo("plan", "dpo", "--root", tmp_path, "--set", 'respond.sources=["dataset"]')
    assert done.exit_code == 2 and "the embedded world has no rejected texts" in done.output
