"""A data set of poison: every kind of record that makes trouble, among records that make none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.poison_images import images, saved

SPECIALS = ("<|image_pad|>", "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|vision_start|>")
LOOKALIKES = ("<|im_end|", "im_end|>", "<| im_end |>", "＜|im_end|＞", "<|nobody|>", "<im_end>")
LONG = 100_000
"""Characters."""
TEXTS: dict[str, tuple[str, str, str | None]] = {
    "empty_question": ("", "a red square", "empty_question"),
    "empty_answer": ("What is it?", "", "empty_response"),
    "blank_answer": ("What is it?", " \n\t\u3000 ", "empty_response"),
    "long_question": ("What is it? " * (LONG // 12), "a red square", None),
    "long_word": ("What is it?", "x" * LONG, None),
    "long_options": ("A. " + "red " * (LONG // 4) + "\nB. blue", "B", None),
    "null_character": ("What is\0 it?", "a red\0 square", None),
    "right_to_left": ("\u202eWhat is it?", "ריבוע אדום", None),
    "zero_width": ("What\u200b is\ufeff it?", "a \u200dred\u200b square", None),
    "emoji": ("What is it? 🟥", "🟥🟥", None),
    "combining": ("Wha\u0301\u0301\u0301t?", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢", None),
    "half_a_pair": ("What is it?", "a red \ud83d square", "malformed_record"),
    "odd_options": ("Which?\nA.\nA. red\nC. blue\nB.", "A", None),
    "image_token": ("What is <image> it?", "a <image> square", "image_in_later_turn"),
} | {
    f"special_{n}_{place}": (*(("What " + text, "a square") if place == "question" else
                               ("What is it?", f"a {text} square")), "special_token")
    for n, text in enumerate(SPECIALS) for place in ("question", "answer")
} | {
    f"lookalike_{n}": (f"What is {text}?", f"a {text} square", None)
    for n, text in enumerate(LOOKALIKES)
}  # fmt: skip
"""Question, answer, and why ingest refuses them; None where it takes them."""
RECORDS: dict[str, tuple[Any, str]] = {
    "no_object": ("just a text", "malformed_record"),
    "nothing": (None, "malformed_record"),
    "no_conversation": ({"id": "no_conversation", "image": "good-0.png"}, "malformed_record"),
    "text_that_is_none": (
        {"id": "text_that_is_none", "image": "good-0.png", "conversations": [
            {"from": "human", "value": 7}, {"from": "gpt", "value": {"a": [None]}}]},
        "malformed_record",
    ),
    "not_a_number": (
        {"id": "not_a_number", "image": "good-0.png", "conversations": [
            {"from": "human", "value": float("nan")}, {"from": "gpt", "value": "x"}]},
        "malformed_record",
    ),
    "two_images": (
        {"id": "two_images", "images": ["good-0.png", "good-1.png"], "conversations": [
            {"from": "human", "value": "What?"}, {"from": "gpt", "value": "x"}]},
        "several_images",
    ),
}  # fmt: skip
PATHS = {
    "gone": ("nowhere.png", "missing_file"),
    "outside": ("../../etc/passwd", "outside_root"),
    "folder": ("folder.png", "missing_file"),
    "null_path": ("a\0b.png", "missing_file"),
    "long_path": ("a" * 5000, "missing_file"),
    "odd_path": ("odd 100%#?*[é]\n 🟥.png", None),
    "no_path": ("", "no_image"),
}


def record(name: str, image: str, question: str, answer: str) -> dict[str, Any]:
    """Return a conversation of one turn."""
    turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": image, "conversations": turns}


def good(folder: Path, count: int) -> list[dict[str, Any]]:
    """Return records that make no trouble; every third is closed-ended."""
    draw, records = np.random.default_rng(0), []
    for n in range(count):
        pixels = draw.integers(0, 256, (56, 84, 3), dtype=np.uint8)
        (folder / f"good-{n}.png").write_bytes(saved(Image.fromarray(pixels)))
        open_ended = ("What is in the picture?", f"a small red square and {n} blue circles")
        asked = ("Is there a red square?", "Yes") if n % 3 == 0 else open_ended
        records.append(record(f"good-{n}", f"good-{n}.png", *asked))
    return records


def poison(folder: Path) -> tuple[list[Any], dict[str, str | None]]:
    """Write the images of the poison records; return these and what ingest says of each."""
    records: list[Any] = []
    expected: dict[str, str | None] = {}
    for name, each in images().items():
        (folder / f"{name}.bin").write_bytes(each.data)
        records.append(record(name, f"{name}.bin", "What is it?", f"a {name.replace('_', ' ')}"))
        expected[name] = None if each.reason is None else str(each.reason)
    for name, (question, answer, reason) in TEXTS.items():
        records.append(record(name, "good-0.png", question, answer))
        expected[name] = reason
    (folder / "folder.png").mkdir()
    (folder / PATHS["odd_path"][0]).write_bytes(saved(Image.new("RGB", (56, 84))))
    for name, (path, reason) in PATHS.items():
        records.append(record(name, path, "What is it?", "a path"))
        expected[name] = reason
    for name, (each, reason) in RECORDS.items():
        records.append(each)
        expected[name] = reason
    records += [record("good-0", "good-1.png", "Is this id there twice?", "Yes")] * 2
    return records, expected


def write(path: Path, records: list[Any]) -> Path:
    """Write records as JSON."""
    path.write_text(json.dumps(records))
    return path
