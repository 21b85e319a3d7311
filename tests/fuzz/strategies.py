"""Records, completions and damaged files as hypothesis draws them: near to real ones, and not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.poison_images import images

SPECIAL = ("<|image_pad|>", "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|vision_start|>")
LOOKALIKES = ("<|im_end|", "im_end|>", "<| im_end |>", "＜|im_end|＞", "<|nobody|>", "<im_end>")
WORDS = (
    "Yes", "no", "A", "B", "(C)", "D.", "E:", "answer", "is", "the", "not", "n't", "or", "and", "/",
    ",", ".", "\n", " ", "  ", "option", "so", "<answer>", "</answer>", "<think>", "</think>",
    "\\boxed{", "}", "**", "'", "“", "…", "ﷺ", "İ", "\u0000", "\u200b", "\u202e", "שלום", "<image>",
    "red", "blue", "two dogs", "A. red\nB. blue", "(A) red (B) blue", "yes or no", "答案是", "是",
    *SPECIAL, *LOOKALIKES,
)  # fmt: skip

words = st.lists(st.sampled_from(WORDS), max_size=12)
texts = st.one_of(
    words.map("".join),
    words.map(" ".join),
    st.text(max_size=40),
    st.tuples(st.sampled_from(WORDS), st.integers(0, 3000)).map(lambda t: t[0] * t[1]),
)
"""Answers and questions: scraps of the words that the readers look for, in any order."""
broken_texts = st.one_of(texts, st.just("half \ud83d of a pair"))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), broken_texts, st.binary(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Anything that JSON or Parquet can hold."""

_contents = st.one_of(
    broken_texts,
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"type": st.just("text"), "text": broken_texts}),
            st.just({"type": "image"}),
            values,
        ),
        max_size=3,
    ),
    values,
)
_speakers = st.one_of(
    st.sampled_from(["human", "gpt", "user", "assistant", "system", "question"]), values
)
_messages = st.one_of(
    st.fixed_dictionaries({"from": _speakers, "value": _contents}),
    st.fixed_dictionaries({"role": _speakers, "content": _contents}),
    st.fixed_dictionaries({"question": _contents, "answer": _contents}),
    values,
)
_conversations = st.one_of(st.lists(_messages, max_size=4), values)
_images = st.one_of(
    st.sampled_from(["good.png", "gone.png", "../good.png", "bad.png", ".", "\0", "a" * 5000]),
    st.fixed_dictionaries({"bytes": st.one_of(st.none(), st.binary(max_size=30)),
                           "path": st.one_of(st.none(), st.just("good.png"))}),
    values,
)  # fmt: skip
_completions = st.one_of(
    st.lists(st.fixed_dictionaries({"response": _contents, "score": scalars}), max_size=3), values
)
_optional: dict[Any, Any] = {
    "id": scalars, "image": _images, "images": st.one_of(st.lists(_images, max_size=2), values),
    "conversations": _conversations, "messages": _conversations, "question": _contents,
    "answer": _contents, "chosen": st.one_of(_contents, _conversations), "prompt": _contents,
    "rejected": st.one_of(_contents, _conversations), "rejected_conversations": _conversations,
    "completions": _completions, "text": st.one_of(values, broken_texts), "image_path": _images,
}  # fmt: skip
records = st.one_of(
    st.fixed_dictionaries(
        {"image": st.just("good.png"), "conversations": st.lists(_messages, min_size=1, max_size=4)}
    ),
    st.fixed_dictionaries({}, optional=_optional),
    values,
)
"""Records of every layout that is read, with any of their parts spoilt."""


def _spoilt(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    spoilt = bytearray(data)
    for how, place, piece in changes:
        at = place % (len(spoilt) + 1)
        end = at + (len(piece) if how == "write" else len(piece) * 7 if how == "cut" else 0)
        spoilt[at:end] = b"" if how == "cut" else piece
    return bytes(spoilt)


def damaged(files: list[bytes]) -> st.SearchStrategy[bytes]:
    """Files with some bytes changed, put in or cut out; now and then bytes of no file at all."""
    changes = st.lists(
        st.tuples(st.sampled_from(["write", "insert", "cut"]), st.integers(0, 2**16),
                  st.binary(min_size=1, max_size=8)),
        max_size=5,
    )  # fmt: skip
    return st.one_of(st.builds(_spoilt, st.sampled_from(files), changes), st.binary(max_size=60))


PICTURES = [each.data for each in images().values() if len(each.data) < 20_000]
pictures = damaged(PICTURES)
