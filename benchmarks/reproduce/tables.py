"""From finished runs to text: a table a group, paired differences, verdicts on claims."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.compare import table as compared
from benchmarks.compare.table import Cell, cell
from benchmarks.reproduce.bases import Base, committed_records
from benchmarks.reproduce.claims import CLAIMS, Claim, verdict
from benchmarks.reproduce.ledger import Done
from benchmarks.reproduce.paired import COLUMNS, Difference, Runs, has_seeds, paired, value
from benchmarks.reproduce.rows import GROUPS, ROWS, Changes, Group
from benchmarks.reproduce.runs import finished, run_of

SEEDS = 5
"""At most, of any row."""
COMPARE = Path(compared.__file__).parent / "results.json"
_CONTROLS = ("sft-selected", "dpo-adversarial", "mbpo-shuffled", "mbpo")


def final_runs(
    done: Done, settings: Mapping[str, Changes], scenes: int | None = None,
    records: Mapping[str, Mapping[str, object]] | None = None,
) -> dict[str, Runs]:  # fmt: skip
    """Return the finished runs on the final part by row and unit, of the recorded base models."""
    known = committed_records() if records is None else records
    bases = [Base(int(str(found["seed"])), Path(name), str(found["fingerprint"]))
             for name, found in known.items()]  # fmt: skip
    runs: dict[str, Runs] = {}
    for name, row in ROWS.items():
        seeds = range(1 if row.contestant is None else SEEDS)
        units = {(base.name, seed): run_of(row, settings, base, "final", seed, scenes=scenes)
                 for base in bases for seed in seeds}  # fmt: skip
        runs[name] = {unit: record for unit, each in units.items()
                      if (record := finished(each, done))}  # fmt: skip
    return runs


def report(runs: Mapping[str, Runs]) -> str:
    """Return the whole page."""
    parts = [_head(runs), _verdicts(runs)]
    parts += [_group(group, runs) for group in GROUPS.values()]
    parts.append(_beside())
    return "\n".join(parts)


def _head(runs: Mapping[str, Runs]) -> str:
    """Return how much of it was run; every row of `GROUPS` on two base models is all of it."""
    done = sum(map(len, runs.values()))
    bases = sorted({base for row in runs.values() for base, _ in row})
    told = f"{done} runs on {', '.join(bases)}." if done else "Nothing was run yet."
    return (
        "# What `make reproduce` found\n\nWritten by the command from the lines of `runs.jsonl`; "
        f"how it was done: [docs/reproduce.md](../../docs/reproduce.md). {told}\n"
    )


def _verdicts(runs: Mapping[str, Runs]) -> str:
    lines = [
        "## Claims\n",
        "Both intervals are 95 %: Student's over (base model, seed), and a bootstrap of seeds and",
        "scenes. A claim holds, or does not, where both say so.\n",
        "| said in | claim | figure | difference | Student | bootstrap | by base model | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_verdict(claim, claim.difference(runs)) for claim in CLAIMS]
    return "\n".join(lines) + "\n"


def _verdict(claim: Claim, found: Difference) -> str:
    rows = claim.a if claim.b is None else f"{claim.a} - {_times(claim.factor)}{claim.b}"
    side = "<" if claim.below else ">"
    figure = f"{claim.column}: {rows} {side} {claim.bound:g}"
    return (
        f"| {claim.source} | {claim.text} | {figure} | {_cells(found)} | {verdict(claim, found)} |"
    )


def _times(factor: float) -> str:
    return "" if factor == 1 else f"{factor:g} x "


def _group(group: Group, runs: Mapping[str, Runs]) -> str:
    columns = list(COLUMNS)
    lines = [f"## {group.title}\n", f"| | {' | '.join(columns)} | runs | seconds |",
             f"|---|{'---|' * (len(columns) + 2)}"]  # fmt: skip
    lines += [_row(name, runs.get(name, {}), columns) for name in group.rows]
    lines += ["", f"Paired differences, each row less `{group.against}`:\n",
              "| | CHAIR_i | Student | bootstrap | by base model | accuracy, typical | Student "
              "| bootstrap | by base model |", f"|---{'|---' * 8}|"]  # fmt: skip
    against = runs.get(group.against, {})
    for name in group.rows:
        if name != group.against:
            told = [_cells(_subtracted(runs.get(name, {}), against, column))
                    for column in ("CHAIR_i", "accuracy, typical")]  # fmt: skip
            lines.append(f"| {name} | {' | '.join(told)} |")
    return "\n".join(lines) + "\n"


def _subtracted(row: Runs, against: Runs, column: str) -> Difference:
    """The base model's one run stands for all seeds, on whichever side it is."""
    if any(record.row == "base" for record in row.values()):
        row = {unit: record for unit in against if (record := row.get((unit[0], 0)))}
    return paired(row, against, column)


def _row(name: str, runs: Runs, columns: Sequence[str]) -> str:
    if not runs:
        return f"| {name} | {' | '.join(['not run'] * len(columns))} | 0 | |"
    cells = [_over_runs(runs, column) for column in columns]
    seconds = sorted(run.seconds for run in runs.values())
    return (
        f"| {name} | {' | '.join(cells)} | {_counts(runs)} | "
        f"{seconds[len(seconds) // 2]:.0f} (at most {seconds[-1]:.0f}) |"
    )


def _over_runs(runs: Runs, column: str) -> str:
    """Return mean and Student's interval; of one run a base model the mean, and each behind it."""
    values = [value(run, column) for _, run in sorted(runs.items())]
    if len(values) == 1 or has_seeds(runs) or None in values:
        return _text(cell(values))
    return f"{fmean(values):.3f} ({', '.join(f'{each:.3f}' for each in values)})"


def _counts(runs: Runs) -> str:
    """Return the number of seeds of each base model, as `5 + 3`."""
    bases = sorted({base for base, _ in runs})
    return " + ".join(str(sum(unit[0] == base for unit in runs)) for base in bases)


def _cells(found: Difference) -> str:
    """Return mean, both intervals and the base models' own means as four cells."""
    if found.student is None:
        return "not run | | | "
    mean, n = found.student, found.student.n
    student = f"{mean.low:+.3f} to {mean.high:+.3f}" if n > 1 else "one run"
    spread = "" if found.bootstrap is None else "{:+.3f} to {:+.3f}".format(*found.bootstrap)
    bases = ", ".join(f"{name} {_signed(each)}" for name, each in found.by_base.items())
    return f"{mean.mean:+.3f} | {student} | {spread} | {bases}"


def _signed(found: Cell) -> str:
    return str(found) if found.mean < 0 else f"+{found}"


def _text(found: Cell | None) -> str:
    return "undefined" if found is None else str(found)


def _beside() -> str:
    """Return the controls of `make compare`: other scenes of `test`, its own settings."""
    rows = json.loads(COMPARE.read_text(encoding="utf-8"))["rows"]
    shown = ("CHAIR_i", "CHAIR_s", "accuracy, counter", "accuracy, typical")
    lines = ["## Beside them: the controls of `make compare`\n",
             "Other scenes and other settings (see `benchmarks/README.md`): not to subtract.\n",
             f"| | {' | '.join(shown)} | seeds |", f"|---|{'---|' * (len(shown) + 1)}"]  # fmt: skip
    for name in ("base", *_CONTROLS):
        cells = [_text(Cell(**rows[name]["cells"][column])) for column in shown]
        lines.append(f"| {name} | {' | '.join(cells)} | {rows[name]['seeds']} |")
    return "\n".join(lines) + "\n"
