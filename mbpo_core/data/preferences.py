"""Records of preference sets: the chosen and the rejected side become turns with both answers.

Read are, by their keys: RLHF-V (`text` holding `question`, `chosen`, `rejected`), RLAIF-V (the same
keys in the record), BPO (`prompt`, `completions` with scores), POVID and CSR (`conversations`,
`rejected_conversations`), TRL (`prompt`, `chosen`, `rejected`; the prompt also implied),
LLaMA-Factory (`conversations`, `chosen`, `rejected`) and mDPO (`prompt` inside of a chat template).
docs/datasets.md says how each layout is known.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, zip_longest
from typing import Any, Final

from mbpo_core.data.messages import (
    CONVERSATION_KEYS,
    BadRecord,
    Message,
    Turn,
    conversation,
    listed,
    messages,
    pair_up,
    text_of,
)
from mbpo_core.data.texts import normalised, without_image_token, without_template
from mbpo_core.records import Reason

_INNER_KEYS: Final = ("question", "chosen", "rejected")
_OTHER_LAYOUTS: Final = (*CONVERSATION_KEYS, "prompt", *_INNER_KEYS)
_NO_PREFERENCE: Final = "no completion has a lower score than another"


def preference_turns(record: Mapping[str, Any]) -> list[Turn] | None:
    """Return the turns of a preference record; None if the record has no rejected side.

    A key whose value is null counts as absent, as in a Parquet table of mixed records.

    A turn that is equal on both sides has no rejected answer, unless all are: then the last one
    keeps it, to be refused as equal. A turn that only one side has, or in which the sides are asked
    different questions, says so in `Turn.problem` or lacks an answer.

    Raises:
        BadRecord: a side is not in a format that is read.
    """
    record = _unwrapped(record)
    if record.get("completions") is not None and record.get("prompt") is not None:
        return _ranked(record["prompt"], record["completions"])
    sides = _sides(record)
    return None if sides is None else _joined(*sides)


def _unwrapped(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record of RLHF-V with the content of its `text` as keys of its own."""
    text = record.get("text")
    if text is None or any(record.get(key) is not None for key in _OTHER_LAYOUTS):
        return record
    if isinstance(text, str):
        try:
            text = json.loads(text)
        except (ValueError, RecursionError):
            raise BadRecord(Reason.MALFORMED_RECORD, "`text` is no JSON object") from None
    if not isinstance(text, Mapping):
        kind = type(text).__name__
        raise BadRecord(Reason.MALFORMED_RECORD, f"expected `text` to hold an object, got {kind}")
    return {**record, **{key: text.get(key) for key in _INNER_KEYS}}


def _ranked(prompt: Any, completions: Any) -> list[Turn]:
    """Return every pair of completions of which one has the higher score, as BPO trains on."""
    scored = list(_scored(completions))
    question = _asked(prompt)
    turns = [
        Turn(question, *((one, True, other) if first > second else (other, True, one)))
        for (one, first), (other, second) in combinations(scored, 2)
        if first != second
    ]
    if not turns:
        answer = scored[0][0] if scored else None
        return [Turn(question, answer, pair=True, problem=_NO_PREFERENCE)]
    return [turns[0], *(replace(turn, again=True) for turn in turns[1:])]


def _scored(completions: Any) -> Iterator[tuple[Any, float]]:
    if not isinstance(completions, list | tuple):
        kind = type(completions).__name__
        raise BadRecord(Reason.MALFORMED_RECORD, f"expected completions to be a list, got {kind}")
    for one in completions:
        score = one.get("score") if isinstance(one, Mapping) else None
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not is_number or score != score:  # not a number
            raise BadRecord(Reason.MALFORMED_RECORD, "a completion has no score")
        yield one.get("response"), score


def _sides(record: Mapping[str, Any]) -> tuple[list[Message], list[Message]] | None:
    """Return the messages of the chosen and of the rejected side."""
    if record.get("rejected_conversations") is not None:
        chosen = conversation(record)
        if chosen is None:
            detail = "rejected_conversations without conversations"
            raise BadRecord(Reason.MALFORMED_RECORD, detail)
        return chosen, listed(record["rejected_conversations"], "rejected_conversations")
    chosen, rejected = record.get("chosen"), record.get("rejected")
    if chosen is None and rejected is None:
        return None
    prompt, is_text = _prompt(record)
    if chosen is None:
        # The conversation goes on to the chosen answer itself.
        asked = prompt[:-1] if prompt and prompt[-1][0] == "answer" else prompt
        return prompt, _side(asked, is_text, rejected)
    asked = [message for message in prompt if not is_text or message[0] == "question"]
    return _side(asked, is_text, chosen), _side(asked, is_text, rejected)


def _prompt(record: Mapping[str, Any]) -> tuple[list[Message], bool]:
    """Return the messages before the two answers, and whether they are one text."""
    said = conversation(record)
    if said is not None:
        return said, False
    prompt = record.get("prompt")
    if isinstance(prompt, list | tuple):
        return listed(prompt, "prompt"), False
    if prompt is not None:
        return [("question", prompt)], True
    if record.get("question") is not None:
        return list(messages(record)), True
    return [], True


def _side(prompt: list[Message], is_text: bool, completion: Any) -> list[Message]:
    """Join prompt and completion. As in TRL, messages that hold a question replace a text."""
    said = _completion(completion)
    holds_question = any(speaker == "question" for speaker, _ in said)
    return said if is_text and holds_question else [*prompt, *said]


def _completion(value: Any) -> list[Message]:
    """Return the messages of a completion: a text, one message, or a list of messages."""
    if isinstance(value, Mapping):
        return list(messages(value))
    if isinstance(value, list | tuple) and all(_is_message(one) for one in value):
        return [message for entry in value for message in messages(entry)]
    return [("answer", value)]


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and ("role" in value or "from" in value)


def _joined(chosen: Sequence[Message], rejected: Sequence[Message]) -> list[Turn]:
    mine, theirs = list(pair_up(chosen)), list(pair_up(rejected))
    turns = [_beside(one, other) for one, other in zip_longest(mine, theirs)]
    if turns and not any(turn.pair for turn in turns):
        turns[-1] = replace(turns[-1], pair=True, rejected=theirs[-1].answer)
    return turns


def _beside(mine: Turn | None, theirs: Turn | None) -> Turn:
    """Return one turn of both sides; at least one of them is there."""
    if mine is None:
        question, rejected = (theirs.question, theirs.answer) if theirs else (None, None)
        return Turn(_asked(question), None, True, rejected)
    question = _asked(mine.question)
    if theirs is None:
        problem = "the rejected conversation ends before this turn"
        return Turn(question, mine.answer, True, problem=problem)
    if not _is_same(question, _asked(theirs.question)):
        problem = "the rejected conversation has another question here"
        return Turn(question, mine.answer, True, theirs.answer, problem)
    if _is_same(mine.answer, theirs.answer):
        return Turn(question, mine.answer)
    return Turn(question, mine.answer, True, theirs.answer)


def _asked(question: Any) -> Any:
    return without_template(question) if isinstance(question, str) else question


def _is_same(one: Any, other: Any) -> bool:
    try:
        first, second = (without_image_token(text_of(content)) for content in (one, other))
    except BadRecord:
        return False
    return normalised(first) == normalised(second)
