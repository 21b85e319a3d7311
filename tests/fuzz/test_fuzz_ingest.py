"""Ingest never stops and loses nothing, whatever records, pictures and files hold.

Each of these tests is also a target of `tests.fuzz.run`, which guides it by coverage for as long
as it is given.
"""

import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tasks.sources as sources_module
from mbpo_core.data.conversations import read_turns
from mbpo_core.data.images import ImagePolicy, PreparedImage, decode_png, image_id, prepare_image
from mbpo_core.data.samples import read_samples
from mbpo_core.data.texts import SPECIAL_TOKEN
from mbpo_core.records import Reason, Refusal
from storage.tables import as_table
from tasks.ingest import SAMPLES, _row
from tasks.sources import SourceError, load_records
from tests.fuzz.strategies import PICTURES, damaged, pictures, records

# Pillow warns of damaged metadata; here only rows matter.
pytestmark = pytest.mark.filterwarnings("ignore")
POLICY = ImagePolicy(28, 784, 64 * 784, max_source_pixels=1_000_000)
FEW = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
(FOLDER / "good.png").write_bytes(PICTURES[3])
(FOLDER / "bad.png").write_bytes(b"no picture")


def read(listed, part=None):
    part = range(len(listed)) if part is None else part
    return read_samples(listed, part, image_root=FOLDER, policy=POLICY, long_yes_no=True)


@FEW
@given(st.lists(records, max_size=5), st.integers(0, 5))
def test_fuzz_records(listed, cut):
    rows = read(listed)
    assert {row.source_index for row in rows} == set(range(len(listed)))
    assert len({row.sample_id for row in rows}) == len(rows)
    for row in rows:
        assert (row.reason is None) == (row.image_png is not None) == (row.detail is None)
        assert row.reason is not Reason.ERROR, row.detail
        assert row.reason is not None or not SPECIAL_TOKEN.search(f"{row.question}{row.response}")
    cut = min(cut, len(listed))
    apart = read(listed, range(cut)) + read(listed, range(cut, len(listed)))
    assert apart == rows
    assert as_table([_row(row) for row in rows], SAMPLES).num_rows == len(rows)


@FEW
@given(pictures)
def test_fuzz_pictures(data):
    made = prepare_image(data, POLICY)
    assert made == prepare_image(data, POLICY)
    if isinstance(made, Refusal):
        assert made.reason in Reason and made.reason is not Reason.ERROR
        made.detail.encode()
        return
    assert isinstance(made, PreparedImage)
    pixels = decode_png(made.png)
    assert pixels.shape == (made.height, made.width, 3) and image_id(pixels) == made.image_id
    assert made.height * made.width <= POLICY.max_pixels


def _as_parquet(rows):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def _as_arrow(rows):
    table, stream = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _record(n, text):
    turns = [{"from": "human", "value": f"<image>\nIs it {text}?"}, {"from": "gpt", "value": text}]
    return {"id": str(n), "image": "good.png", "conversations": turns}


RECORDS = [_record(n, text) for n, text in enumerate(("red", "A cat.", "é\u200bש", "yes"))]
FILES = {
    ".json": [json.dumps(RECORDS).encode(), json.dumps(RECORDS, ensure_ascii=False).encode()],
    ".jsonl": ["\n".join(map(json.dumps, RECORDS)).encode(), b"\n{}\n\xff\n[1]\n"],
    ".parquet": [_as_parquet(RECORDS)],
    ".arrow": [_as_arrow(RECORDS)],
}
sources = st.sampled_from(sorted(FILES)).flatmap(
    lambda kind: st.tuples(st.just(kind), damaged(FILES[kind]))
)


@FEW
@given(sources)
def test_fuzz_sources(source):
    kind, data = source
    path = FOLDER / ("folder" if kind == ".arrow" else ".") / f"source{kind}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    sources_module._loaded.cache_clear()
    try:
        listed = load_records(path.parent if kind == ".arrow" else path)
        turns = [read_turns(listed[n]) for n in range(len(listed))]
    except SourceError as error:
        assert path.name in str(error) or path.parent.name in str(error)
        return
    assert all(turns)
    assert all(turn.refusal.reason is not Reason.ERROR for each in turns for turn in each
               if hasattr(turn, "refusal"))  # fmt: skip
