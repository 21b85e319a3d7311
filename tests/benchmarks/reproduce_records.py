"""Made-up runs of known figures for tests of pairing, claims, tables and drawings."""

from zlib import crc32

import numpy as np

from benchmarks.reproduce.ledger import Record

N_SCENES = 40


def record(row, base="base-0", seed=0, *, chair=0.3, accuracy=0.8, part="final", **changes):
    """Return a run whose scenes give about this CHAIR_i and accuracy, and metrics that fit them."""
    rng = np.random.default_rng([crc32(f"{row} {base}".encode()), seed, int(chair * 1000)])
    scenes = {}
    for split in ("consistent", "counter"):
        mentions = rng.integers(2, 5, N_SCENES)
        scenes[split] = {
            "right": rng.binomial(6, accuracy, N_SCENES).tolist(),
            "asked": [6] * N_SCENES,
            "mentions": mentions.tolist(),
            "hallucinated": rng.binomial(mentions, chair).tolist(),
        }
    metrics = {split: {"all": _metrics(found), "color": {"accuracy": accuracy}}
               for split, found in scenes.items()}  # fmt: skip
    made = {"row": row, "part": part, "base": base, "fingerprint": f"print of {base}",
            "seed": seed, "recipe": "made-up", "metrics": metrics, "scenes": scenes}  # fmt: skip
    return Record(**made | changes)


def _metrics(found):
    wrong = found["hallucinated"]
    return {
        "accuracy": sum(found["right"]) / sum(found["asked"]),
        "chair_i": sum(wrong) / sum(found["mentions"]),
        "chair_s": sum(n > 0 for n in wrong) / len(wrong),
        "iig_mean": 1.5,
    }


def runs(row, seeds=3, bases=("base-0", "base-1"), **figures):
    """Return runs of a row by unit."""
    return {(base, seed): record(row, base, seed, **figures)
            for base in bases for seed in range(seeds)}  # fmt: skip
