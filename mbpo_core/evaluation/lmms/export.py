"""What a model answered in lmms-eval, in the files that the benchmarks' own scorers read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mbpo_core.evaluation.lmms.samples import responses
from mbpo_core.evaluation.lmms.workfolder import EMBEDDED, base_task


def export(task: str, documents: Path, samples: Path, folder: Path) -> Path | None:
    """Write the answers of one of our tasks for a scorer outside of lmms-eval.

    MMHal-Bench: its answer template with `model_answer` filled in, in the template's order (a
    question's type is its position). Object HalBench: JSON lines of image_id, question, response.
    AMBER: its own form, a JSON list of id and response, unchanged words.

    Args:
        task: name of the task; the embedded world is scored inside and gives no file.
        documents: the `<task>.jsonl` that was asked.
        samples: lmms-eval's samples file of the task.
        folder: where to write, made if missing.

    Returns:
        The file, or None for tasks that need none.

    Raises:
        FileNotFoundError: documents or samples are not there.
        ValueError: malformed samples; an answer to a question that was not asked.
    """
    base = base_task(task)
    if base is None or base == EMBEDDED:
        return None
    answers = responses(samples)
    with documents.open(encoding="utf-8") as lines:
        asked = {row["question_id"]: json.loads(row["details"]) for row in map(json.loads, lines)}
    foreign = sorted(set(answers) - set(asked))
    if foreign:
        raise ValueError(
            f"{samples} answers questions that {documents} does not have: {foreign[0]}"
        )
    # With --limit, some were not asked: they are left out, never filled with nothing.
    rows = [_row(base, facts, answers[name]) for name, facts in asked.items() if name in answers]
    folder.mkdir(parents=True, exist_ok=True)
    if base == "object_halbench":
        path = folder / f"{task}.jsonl"
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    else:
        path = folder / f"{task}.json"
        text = json.dumps(rows, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _row(base: str, facts: dict[str, Any], answer: str) -> dict[str, Any]:
    if base == "mmhal_bench":
        return facts | {"model_answer": answer}
    if base == "object_halbench":
        return {"image_id": facts["image_id"], "question": facts["question"], "response": answer}
    return {"id": facts["id"], "response": answer}
