"""Mistakes in the record of a group and in the order in which groups are seen."""

from tests.mutation.mutants.mutant import Mutant

_CURRICULUM = "mbpo_core/curriculum.py"
_GROUPING = "mbpo_core/grouping.py"
_OF_CURRICULUM = ("tests/mbpo_core/test_curriculum.py",)
_OF_GROUPING = ("tests/mbpo_core/test_grouping.py",)

MUTANTS = (
    Mutant(
        "hard-to-easy",
        "the hardest groups are the first level",
        _CURRICULUM,
        "rank * levels // len(ranked)",
        "levels - 1 - rank * levels // len(ranked)",
        _OF_CURRICULUM,
    ),
    Mutant(
        "equal-difficulties-by-position",
        "groups of equal difficulty are ranked as they came",
        _CURRICULUM,
        "key=lambda group_id: (difficulty[group_id], group_id)",
        "key=lambda group_id: difficulty[group_id]",
        _OF_CURRICULUM,
    ),
    Mutant(
        "hard-groups-cut-away",
        "the bound on the steps holds for each phase: the first one takes them all",
        _CURRICULUM,
        "_share(max_steps, index, len(phases))",
        "max_steps",
        _OF_CURRICULUM,
    ),
    Mutant(
        "roles-in-the-order-of-the-record",
        "candidates keep the order in which they were stored, and a second one of a role stays",
        _GROUPING,
        "tuple(group.candidate(role) for role in roles)",
        "tuple(c for c in group.candidates if c.role in roles)",
        _OF_GROUPING,
    ),
)
