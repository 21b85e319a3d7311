import json

import pytest
from PIL import Image

from mbpo_core.testbed.questions import CLOSED_KINDS, QUESTION_KINDS
from mbpo_core.testbed.scenes import TYPICAL_COLOR, draw
from mbpo_core.testbed.world import ONLINE_KINDS, POOL_KINDS, scenes, write_world


def test_json_and_images_round_trip(tmp_path):
    path = write_world(tmp_path, "pool", 12, seed=3)
    records = json.loads(path.read_text(encoding="utf-8"))
    expected = list(scenes("pool", 12, seed=3))
    assert len(records) == 12 * len(POOL_KINDS)
    assert len({record["id"] for record in records}) == len(records)
    for number, record in enumerate(records):
        scene = expected[number // len(POOL_KINDS)]
        assert record["truth"] == scene.truth()
        assert record["kind"] == POOL_KINDS[number % len(POOL_KINDS)]
        human, gpt = record["conversations"]
        assert human["from"] == "human" and human["value"].startswith("<image>\n")
        assert gpt["from"] == "gpt" and gpt["value"]
        with Image.open(tmp_path / record["image"]) as image:
            assert image.convert("RGB").tobytes() == draw(scene).tobytes()


def test_writing_twice_gives_the_same_bytes(tmp_path):
    written = []
    for name in ("a", "b"):
        write_world(tmp_path / name, "dev", 5, flavour="counter")
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        written.append([(p.relative_to(tmp_path / name), p.read_bytes()) for p in files])
    assert len(written[0]) == 6
    assert written[0] == written[1]


def test_evaluation_sets_ask_everything_and_hold_their_flavour(tmp_path):
    for flavour, typical in (("consistent", True), ("counter", False)):
        path = write_world(tmp_path, "test", 20, flavour=flavour)
        records = json.loads(path.read_text(encoding="utf-8"))
        assert path.name == f"test-{flavour}.json"
        assert {record["kind"] for record in records} == set(QUESTION_KINDS)
        for found in (found for record in records for found in record["truth"]):
            assert (found["color"] == TYPICAL_COLOR[found["object"]]) is typical


def test_the_pool_holds_both_typical_and_other_colors():
    flags = [found.is_typical for scene in scenes("pool", 300) for found in scene.objects]
    assert sum(flags) / len(flags) == pytest.approx(0.5, abs=0.06)


def test_online_kinds_are_closed_kinds():
    assert set(ONLINE_KINDS) <= set(CLOSED_KINDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pool", 1, 0, "counter"), "a flavour goes with dev and test only"),
        (("dev", 1, 0, None), "a flavour goes with dev and test only"),
        (("train", 1, 0, "counter"), "split must be one of"),
        (("dev", 1, 0, "odd"), "flavour must be one of"),
        (("pool", 0, 0, None), "n_scenes must be at least 1"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    split, n_scenes, seed, flavour = arguments
    with pytest.raises(ValueError, match=message):
        write_world(tmp_path, split, n_scenes, seed, flavour=flavour)
