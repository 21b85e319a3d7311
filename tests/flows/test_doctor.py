"""`mbpo doctor` on a store that the pipeline filled: damage is named, and mended byte for byte."""

import json
import shutil

import pytest

from storage.store import ArtifactStore
from tasks.pipeline import Choice
from tests.flows.test_cli import mbpo
from tests.pipelines import SMALL, run, runtime, small_recipe
from tests.storage.test_store_reading import flip

STAGES = ("ingest", "score", "select", "mine")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    root = tmp_path_factory.mktemp("doctor") / "store"
    return root, run(small_recipe(), runtime(root), Choice(only=STAGES))


@pytest.fixture
def root(filled, tmp_path):
    return shutil.copytree(filled[0], tmp_path / "store")


def contents(root):
    store = ArtifactStore(root)
    return {ref.stage: store.find(ref.stage, ref.key, verify=True) for ref, _ in store.refs()}


def doctor(root, *words):
    return mbpo("doctor", "--root", root, "--workers", 1, "--devices", "cpu", *words)


def test_a_healthy_store(root):
    done = doctor(root)
    assert done.exit_code == 0 and "nothing is damaged" in done.output
    assert doctor(root / "nowhere").exit_code == 2


def test_damage_is_named_then_mended_byte_for_byte_and_nothing_is_thrown_away(root, filled):
    store, before = ArtifactStore(root), contents(root)
    mined = store.parts(filled[1]["mine"].ref, "negatives")[1].path
    flip(mined, mined.read_bytes().index(b"IHDR"))
    (store.path(filled[1]["score"].ref) / "manifest.json").write_text("{}")
    shutil.rmtree(store.path(filled[1]["select"].ref))
    done = doctor(root)
    assert done.exit_code == 1 and "3 damaged; `mbpo doctor --repair`" in done.output
    for said in ("negatives-00001.parquet: bytes changed", "the folder is gone", "schema None"):
        assert said in done.output
    done = doctor(root, "--repair")
    assert done.exit_code == 0 and "all mended" in done.output, done.output
    assert done.output.count("made again, byte for byte") == 3
    assert contents(root) == before
    assert len(list((root / "quarantine").glob("*/*/*"))) == 2
    assert "nothing is damaged" in doctor(root).output


def test_what_other_code_made_is_put_aside_and_the_reason_is_said(root, filled, monkeypatch):
    ref = filled[1]["select"].ref
    path = ArtifactStore(root).parts(ref, "selection")[0].path
    flip(path, 40)
    monkeypatch.setattr("tasks.selection.Select.version", 2)
    done = doctor(root, "--repair")
    assert done.exit_code == 1 and "have changed since it was made" in done.output
    assert ArtifactStore(root).find("select", ref.key) is None


def test_without_a_record_of_its_recipe_nothing_is_made_up(root, filled):
    for record in (root / "runs").glob("*.json"):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"settings": {}}))
    flip(ArtifactStore(root).parts(filled[1]["select"].ref, "selection")[0].path, 40)
    done = doctor(root, "--repair")
    assert done.exit_code == 1 and "no run record says how it was made" in done.output


def test_a_damaged_input_ends_a_run_with_a_sentence(root, filled):
    part = ArtifactStore(root).parts(filled[1]["mine"].ref, "negatives")[0].path
    flip(part, part.read_bytes().index(b"IHDR"))
    words = [w for n, v in SMALL.items() for w in ("--set", f"{n}={v}")]
    done = mbpo("stage", "respond", "--root", root, "--workers", 1, "--devices", "cpu", *words)
    assert done.exit_code == 1 and "negatives-00000.parquet is damaged" in done.output
    assert "mbpo doctor --repair" in done.output and "Traceback" not in done.output
