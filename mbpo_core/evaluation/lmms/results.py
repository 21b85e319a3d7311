"""lmms-eval's `*_results.json` as plain metric rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, Final

from mbpo_core.evaluation.lmms.samples import read_samples, samples_file
from mbpo_core.evaluation.statistics import Z_95

OWN_TASKS: Final = (
    "mbpo_embedded", "mmhal_bench", "object_halbench", "amber_discriminative",
)  # fmt: skip
"""Tasks that this package brings; of `mbpo_embedded` there is one for each flavour."""
PREFIX: Final = "lmms-eval/"
"""Of every benchmark name that comes from there: such figures are not mixed with our own."""
_ERRORS: Final = ("_stderr", "_stderr_clt", "_stderr_clustered")
_JUDGES: Final = ("gpt_eval_model_name", "judge_model", "eval_model_name")
"""Where the metadata of lmms-eval's tasks name a judge."""


def results_files(folder: Path) -> list[Path]:
    """Return all results files below a folder, oldest first (their names begin with the time)."""
    return sorted(folder.rglob("*_results.json"), key=lambda path: (path.name, str(path)))


def read_results(
    path: Path, *, model: str | None = None, version: str | None = None
) -> list[dict[str, Any]]:
    """Return one row per figure of a results file.

    Keys of a row: `model`, `benchmark` (`lmms-eval/<task>`), `kind` (`all`, or the subgroup where a
    figure has one: `accuracy/color` of our own tasks, or a key of a figure that is a table),
    `metric` (with `[filter]` behind it unless the filter is `none`), `value` (None where lmms-eval
    gives no finite number), `n`, `low` and `high` (95 % interval, value -+ 1.96 standard errors;
    None without one), `method` (`stderr` with an interval, else `lmms-eval`), `lmms_eval_version`,
    `date` (as written there; UTC if `build` made the command), `judge` (None where none is named).

    n is the number of logged answers that have the figure where the samples file lies beside the
    results, else the number of questions of the task.

    Args:
        path: the results file.
        model: name for the rows; default: the last part of the checkpoint's path.
        version: of the package; default: what the results name, which is not the package's version
            but branch and commit of the git checkout that the run was started in.

    Raises:
        FileNotFoundError: no such file.
        ValueError: half-written, no JSON object, or without results; the file is named.
    """
    found = _load(path)
    judges, configs = {}, found.get("configs")
    for task, config in (configs if isinstance(configs, dict) else {}).items():
        judges[task] = _judge(config)
    common = {
        "model": model or _model_name(found),
        "lmms_eval_version": version or _text(found.get("lmms_eval_version")),
        "date": _text(found.get("date")),
    }
    rows = []
    for task, figures in found["results"].items():
        if not isinstance(figures, dict):
            raise ValueError(f"{path}: expected a table of figures for {task}, got {figures!r}")
        counts = _counts(path, task, figures)
        for row in _figures(task, figures):
            name = row.pop("key")
            n = counts[name] if name in counts else _questions(found, task)
            rows.append(common | row | {"n": n, "judge": judges.get(task)})
    return rows


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no results file: {path}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one too
        raise ValueError(f"{path} is not valid JSON (half-written?): {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("results"), dict):
        raise ValueError(f"{path} has no table of results: not a results file of lmms-eval")
    return found


def _figures(task: str, figures: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, value in figures.items():
        key, comma, used_filter = name.partition(",")
        # Without a comma: the alias, the number of samples, the settings of a paired test.
        if not comma or key.endswith(_ERRORS):
            continue
        # Only our own tasks name subgroups so; elsewhere a slash is part of the metric's name.
        metric, slash, kind = key.partition("/") if task.startswith(OWN_TASKS) else (key, "", "")
        metric += "" if used_filter == "none" else f"[{used_filter}]"
        error = figures.get(f"{key}_stderr,{used_filter}")
        table = value if isinstance(value, dict) else {kind if slash else "all": value}
        for group, figure in table.items():
            spread = None if isinstance(value, dict) else _number(error)
            rows.append(
                {"key": key, "benchmark": f"{PREFIX}{task}", "kind": str(group), "metric": metric}
                | _estimate(_number(figure), spread)
            )
    return rows


def _estimate(value: float | None, error: float | None) -> dict[str, Any]:
    if value is None or error is None or error < 0:
        return {"value": value, "low": None, "high": None, "method": "lmms-eval"}
    half = Z_95 * error
    return {"value": value, "low": value - half, "high": value + half, "method": "stderr"}


def _number(value: Any) -> float | None:
    """Return a finite number, or None for whatever else lmms-eval writes ("N/A", NaN, lists)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond the range of doubles
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _model_name(found: dict[str, Any]) -> str:
    name = (_text(found.get("model_name")) or "").rstrip("/")
    return name.rpartition("/")[2] or "unknown"


def _judge(config: Any) -> str | None:
    metadata = config.get("metadata") if isinstance(config, dict) else None
    tables = metadata if isinstance(metadata, list) else [metadata]
    for table in tables:
        for name in _JUDGES:
            if isinstance(table, dict) and _text(table.get(name)):
                return table[name]
    return None


def _questions(found: dict[str, Any], task: str) -> int | None:
    samples = found.get("n-samples")
    counts = samples.get(task) if isinstance(samples, dict) else None
    number = _number(counts.get("effective")) if isinstance(counts, dict) else None
    return None if number is None else int(number)


def _counts(path: Path, task: str, figures: dict[str, Any]) -> Counter[str]:
    samples = samples_file(path, task)
    filters = {name.partition(",")[2] for name in figures if "," in name}
    # With two filters every answer is logged twice, and nothing says which line is whose.
    if len(filters) > 1 or not samples.is_file():
        return Counter()
    return Counter(name for sample in read_samples(samples) for name in sample)
