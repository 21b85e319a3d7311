"""Figures of HallusionBench, as its `utils.py` groups questions; see `hallusion_bench`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from mbpo_core.evaluation.groups import all_right
from mbpo_core.evaluation.protocol import Answer
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, divide, rounded

Group = Callable[[Answer], tuple[str, ...] | None]


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """aAcc, fAcc, qAcc, easy and hard aAcc (percent) of all, of VD, of VS and by subcategory.

    `unclear` is the share of answers that are neither right nor wrong, `yes_bias` the share of yes
    among the answers less that among the gold answers ("Pct Diff"), and `wrong_yes` the share of
    gold no among the wrong answers ("FP Ratio"); the latter two as fractions and only where all
    gold answers are known. As in the script, an answer counts there as yes if it is right and gold
    is yes or wrong and gold is no.
    """
    kinds = {"all": list(answers)}
    for answer in answers:
        kinds.setdefault(str(answer.score.facts["category"]), []).append(answer)
    for answer in answers:
        kinds.setdefault(answer.kind, []).append(answer)
    return [_block(kind, members) for kind, members in kinds.items()]


def _block(kind: str, answers: Sequence[Answer]) -> Block:
    groups = [all_right(answers, group) for group in (_figure, _pair, _easy, _hard)]
    rows = [
        (bool(answer.score.correct), 1, *chain(*terms), *_bias(answer), _is_unclear(answer))
        for answer, *terms in zip(answers, *groups, strict=True)
    ]
    known = all("gold" in a.score.facts for a in answers)
    return block(kind, [a.unit for a in answers], rows, FIGURES if known else FIGURES[:-2])


def _figure(answer: Answer) -> tuple[str, ...] | None:
    facts = answer.score.facts
    if facts["category"] == "VS" and facts["figure_id"] == "0":
        return None
    return tuple(facts[n] for n in ("category", "subcategory", "set_id", "figure_id"))


def _pair(answer: Answer) -> tuple[str, ...]:
    facts = answer.score.facts
    return tuple(facts[n] for n in ("category", "subcategory", "set_id", "question_id"))


def _easy(answer: Answer) -> tuple[str, ...] | None:
    return _pair(answer) if answer.score.facts["visual_input"] in ("0", "1") else None


def _hard(answer: Answer) -> tuple[str, ...] | None:
    return _pair(answer) if answer.score.facts["visual_input"] == "2" else None


def _bias(answer: Answer) -> tuple[float, ...]:
    right, gold = bool(answer.score.correct), answer.score.facts.get("gold") == "yes"
    return (right == gold, gold, not right, not right and not gold)


def _is_unclear(answer: Answer) -> bool:
    return answer.score.facts["verdict"] == "unclear"


def _percent(above: int) -> Callable[[Sums], Sums]:
    return lambda sums: rounded(divide(100 * sums[..., above], sums[..., above + 1]), 4)


FIGURES = (
    Figure("aAcc", _percent(0)),
    Figure("fAcc", _percent(2)),
    Figure("qAcc", _percent(4)),
    Figure("easy_aAcc", _percent(6)),
    Figure("hard_aAcc", _percent(8)),
    Figure("unclear", lambda s: divide(s[..., 14], s[..., 1]), better=-1),
    Figure("yes_bias", lambda s: divide(s[..., 10] - s[..., 11], s[..., 1]), better=0),
    Figure("wrong_yes", lambda s: divide(s[..., 13], s[..., 12]), better=0),
)
