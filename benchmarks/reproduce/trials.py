"""How the training settings were chosen: equally many trials of each contestant, on `dev` alone.

Data are the same for all contestants and were not tuned here: 5 steps of 4/255 within 20/255, mean
gain, 400 of 1200 samples, as committed. Only training settings differ. Trials come in rounds, one
of each contestant a round, so that any number of whole rounds is a budget that was equal for all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare.table import quality
from benchmarks.reproduce.bases import COMMITTED, Base
from benchmarks.reproduce.ledger import Done, Record
from benchmarks.reproduce.rows import CONTESTANTS, ROWS, Changes, Row
from benchmarks.reproduce.runs import Run, finished, run_of
from storage.files import atomic_write_text

SETTINGS = Path(__file__).parent / "settings.json"
TRIAL_SEED = 100
"""Of the runs; none of those that are reported has it."""
ALLOWED_LOSS = 0.01
"""Of accuracy on typical colours, against the base model."""


def _linear(rate: float, **objective: Any) -> dict[str, Any]:
    """Return settings with a rate that falls to 0, and changes of the objective."""
    changes = {f"train.objective.{name}": value for name, value in objective.items()}
    return {"train.learning_rate": rate, "train.lr_scheduler": "linear", **changes}


_RAW = {"advantages": "raw", "chosen_reward": 2.0, "rejected_reward": -0.5}
_RAW_LARGE = _RAW | {"chosen_reward": 4.0}
_MIX = {"pair.max_online": None, "train.offline_epochs": 3}
"""Every closed-ended question instead of 400: about half of the groups are online."""

ROUNDS: tuple[dict[str, dict[str, Any]], ...] = (
    {
        "full": _linear(2e-4),
        "offline-random": _linear(2e-4),
        "offline-adversarial": _linear(2e-4),
        "online": _linear(2e-4),
        "dpo": _linear(1e-4),
        "sft": _linear(1e-4),
    },
    {
        "full": _linear(2e-4, **_RAW) | _MIX,
        "offline-random": _linear(2e-4, **_RAW),
        "offline-adversarial": _linear(2e-4, **_RAW),
        "online": _linear(2e-4, beta=0.0),
        "dpo": _linear(1e-4, beta=0.3),
        "sft": _linear(2e-4),
    },
    {
        "full": _linear(2e-4) | _MIX,
        "offline-random": _linear(1e-4),
        "offline-adversarial": _linear(1e-4),
        "online": _linear(1e-4),
        "dpo": _linear(5e-5),
        "sft": _linear(5e-5),
    },
    {
        "full": _linear(1e-4, **_RAW) | _MIX,
        "offline-random": _linear(1e-4, **_RAW),
        "offline-adversarial": _linear(1e-4, **_RAW),
        "online": _linear(2e-4, beta=0.1),
        "dpo": _linear(5e-5, beta=0.03),
        "sft": _linear(3e-4),
    },
    {
        "full": _linear(2e-4, beta=0.2) | _MIX,
        "offline-random": _linear(2e-4, beta=0.2),
        "offline-adversarial": _linear(2e-4, beta=0.2),
        "online": _linear(2e-4, beta=0.2),
        "dpo": _linear(5e-5, beta=0.3),
        "sft": _linear(3e-5),
    },
    # Three more, for all, when those before were known.
    {
        "full": _linear(1e-4, **_RAW_LARGE) | _MIX,
        "offline-random": _linear(1e-4, **_RAW_LARGE),
        "offline-adversarial": _linear(1e-4, **_RAW_LARGE),
        "online": _linear(3e-4),
        "dpo": _linear(7e-5, beta=0.3),
        "sft": _linear(7e-5),
    },
    {
        "full": _linear(1e-4, **_RAW),
        "offline-random": _linear(7e-5, **_RAW),
        "offline-adversarial": _linear(1.4e-4, **_RAW),
        "online": _linear(4e-4),
        "dpo": _linear(1e-4, beta=0.5),
        "sft": _linear(8.5e-5),
    },
    {
        "full": _linear(1e-4, **_RAW_LARGE),
        "offline-random": _linear(7e-5, **_RAW_LARGE),
        "offline-adversarial": _linear(1.2e-4, **_RAW_LARGE),
        "online": _linear(1.5e-4),
        "dpo": _linear(6e-5),
        "sft": _linear(9.5e-5),
    },
)


def trial_row(contestant: str, number: int) -> Row:
    """Return a trial as a row of its own."""
    return Row(f"{contestant} #{number}", contestant, ROUNDS[number][contestant])


def trials(base: Base, rounds: int = len(ROUNDS)) -> list[Run]:
    """Return the base model's measurement and all trials, round after round."""
    rows = [trial_row(name, number) for number in range(rounds) for name in CONTESTANTS]
    return [
        run_of(ROWS["base"], {}, base, "dev", 0),
        *(run_of(row, {}, base, "dev", TRIAL_SEED) for row in rows),
    ]


def tried(done: Done, fingerprint: str) -> dict[str, list[Record]]:
    """Return the trials of whole rounds by contestant: equally many of each.

    A trial is found by its settings, as every run is: a round that is written anew is not done.
    """
    base = Base(0, COMMITTED, fingerprint)
    found: dict[str, list[Record]] = {name: [] for name in CONTESTANTS}
    for number in range(len(ROUNDS)):
        rows = {name: trial_row(name, number) for name in CONTESTANTS}
        runs = {name: finished(run_of(row, {}, base, "dev", TRIAL_SEED), done)
                for name, row in rows.items()}  # fmt: skip
        if None in runs.values():
            break
        for name, record in runs.items():
            found[name] += [record] if record else []
    return found


def best(found: Sequence[Record], base: Record) -> int:
    """Return which trial is chosen, by a rule that was fixed before the first one.

    Of those that lose no more than a point of accuracy on typical colours, the one with the lowest
    CHAIR_i where no colour is typical; if all lose more, the one of highest `quality`.
    """
    floor = _figures(base)["accuracy, typical"] - ALLOWED_LOSS
    good = [n for n, each in enumerate(found) if _figures(each)["accuracy, typical"] >= floor]
    if good:
        return min(good, key=lambda n: _chair(found[n]))
    return max(range(len(found)), key=lambda n: quality(_figures(found[n])))


def choose(done: Done) -> dict[str, dict[str, Changes]]:
    """Return the chosen settings of each contestant, and every trial with its figures."""
    base = next(each for each in done.records if (each.part, each.row) == ("dev", "base"))
    chosen, told = {}, {}
    for name, found in tried(done, base.fingerprint).items():
        if not found:
            raise ValueError("no round of trials is whole: run --trials to its end first")
        chosen[name] = ROUNDS[best(found, base)][name]
        told[name] = [
            {"settings": ROUNDS[n][name], **_figures(each)} for n, each in enumerate(found)
        ]
    return {"chosen": chosen, "base": _figures(base), "trials": told}


def write_settings(done: Done, path: Path = SETTINGS) -> None:
    """Write the choice, once, before anything is run on the final part."""
    atomic_write_text(path, json.dumps(choose(done), indent=1) + "\n")


def committed_settings(path: Path = SETTINGS) -> dict[str, Changes]:
    """Return the chosen settings by contestant.

    Raises ValueError where none are there yet: nothing may be run on the final part then.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is not there: choose settings first, with --trials")
    return json.loads(path.read_text(encoding="utf-8"))["chosen"]


def _chair(record: Record) -> float:
    found = _figures(record)["CHAIR_i"]
    return 1.0 if found is None else found


def _figures(record: Record) -> Mapping[str, Any]:
    """Return what the rule looks at, under the names that `quality` knows."""
    counter, typical = (record.metrics[split]["all"] for split in ("counter", "consistent"))
    return {
        "CHAIR_i": counter["chair_i"],
        "CHAIR_i, typical": typical["chair_i"],
        "accuracy, counter": counter["accuracy"],
        "accuracy, typical": typical["accuracy"],
    }
