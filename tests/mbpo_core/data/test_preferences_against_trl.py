"""TRL reads prompt, chosen and rejected answer of its own layouts as we do."""

import pytest
import trl
from datasets import Dataset

from mbpo_core.data.conversations import read_turns
from tests.mbpo_core.data.layouts import LAYOUTS


def text(message):
    content = message["content"]
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if "trl" in one.name], ids=str)
def test_trl_extracts_the_same_prompt_and_answers(layout):
    """What TRL trains on is our last turn; what stands before in its prompt, our earlier ones."""
    (record,) = Dataset.from_list([layout.record]).map(trl.maybe_extract_prompt)
    turns = read_turns(layout.with_image("a.png"))
    ours = [(turn.question, turn.answer, turn.rejected) for turn in turns]
    if not trl.is_conversational(record):
        assert ours == [(record["prompt"], record["chosen"], record["rejected"])]
        return
    chosen, rejected = (
        [text(message) for message in record["prompt"] + record[key]]
        for key in ("chosen", "rejected")
    )
    assert chosen[:-1] == rejected[:-1]
    assert [said for turn in ours for said in turn[:2]] == chosen
    assert ours[-1][2] == rejected[-1]
    assert all(turn[2] is None for turn in ours[:-1])
