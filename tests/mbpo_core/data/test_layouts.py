"""Every layout that is read has the name that its source goes by."""

import pytest

from mbpo_core.data import layouts
from mbpo_core.data.conversations import RawSample, read_turns
from mbpo_core.records import Reason, Refusal
from tests.mbpo_core.data.layouts import LAYOUTS, Q, llava

NAMES = {
    "rlhf-v": "rlhf-v",
    "rlaif-v": "rlaif-v",
    "bpo": "bpo",
    "povid": "povid",
    "csr": "povid",
    "trl": "trl",
    "prompt as messages": "trl",
    "llama-factory": "llamafactory",
    "mdpo": "mdpo",
    "conversation that ends on the chosen answer": "llamafactory",
    "question, answer, rejected": "rlaif-v",
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_layout_is_known_by_its_keys(layout):
    expected = next(name for start, name in NAMES.items() if layout.name.startswith(start))
    record = layout.with_image("a.png")
    assert layouts.layout_of(record) == expected
    assert layouts.layout_of(record | {"score": None, "completions": None}) == (
        None if expected == "bpo" else expected
    )
    assert expected in layouts.LAYOUTS
    assert any(isinstance(turn, RawSample) and turn.rejected for turn in read_turns(record))


@pytest.mark.parametrize(
    "record",
    [
        {"conversations": llava(f"<image>\n{Q}", "A cat."), "image": "a.png"},
        {"question": Q, "answer": "A cat.", "image": "a.png"},
        {"caption": "A cat.", "image": "a.png"},
        {},
        ["no record"],
        None,
        Refusal(Reason.MALFORMED_RECORD, "line 3 is no JSON"),
    ],
)
def test_what_has_no_rejected_side_has_no_layout(record):
    assert layouts.layout_of(record) is None
