"""Contact sheets: the very pixels of a real run, and of artifacts made by hand."""

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from storage.identity import Identity
from storage.store import ArtifactStore
from storage.tables import IMAGE, TableSpec, rows_to_table, schema_text
from tasks.contact_sheet import SheetRow, contact_sheet, scaled, wrapped
from tasks.gallery import draw_gallery, find_sources, sheet_row, spread, title
from tests.pipelines import rows

MARGIN, GAP = 12, 10
TEXT = pa.string()
SAMPLES = TableSpec(
    "samples",
    pa.schema(
        [(n, TEXT) for n in ("sample_id", "source_id", "question", "response")] + [("image", IMAGE)]
    ),
)
NEGATIVES = TableSpec(
    "negatives",
    pa.schema([(n, TEXT) for n in ("sample_id", "negative_id", "reason")] + [("image", IMAGE)]),
)
REGIONS = TableSpec(
    "regions",
    pa.schema(
        [(n, TEXT) for n in ("sample_id", "phrase", "reason")]
        + [(n, pa.int32()) for n in ("rank", "left", "top", "right", "bottom")]
        + [("image_score", pa.float64()), ("used", pa.bool_())]
    ),
)
RESPONSES = TableSpec(
    "responses", pa.schema([(n, TEXT) for n in ("sample_id", "source", "text", "reason")])
)


def grey(shade, size=(20, 12)):
    return np.full((size[1], size[0], 3), shade, dtype=np.uint8)


def stored(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": "a.png"}


def pixels_of(image):
    return np.asarray(Image.open(io.BytesIO(image["bytes"])))


def enlarged(pixels, times):
    return pixels.repeat(times, axis=0).repeat(times, axis=1)


def places(sheet, panel):
    """Where in its columns of pictures the sheet shows exactly this one: (left, top) of each."""
    height, width = panel.shape[:2]
    return [
        (left, top)
        for left in (MARGIN + column * (width + GAP) for column in range(3))
        for top in range(len(sheet) - height + 1)
        if np.array_equal(sheet[top, left : left + width], panel[0])
        and np.array_equal(sheet[top : top + height, left : left + width], panel)
    ]


def commit(store, stage, tables, inputs, note="", config=None):
    """Store an artifact of some tables, made from some others."""
    specs = tuple(tables)
    contents = {name: ref.content for name, ref in inputs.items()}
    made = Identity(stage, 1, schema_text(specs), {"note": note, **(config or {})}, contents)
    filled = {spec.name: rows_to_table(found, spec) for spec, found in tables.items()}
    store.write_shard(stage, made.key, 0, filled)
    return store.commit(stage, made.key, [0], tables=specs, identity=made, inputs=inputs)


@pytest.fixture
def by_hand(tmp_path):
    """A store with samples a, b, c and the negatives of a removal: c has none."""
    store = ArtifactStore(tmp_path)
    samples = [
        {"sample_id": name, "source_id": f"{name}.jpg", "question": "What is it?",
         "response": "A cup.", "image": stored(grey(100))}
        for name in "abc"
    ]  # fmt: skip
    negatives = [
        {"sample_id": name, "negative_id": f"n{name}", "image": stored(grey(90 + n))}
        for n, name in enumerate("ab")
    ] + [{"sample_id": "c", "reason": "no_object"}]
    regions = [
        {"sample_id": "a", "rank": 1, "phrase": "cup", "left": 2, "top": 3, "right": 12,
         "bottom": 9, "image_score": -4.25, "used": True},
        {"sample_id": "a", "rank": 2, "phrase": "table", "left": 0, "top": 0, "right": 20,
         "bottom": 12, "image_score": -1.0, "used": False},
        {"sample_id": "a", "rank": 3, "phrase": "dog", "used": False, "reason": "no_region"},
    ]  # fmt: skip
    ingest = commit(store, "ingest", {SAMPLES: samples}, {})
    mine = commit(store, "mine", {NEGATIVES: negatives, REGIONS: regions}, {"ingest": ingest})
    return store, ingest, mine


def test_a_sheet_of_a_real_run_shows_the_pixels_that_are_stored(finished):
    root, _, _ = finished
    sheet, mined = draw_gallery(ArtifactStore(root), "mine", 3)
    assert mined == ArtifactStore(root).resolve("mine")
    clean = {row["sample_id"]: pixels_of(row["image"]) for row in rows(root, "ingest", "samples")}
    attacked = {r["sample_id"]: pixels_of(r["image"]) for r in rows(root, "mine", "negatives")}
    drawn = np.asarray(sheet)
    tops = []
    for name in spread([row["sample_id"] for row in rows(root, "mine", "negatives")], 3):
        change = np.abs(clean[name].astype(int) - attacked[name]) * 8
        pictures = [clean[name], attacked[name], change.clip(0, 255).astype(np.uint8)]
        times = 168 // max(clean[name].shape)
        found = [places(drawn, enlarged(picture, times)) for picture in pictures]
        lefts, (top, *others) = zip(*[place for (place,) in found], strict=True)
        assert times == 2 and others == [top, top]
        assert lefts == tuple(MARGIN + i * (168 + GAP) for i in range(3))
        tops.append(top)
    assert tops == sorted(tops) and tops[0] + 168 < tops[1]
    assert sheet.height == pytest.approx(tops[-1] + 168, abs=20)


@pytest.mark.parametrize("name", ["negatives", "respond", "pair", "train", "evaluate"])
def test_what_was_made_of_mined_images_leads_back_to_them(finished, name):
    store = ArtifactStore(finished[0])
    direct, _ = draw_gallery(store, "mine", 2)
    sheet, mined = draw_gallery(store, name, 2)
    assert mined == store.resolve("mine")
    assert sheet.tobytes() == direct.tobytes()


@pytest.mark.parametrize("name", ["ingest", "score", "select"])
def test_what_was_made_without_mined_images_says_so(finished, name):
    with pytest.raises(ValueError, match=f"{name}/.* was made without mined images"):
        draw_gallery(ArtifactStore(finished[0]), name, 2)


def test_responses_are_those_on_the_way_or_else_the_newest(by_hand):
    store, ingest, mine = by_hand
    assert find_sources(store, mine).responses is None
    inputs = {"ingest": ingest, "mine": mine}
    older, newer = (
        commit(store, "respond", {RESPONSES: [{"sample_id": "a", "text": text}]}, inputs, text)
        for text in ("first", "second")
    )
    group = TableSpec("groups", pa.schema([("sample_id", TEXT)]))
    pair = commit(store, "pair", {group: []}, {"ingest": ingest, "respond": older})
    assert find_sources(store, mine).responses == newer
    assert find_sources(store, older).responses == older
    assert find_sources(store, pair).responses == older
    assert find_sources(store, pair).samples == ingest


def test_boxes_are_drawn_on_the_clean_picture_and_a_refused_sample_is_words(by_hand):
    store, _, _ = by_hand
    drawn = np.asarray(draw_gallery(store, "mine", 3)[0])
    times = 168 // 20
    assert len(places(drawn, enlarged(grey(100), times))) == 2  # of b and c; a has a box
    (first,) = places(drawn, enlarged(grey(90), times))
    (second,) = places(drawn, enlarged(grey(91), times))
    assert first[0] == second[0] and first[1] < second[1]
    assert len(places(drawn, enlarged(grey(80), times))) == 1  # 8 x 10: the difference of a
    left, top = MARGIN, first[1]
    panel = drawn[top : top + 12 * times, left : left + 20 * times]
    changed = (panel != 100).any(axis=2)
    ys, xs = np.nonzero(changed)
    assert (xs.min(), xs.max() + 1) == (2 * times, 12 * times)
    assert (ys.min(), ys.max() + 1) == (3 * times, 9 * times)
    assert changed[3 * times, 2 * times : 12 * times].all()
    assert not changed[6 * times : 8 * times, 6 * times : 11 * times].any()


def texts_of(negative, regions=(), answers=(), answered=True, kind="pgd"):
    sample = {"source_id": "a.jpg", "image": stored(grey(1)), "question": "Q?", "response": "Yes."}
    negative = {"image": stored(grey(2)), "reason": None} | negative
    row = sheet_row("0123456789", sample, negative, regions, answers, answered, kind)
    return [text for _, text in row.texts][3:]


def test_words_beside_the_pictures(by_hand):
    store, _, mine = by_hand
    regions = store.table(mine, "regions").to_pylist()[::-1]
    assert texts_of({}, regions, answered=False) == [
        "rejected: no response yet",
        "[1] cup score -4.25; table score -1 (not used); dog (no_region)",
    ]
    answers = [{"source": "clean", "text": "No.", "reason": None}, {"text": None, "reason": "bad"}]
    assert texts_of({"image": None, "scope": "whole"}) == ["rejected: none"]
    assert texts_of({"recovered": -0.001})[1] == "recovered 0.00"
    figures = {"recovered": 0.5, "linf": 16 / 255, "scope": "regions", "area": 0.125}
    assert texts_of(figures, answers=answers) == [
        "rejected (clean): No.",
        "rejected:  [refused: bad]",
        "recovered 0.50, largest change 16/255, scope regions, 12.5 % of the pixels",
    ]
    assert texts_of({"recovered": -0.001})[1] == "recovered 0.00"
    refused = {"image": None, "reason": "no_object", "scope": "regions"}
    assert texts_of(refused) == ["rejected: none"]
    undefined = {"recovered": None, "recovered_reason": "image adds 0.01 nats"}
    assert texts_of(undefined) == [
        "rejected: none", "recovered undefined: image adds 0.01 nats"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words"),
    [("crop", "of the image kept"), ("removal", "of the pixels differ"), ("pgd", "of the pixels")],
)
def test_the_share_of_the_pixels_says_what_is_shared(kind, words):
    assert texts_of({"area": 0.1}, kind=kind)[1] == f"10 % {words}"


def test_a_phrase_says_how_much_of_the_image_its_region_covers():
    region = {"rank": 1, "phrase": "cup", "left": 0, "top": 0, "right": 9, "bottom": 9,
              "area": 0.25, "used": True}  # fmt: skip
    assert texts_of({}, [region])[1:] == ["[1] cup on 25 %"]


def test_boxes_that_begin_at_one_corner_show_both_numbers():
    picture = Image.fromarray(grey(255, (84, 84)))
    one, two = (
        np.asarray(contact_sheet("", [SheetRow(picture, None, boxes=((5, 5, 60, 60),) * n)]))
        for n in (1, 2)
    )

    def tag(sheet, ink):
        return (sheet == ink).all(axis=2)

    first, second = (255, 0, 200), (0, 165, 255)
    assert tag(two, first).sum() >= 100 and tag(two, second).sum() > 100
    assert tag(one, first).sum() > tag(two, first).sum(), "the second frame lies on the first"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "pgd"}, "(pgd, recipe"),
        ({"kind": "diffusion_noise", "scope": "global", "finder": {"kind": "cells"}},
         "(diffusion_noise, scope global, recipe"),
        ({"kind": "diffusion_noise", "scope": "regions", "finder": {"kind": "cells"}},
         "(diffusion_noise, scope regions, finder cells, recipe"),
        ({"kind": "removal", "ranker": {"kind": "clip"}, "finder": {"kind": "truth"}},
         "(removal, finder truth, ranker clip, recipe"),
        ({}, "(unknown miner, recipe"),
    ],
)  # fmt: skip
def test_the_title_names_the_miner_and_its_parts(by_hand, settings, words):
    store, ingest, _ = by_hand
    mined = commit(
        store, "mine", {NEGATIVES: [], REGIONS: []}, {"ingest": ingest}, config={"mine": settings}
    )
    assert words in title(store, find_sources(store, mined), 0, 0)


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        ([{"sample_id": name, "reason": "no_miner"} for name in "ab"], "no image at all: no_miner"),
        ([], "no image at all: it has no rows"),
    ],
)
def test_a_miner_that_made_nothing_is_an_error_in_words(by_hand, negatives, message):
    store, ingest, _ = by_hand
    ref = commit(store, "mine", {NEGATIVES: negatives}, {"ingest": ingest}, "nothing")
    with pytest.raises(ValueError, match=f"{ref.short} made {message}"):
        draw_gallery(store, ref.short, 2)


@given(st.integers(0, 40), st.integers(1, 12))
def test_samples_are_spread_one_from_each_stretch(total, count):
    names = [f"{(7 * number) % 41:02d}" for number in range(total)]
    found = spread(names, count)
    assert len(found) == min(total, count)
    at = [names.index(name) for name in found]
    stretches = [((place + 1) * len(found) - 1) // total for place in at]
    assert stretches == list(range(len(found)))


def test_a_period_in_the_order_of_the_samples_does_not_hide_kinds():
    kinds = [f"{hash((number, 'sample')) % 997:03d}-{number % 4}" for number in range(64)]
    assert {name[-1] for name in kinds[::8]} == {"0"}
    assert len({name[-1] for name in spread(kinds, 8)}) > 1


FONT = ImageFont.load_default(size=13)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=120), st.integers(40, 200))
def test_lines_fit_and_no_letter_is_lost(text, width):
    lines = wrapped(text, FONT, width, 200)
    assert all(FONT.getlength(line) <= width or len(line) == 1 for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(text.split())


@given(st.text(min_size=60, alphabet="abcdefg WWW\n"), st.integers(1, 3))
def test_what_is_too_long_ends_with_three_dots(text, most):
    whole, lines = wrapped(text, FONT, 60, 500), wrapped(text, FONT, 60, most)
    assert len(lines) <= most and all(FONT.getlength(line) <= 60 for line in lines)
    if len(whole) <= most:
        assert lines == whole
    else:
        assert lines[:-1] == whole[: most - 1] and lines[-1].endswith("...")


def test_no_text_leaves_its_column_or_its_row():
    picture = Image.fromarray(grey(7, (84, 84)))
    long = SheetRow(picture, picture, texts=(("bad", "W" * 5000), ("plain", "word " * 900)))
    lone = SheetRow(picture, None, "because " * 90)
    drawn = np.asarray(contact_sheet("title " * 90, [long, lone]))
    inside = drawn[:, MARGIN : drawn.shape[1] - MARGIN]
    assert (drawn[:, drawn.shape[1] - MARGIN + 1 :] == 255).all()
    assert (drawn[:, :MARGIN] == 255).all() and (drawn[-8:] == 255).all()
    one, two = [p for p in places(drawn, enlarged(grey(7, (84, 84)), 2)) if p[0] == MARGIN]
    assert two[1] - one[1] >= 18 * 17  # eighteen lines of text lie between
    rules = (inside == 204).all(axis=(1, 2)).nonzero()[0]
    assert len(rules) == 2 and rules[0] < one[1] < rules[1] < two[1]
    above = drawn[rules[1] - 8 : rules[1]]
    assert (above == 255).all()


@pytest.mark.parametrize(
    ("size", "shown"),
    [((84, 84), (168, 168)), ((10, 5), (160, 80)), ((100, 168), (100, 168)),
     ((336, 200), (336, 200)), ((672, 28), (336, 14)), ((28, 5600), (2, 336))],
)  # fmt: skip
def test_small_pictures_are_enlarged_and_large_ones_reduced(size, shown):
    assert scaled(Image.new("RGB", size)).size == shown
