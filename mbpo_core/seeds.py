"""Seeds that belong to a sample and a purpose, never to a position in a batch."""

import hashlib
import json


def seed_for(run_seed: int, sample_id: str, purpose: str, *extra: int | str) -> int:
    """Seed of 63 bits from what the draw is for.

    The same arguments give the same seed on every machine and in every process; any other argument
    gives an unrelated one. `extra` tells draws of one purpose apart (attempt, rollout).

    Shapes and units: none; the result is in [0, 2**63), which `torch.Generator` accepts.
    Errors: TypeError if an argument is neither int nor str.
    Differs from the paper: it names no seeds.
    """
    parts = [run_seed, sample_id, purpose, *extra]
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, int | str):
            raise TypeError(f"a seed is made of int and str, got {part!r}")
    # JSON keeps ("a", "bc") and ("ab", "c"), and 1 and "1", apart.
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
