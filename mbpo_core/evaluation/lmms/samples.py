"""lmms-eval's `*_samples_<task>.jsonl`: what the model answered, question by question."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def samples_file(results: Path, task: str) -> Path:
    """Return where the samples of a task lie, beside the results file of the same run."""
    return results.with_name(f"{results.name.removesuffix('results.json')}samples_{task}.jsonl")


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """Read logged answers one after the other.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no JSON object (a run that was killed leaves half a line); file
            and line are named.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no samples file: {path}")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                sample = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}, is not valid JSON: {error}") from None
            if not isinstance(sample, dict):
                raise ValueError(f"{path}, line {number}: expected an object, got {line[:80]!r}")
            yield sample


def responses(path: Path) -> dict[str, str]:
    """Return the answer to each question, by the question's id.

    Only for tasks of our own, whose `doc_to_target` is the question's id: lmms-eval does not log
    the question itself.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_samples`; an answer without id or text; two for one question.
    """
    found: dict[str, str] = {}
    for number, sample in enumerate(read_samples(path), 1):
        name, answer = sample.get("target"), sample.get("filtered_resps")
        answer = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
        if not isinstance(name, str) or not isinstance(answer, str):
            raise ValueError(f"{path}, line {number}: expected one text for one question id")
        if name in found:
            raise ValueError(f"{path}, line {number}: a second answer to {name}")
        found[name] = answer
    return found
