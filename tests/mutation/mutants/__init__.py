"""The mutants: for each part of the method the mistakes that a reviewer would look for."""

from tests.mutation.mutants import (
    attack,
    data,
    entropy,
    evaluation,
    images,
    negatives,
    objective,
    order,
    policy,
    preference,
    sampling,
    training,
    verifier,
)
from tests.mutation.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *attack.MUTANTS,
    *images.MUTANTS,
    *negatives.MUTANTS,
    *policy.MUTANTS,
    *entropy.MUTANTS,
    *sampling.MUTANTS,
    *data.MUTANTS,
    *verifier.MUTANTS,
    *evaluation.MUTANTS,
    *objective.MUTANTS,
    *preference.MUTANTS,
    *order.MUTANTS,
    *training.MUTANTS,
)

__all__ = ["MUTANTS", "Mutant"]
