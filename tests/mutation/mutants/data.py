"""Mistakes in scores, selection, groups and the order in which they are seen."""

from tests.mutation.mutants.mutant import Mutant

_GAIN = "mbpo_core/information_gain.py"
_SELECTION = "mbpo_core/selection.py"
_GROUPING = "mbpo_core/grouping.py"
_CURRICULUM = "mbpo_core/curriculum.py"
_OF_SELECTION = ("tests/mbpo_core/test_selection.py",)
_OF_GROUPING = ("tests/mbpo_core/test_grouping.py",)
_OF_CURRICULUM = ("tests/mbpo_core/test_curriculum.py",)
_OF_GAIN = ("tests/mbpo_core/test_information_gain.py",)

MUTANTS = (
    Mutant(
        "selection-tie-break-dropped",
        "equal scores are ordered by whatever came first",
        _SELECTION,
        "key=lambda sample_id: (-finite[sample_id], sample_id)",
        "key=lambda sample_id: -finite[sample_id]",
        _OF_SELECTION,
    ),
    Mutant(
        "closed-ended-not-excluded",
        "samples of the online set are mined too",
        _SELECTION,
        "(row.sample_id for row in rows if not row.closed),",
        "(row.sample_id for row in rows),",
        _OF_SELECTION,
    ),
    Mutant(
        "top-k-ascending",
        "the samples that need the image least are chosen",
        _SELECTION,
        "(-finite[sample_id], sample_id)",
        "(finite[sample_id], sample_id)",
        _OF_SELECTION,
    ),
    Mutant(
        "selected-by-the-sum",
        "samples are ranked by the sum whatever the key: long responses win",
        _SELECTION,
        "_score(row, key) for row in rows",
        "row.iig_sum for row in rows",
        _OF_SELECTION,
    ),
    Mutant(
        "presample-by-name",
        "the random share is the alphabetically first",
        _SELECTION,
        "key=lambda sample_id: (sample_order(seed, sample_id), sample_id),",
        "key=lambda sample_id: sample_id,",
        _OF_SELECTION,
    ),
    Mutant(
        "unscored-samples-ranked",
        "a score that is not a number takes a place among the top k",
        _SELECTION,
        "if (s := scores[i]) is not None and math.isfinite(s)",
        "if (s := scores[i]) is not None",
        _OF_SELECTION,
    ),
    Mutant(
        "rejected-scored-under-the-negative-image",
        "a rejected candidate may carry the image that it was drawn under",
        _GROUPING,
        'if candidate.role in ("chosen", "rejected") and candidate.image_id != self.image_id:',
        'if candidate.role == "chosen" and candidate.image_id != self.image_id:',
        _OF_GROUPING,
    ),
    Mutant(
        "pair-of-equal-texts",
        "a response is trained up and down at once",
        _GROUPING,
        'if candidate.role == "rejected" and candidate.text == chosen.text:',
        'if candidate.role == "rejected" and candidate is chosen:',
        _OF_GROUPING,
    ),
    Mutant(
        "curriculum-not-shuffled",
        "all offline groups come before all online ones",
        _CURRICULUM,
        "order = sorted(union, key=lambda group_id, e=epoch: _draw(seed, e, group_id))",
        "order = list(union)",
        _OF_CURRICULUM,
    ),
    Mutant(
        "every-epoch-in-the-same-order",
        "the epoch is left out of the seed of the order",
        _CURRICULUM,
        'seed_for(seed, group_id, "curriculum", epoch)',
        'seed_for(seed, group_id, "curriculum", 0)',
        _OF_CURRICULUM,
    ),
    Mutant(
        "online-for-as-many-epochs-as-offline",
        "the online set is seen for more than its one epoch",
        _CURRICULUM,
        "union += online if epoch < online_epochs else ()",
        "union += online if epoch < offline_epochs else ()",
        _OF_CURRICULUM,
    ),
)
