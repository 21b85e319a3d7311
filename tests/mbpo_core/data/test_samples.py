import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mbpo_core.data import samples
from mbpo_core.data.images import ImagePolicy, decode_png
from mbpo_core.data.samples import Sample, read_samples, sample_id
from mbpo_core.data.sources import iter_records
from mbpo_core.records import EXPLANATIONS, Reason, Refusal

POLICY = ImagePolicy(28, 784, 16 * 784, max_source_pixels=1_000_000)
DOCS = Path(__file__).parents[3] / "docs" / "datasets.md"


def picture(seed, kind="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=kind)
    return stream.getvalue()


def record(image, *turns, **more):
    pairs = [{"question": question, "answer": answer} for question, answer in turns]
    return {"image": image, "conversations": pairs} | more


@pytest.fixture
def root(tmp_path):
    for name, data in {"a.png": picture(1), "copy.png": picture(1), "b.png": picture(2),
                       "bad.png": b"no image", "bmp.bmp": picture(1, "BMP")}.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
    return tmp_path


def read(records, root, part=None, **settings):
    part = range(len(records)) if part is None else part
    settings = {"image_root": root, "policy": POLICY, "long_yes_no": False} | settings
    return read_samples(records, part, **settings)


def test_a_sample_holds_all_that_later_stages_need(root):
    question = "Which?\nA. cat\nB. dog"
    (found,) = read([record("a.png", (f"{question}\n<image>", "B"), id="r7")], root)
    assert found.image_png is not None
    assert decode_png(found.image_png).shape == (found.height, found.width, 3) == (56, 84, 3)
    assert found == Sample(
        sample_id=sample_id(hashlib.sha256(picture(1)).hexdigest(), question, "B"),
        source_id="r7",
        source_index=0,
        turn=0,
        image_id=found.image_id,
        image_png=found.image_png,
        height=56,
        width=84,
        question=question,
        response="B",
        closed_kind="multiple_choice",
        closed_answer="B",
        options=(("A", "cat"), ("B", "dog")),
    )


def test_nothing_is_lost_and_each_refusal_says_why(root):
    records = [
        record("a.png", ("q", "a"), ("q2", ""), ("q3", "a3")),
        Refusal(Reason.MALFORMED_RECORD, "line 2 is no JSON"),
        record("bad.png", ("q", "a")),
        record("none.png", ("q", "a"), ("q2", "a2")),
        record("../a.png", ("q", "a")),
        record("b.png", ("q", "a")),
    ]
    found = read(records, root)
    assert [(s.source_index, s.turn, s.reason) for s in found] == [
        (0, 0, None),
        (0, 1, Reason.EMPTY_RESPONSE),
        (0, 2, None),
        (1, 0, Reason.MALFORMED_RECORD),
        (2, 0, Reason.UNREADABLE),
        (3, 0, Reason.MISSING_FILE),
        (3, 1, Reason.MISSING_FILE),
        (4, 0, Reason.OUTSIDE_ROOT),
        (5, 0, None),
    ]
    assert all((s.reason is None) == (s.image_png is not None) for s in found)
    assert all((s.reason is None) == (s.detail is None) for s in found)
    assert len({s.sample_id for s in found}) == len(found)


REPEATING = [
    record("a.png", ("q", "a"), ("q", "a"), ("q", "other")),
    record("copy.png", ("q", "a")),
    record("b.png", ("q", "a")),
    record(picture(1), ("q", "a")),
    record({"bytes": picture(2), "path": "x.png"}, ("q", "a"), ("q4", "a4")),
    record("bad.png", ("q", "a")),
    record("bad.png", ("q", "a")),
    record("none.png", ("q", "a")),
]


def test_repeated_content_is_kept_once_and_the_others_name_it(root):
    found = read(REPEATING, root)
    reasons = [(s.source_index, s.turn) for s in found if s.reason is Reason.DUPLICATE]
    assert reasons == [(0, 1), (1, 0), (3, 0), (4, 0)]
    assert found[1].detail == f"same content as sample {found[0].sample_id}"
    assert len({s.sample_id for s in found}) == len(found)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_parts_read_apart_give_the_same_rows(root, size):
    whole = read(REPEATING, root)
    starts = range(0, len(REPEATING), size)
    parts = [range(start, min(start + size, len(REPEATING))) for start in starts]
    apart = {part: read(REPEATING, root, part) for part in reversed(parts)}
    assert [sample for part in parts for sample in apart[part]] == whole


def test_the_same_picture_in_another_file_format_has_the_same_image_id(root):
    first, second = read([record("a.png", ("q", "a")), record("bmp.bmp", ("q", "a"))], root)
    assert first.image_id == second.image_id
    assert first.sample_id != second.sample_id


def test_ids_do_not_depend_on_place_or_policy(root):
    larger = ImagePolicy(28, 64 * 784, 128 * 784, max_source_pixels=1_000_000)
    (alone,) = read([record("b.png", ("q", "a"))], root, policy=larger)
    among = read([record("a.png", ("x", "y")), record("b.png", ("q", "a"), id="other")], root)
    assert alone.sample_id == among[1].sample_id
    assert alone.image_id != among[1].image_id


def test_borders_between_texts_do_not_shift():
    assert sample_id("0", "ab", "c") != sample_id("0", "a", "bc")
    ids = {sample_id("0", "a", "b", "c"), sample_id("0", "a", "bc"), sample_id("0", "a", "b", "")}
    assert len(ids | {sample_id("0", "a", "b")}) == 4


def test_the_id_of_a_sample_without_rejected_text_is_that_of_its_three_parts():
    """Stores made before there were preference data keep their ids."""
    expected = hashlib.sha256(b"6:sample3:sha1:q2:\xc3\xa4").hexdigest()
    assert sample_id("sha", "q", "ä") == sample_id("sha", "q", "ä", None) == expected
    paired = hashlib.sha256(b"6:sample3:sha1:q2:\xc3\xa41:r").hexdigest()
    assert sample_id("sha", "q", "ä", "r") == paired


def pair(image, question, chosen, rejected):
    return {"image": image, "question": question, "chosen": chosen, "rejected": rejected}


PAIRS = [
    record("a.png", ("q", "a")),
    pair("a.png", "q", "a", "b"),
    pair("copy.png", "q", "a", "c"),
    pair("copy.png", "q", "a", "b"),
    pair("a.png", "q", "b", "a"),
    {"image": "a.png", "prompt": "q", "completions": [
        {"response": "a", "score": 1}, {"response": "c", "score": 0},
        {"response": "d", "score": 0}, {"response": "A!", "score": 0}]},
    record("copy.png", ("q", "a")),
    pair("b.png", "q", "a", "b"),
    pair("b.png", "q", "a", ""),
    pair("none.png", "q", "a", "b"),
]  # fmt: skip


def test_several_pairs_for_one_question_are_samples_and_only_equal_pairs_are_duplicates(root):
    found = read(PAIRS, root)
    assert [(s.source_index, s.turn, s.rejected, s.reason) for s in found] == [
        (0, 0, None, None),
        (1, 0, "b", None),
        (2, 0, "c", None),
        (3, 0, "b", Reason.DUPLICATE),
        (4, 0, "a", None),
        (5, 0, "c", Reason.DUPLICATE),
        (5, 1, "d", None),
        (5, 2, "A!", Reason.EQUAL_REJECTED),
        (6, 0, None, Reason.DUPLICATE),
        (7, 0, "b", None),
        (8, 0, None, Reason.BAD_REJECTED),
        (9, 0, "b", Reason.MISSING_FILE),
    ]
    assert found[3].detail == f"same content as sample {found[1].sample_id}"
    assert found[5].detail == f"same content as sample {found[2].sample_id}"
    assert len({s.sample_id for s in found}) == len(found)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_parts_of_pairs_read_apart_give_the_same_rows(root, size):
    starts = range(0, len(PAIRS), size)
    parts = [range(start, min(start + size, len(PAIRS))) for start in starts]
    assert [one for part in parts for one in read(PAIRS, root, part)] == read(PAIRS, root)


def test_closed_ended_is_what_the_chosen_answer_says(root):
    records = [
        pair("a.png", "Is it red?", "Yes.", "No, it is blue."),
        pair("a.png", "Is it red?", "It is a red ball.", "No"),
    ]
    assert [s.closed_answer for s in read(records, root)] == ["yes", None]


def test_the_switch_for_long_answers_is_passed_on(root):
    records = [record("a.png", ("Is it red?", "Yes, the ball is red."))]
    assert read(records, root)[0].closed_kind is None
    assert read(records, root, long_yes_no=True)[0].closed_kind == "yes_no"


@pytest.mark.parametrize("part", [range(-1, 1), range(0, 3), range(0, 2, 2), range(3, 3)])
def test_a_part_outside_of_the_records_is_an_error(root, part):
    with pytest.raises(ValueError, match="expected a part of range"):
        read([record("a.png", ("q", "a"))] * 2, root, part)


def test_an_empty_part_is_none(root):
    assert read([], root, range(0, 0)) == []


def test_real_photographs_are_all_taken(shared_data):
    folder = shared_data / "real" / "coco_permissive"
    records = [one for _, one in iter_records(folder / "llava_samples.json")]
    found = read(records, folder, range(60, 100), policy=ImagePolicy(28, 784, 9 * 784, 10**6))
    assert [s.reason for s in found] == [None] * 40
    labels = [{"yesno": "yes_no", "mcq": "multiple_choice"}.get(r["kind"]) for r in records]
    assert [s.closed_kind for s in found] == labels[60:100]
    demo = shared_data / "real" / "qwen_vl_demo"
    records = json.loads((demo / "single_images.json").read_text())
    assert [s.reason for s in read(records, demo)] == [Reason.MISSING_FILE] * 3
    for one in records:
        one["image"] = one["image"].removeprefix("demo/")
    assert [s.reason for s in read(records, demo)] == [None] * 3


def test_the_page_lists_exactly_the_reasons_in_the_code():
    section = DOCS.read_text(encoding="utf-8").split("\n## What is refused\n")[1]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    assert all(len(row) == 4 for row in rows)
    listed = {row[1].strip().strip("`"): row[2].strip() for row in rows}
    assert listed == {reason.value: text for reason, text in EXPLANATIONS.items()}
    assert set(EXPLANATIONS) == set(Reason)


def test_equal_short_hashes_of_different_texts_are_no_repetition(root, monkeypatch):
    expected = read(PAIRS, root)
    monkeypatch.setattr(samples, "_texts", lambda turn: 7)
    assert read(PAIRS, root) == expected
    alone = [range(index, index + 1) for index in range(len(PAIRS))]
    assert [one for part in alone for one in read(PAIRS, root, part)] == expected
