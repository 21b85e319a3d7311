"""Two evaluations of the store compared, and the comparison stored."""

from __future__ import annotations

from pathlib import Path

from storage.refs import ArtifactRef
from storage.store import ArtifactStore
from tasks.alone import make_alone
from tasks.comparison import Compare, answers_of


class CompareError(ValueError):
    """Two things that cannot be compared; the message says why."""


def compare_refs(
    root: Path, a: str, b: str, *, draws: int = 2000, seed: int = 0
) -> tuple[ArtifactRef, str, str]:
    """Compare two evaluations and store the result; return it and the names of the models.

    Args:
        root: of the store.
        a, b: `evaluate/1a2b`, with `:model` behind it where it holds several models.
        draws, seed: of the bootstrap.

    Raises:
        CompareError: no such model, or no benchmark that both answered.
    """
    store = ArtifactStore(root)
    (a_ref, a_model), (b_ref, b_model) = _resolved(store, a), _resolved(store, b)
    common = answers_of(store, a_ref, a_model).keys() & answers_of(store, b_ref, b_model).keys()
    if not common:
        raise CompareError(f"{a} and {b} have no benchmark in common")
    stage = Compare(a_model, b_model, draws, seed)
    return make_alone(stage, root, {"a": a_ref, "b": b_ref}), a_model, b_model


def _resolved(store: ArtifactStore, text: str) -> tuple[ArtifactRef, str]:
    name, _, model = text.partition(":")
    ref = store.resolve(name)
    if ref.stage != "evaluate":
        raise CompareError(f"{name} is of the stage {ref.stage}, not of evaluate")
    models = sorted(set(store.table(ref, "predictions", ["model"]).column(0).to_pylist()))
    if model and model not in models:
        raise CompareError(f"{ref.short} has no model {model!r}; it has {', '.join(models)}")
    if not model and len(models) != 1:
        raise CompareError(
            f"{ref.short} has the models {', '.join(models)}: say which, as {name}:{models[-1]}"
        )
    return ref, model or models[0]
