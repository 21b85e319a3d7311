"""AMBER's generative task (Wang et al. 2023, arXiv 2311.07397), as its `inference.py` scores it.

The nouns of a description (NLTK's tagger, WordNet's lemma) that are in AMBER's vocabulary are its
mentions. A mention is borne out if it is one of the image's true objects or a word associated with
one. CHAIR is the share of mentions that are not, Cover the share of true objects that are named,
Hal the share of descriptions with at least one mention that is not, Cog the share of likely
hallucinations (`hallu` of the annotations) that are named.

Figures are in percent and rounded to 0.1 as the script prints them, with its counters that start at
0.001 where they will divide. Words are compared by `similarity` beside equality; the script takes
spaCy's en_core_web_lg. The default here is identity: only words of the vocabulary are ever
compared, and on the 166 real answers at hand the script prints the same with either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mbpo_core.evaluation.nltk_words import lemma, tags, tokens
from mbpo_core.evaluation.protocol import (
    Answer,
    BenchmarkError,
    Question,
    Review,
    Score,
    SourceFile,
)
from mbpo_core.evaluation.statistics import Block, Figure, Sums, block, rounded

KEYS = (("question_id",), ("image",))
PROMPT = "Describe this image."
KIND = "generative"
THRESHOLD = 0.8
"""Words that are more similar than this are one."""
START = 0.001
"""At which the script's counters of cases start (`metrics.txt`)."""
FILES = "annotations.json, relation.json and safe_words.txt"

Similarity = Callable[[str, str], float]


def identity(a: str, b: str) -> float:
    """Return 1 for the same word, else 0."""
    return float(a == b)


@dataclass(frozen=True)
class AmberGenerative:
    """Images with their true objects and likely hallucinations."""

    questions: Sequence[Question]
    relation: Mapping[str, Sequence[str]]
    """Words associated with each object."""
    vocabulary: frozenset[str]
    """Words that count as mentions: those of `relation`."""
    safe: frozenset[str]
    """Words that count as mentions but are never held against a description."""
    similarity: Similarity = field(default=identity)

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Find the mentions and what of them is true, likely or neither."""
        truth, likely = (_owned(question.facts[n], self.relation) for n in ("truth", "hallu"))
        mentioned = [noun for noun in nouns(response) if noun in self.vocabulary]
        named, imagined, absent = set(), set(), []
        for noun in mentioned:
            if noun in self.safe:
                continue
            if (place := _same(noun, truth)) is not None:
                named.add(place)
                continue
            imagined |= {_same(noun, likely), self._similar(noun, likely)}
            if (place := self._similar(noun, truth)) is not None:
                named.add(place)
            else:
                absent.append(noun)
        imagined.discard(None)
        return Score(
            points=float(not absent), mentions=len(mentioned), hallucinated=len(absent),
            extracted=", ".join(mentioned) if response.strip() else None, rule="nouns",
            facts={
                "words": mentioned, "hallucinated": absent,
                "covered": _at(question.facts["truth"], named),
                "truth": list(question.facts["truth"]),
                "cognitive": _at(question.facts["hallu"], imagined),
                "likely": list(question.facts["hallu"]),
            },
        )  # fmt: skip

    def _similar(self, noun: str, words: Sequence[tuple[str, int]]) -> int | None:
        return next((i for word, i in words if self.similarity(noun, word) > THRESHOLD), None)


def nouns(text: str) -> list[str]:
    """Return the lemmas of the nouns of a text, in order; a capital letter stays one."""
    words = tokens(text)
    return [lemma(w) for w, tag in zip(words, tags(words), strict=True) if tag.startswith("NN")]


def _same(noun: str, words: Sequence[tuple[str, int]]) -> int | None:
    return next((place for word, place in words if word == noun), None)


def _at(words: Sequence[str], places: set[int]) -> list[str]:
    return [words[place] for place in sorted(places)]


def load(files: Sequence[SourceFile], similarity: Similarity = identity) -> AmberGenerative:
    """Return the benchmark of AMBER's files.

    Args:
        files: `annotations.json` (all of it, or its generative part), `relation.json`,
            `safe_words.txt`; `query_generative.json` or `query_all.json` for the questions' own
            text, "Describe this image." otherwise.
        similarity: of two words of the vocabulary, one where they are the same.

    Raises:
        BenchmarkError: a file is missing or not what it should be, an object without associations.
    """
    relation = _one(files, lambda f: isinstance(f.content, dict) and all(
        isinstance(words, list) for words in f.content.values()))  # fmt: skip
    safe = _one(files, lambda f: isinstance(f.content, str) and "safe" in f.name)
    records = [r for f in files if isinstance(f.content, list) for r in f.content]
    if not all(isinstance(r, Mapping) and str(r.get("id", "")).isdigit() for r in records):
        raise BenchmarkError(f"amber-generative: a record without id; needed are {FILES}")
    queries = {int(r["id"]): r for r in records if "query" in r}
    annotated = [r for r in records if _generative(r)]
    if not annotated:
        raise BenchmarkError(f"amber-generative: no generative annotation; needed are {FILES}")
    questions = [_question(r, queries.get(int(r["id"]), {}), relation) for r in annotated]
    if len({q.question_id for q in questions}) < len(questions):
        raise BenchmarkError("amber-generative: an id stands twice in the annotations")
    nouns("a dog")  # what NLTK lacks is said before anything is scored
    vocabulary = {*relation, *(word for words in relation.values() for word in words)}
    return AmberGenerative(
        questions, relation, frozenset(vocabulary), frozenset(safe.splitlines()), similarity
    )


def _one(files: Sequence[SourceFile], wanted: Callable[[SourceFile], bool]) -> Any:
    found = [f for f in files if wanted(f)]
    if len(found) != 1:
        names = ", ".join(f.name for f in files)
        raise BenchmarkError(f"amber-generative needs {FILES}, one of each, got {names}")
    return found[0].content


def _generative(record: Mapping[str, Any]) -> bool:
    lists = isinstance(record.get("truth"), list) and isinstance(record.get("hallu"), list)
    return lists and record.get("type", KIND) == KIND


def _question(
    record: Mapping[str, Any], query: Mapping[str, Any], relation: Mapping[str, Sequence[str]]
) -> Question:
    key, asked = int(record["id"]), {**record, **query}
    words = (*record["truth"], *record["hallu"])
    missing = [w for w in words if not isinstance(w, str) or w not in relation]
    if missing:
        raise BenchmarkError(
            f"amber-generative: {missing[0]!r} of annotation {key} is not in relation.json: "
            "another release?"
        )
    text = asked.get("query") or PROMPT
    image = asked.get("image")
    picture = image.get("bytes") if isinstance(image, Mapping) else image
    return Question(
        question_id=str(key), benchmark="amber-generative", kind=KIND, text=text, prompt=text,
        image=picture or f"AMBER_{key}.jpg", unit=f"AMBER_{key}",
        join={"question_id": str(key), "image": f"AMBER_{key}"},
        facts={"truth": list(record["truth"]), "hallu": list(record["hallu"])},
    )  # fmt: skip


def _owned(words: Sequence[str], relation: Mapping[str, Sequence[str]]) -> list[tuple[str, int]]:
    """Return words and the place of the object that each stands for, as they are looked up.

    All associated words come first, so that an object which is also associated with another one
    counts as that other: where "forest" and "tree" are both true, a tree names the forest.
    """
    related = [(word, place) for place, owner in enumerate(words) for word in relation[owner]]
    return related + [(word, place) for place, word in enumerate(words)]


def _percent(above: int, below: int) -> Callable[[Sums], Sums]:
    return lambda sums: rounded(sums[..., above] / (START + sums[..., below]) * 100, 1)


def _hal(sums: Sums) -> Sums:
    return rounded(100 - sums[..., 6] / (START + sums[..., 7]) * 100, 1)


FIGURES = (
    Figure("chair", _percent(0, 1), better=-1),
    Figure("cover", _percent(2, 3)),
    Figure("hal", _hal, better=-1),
    Figure("cog", _percent(4, 5), better=-1),
)
"""Of sums over `_terms`, in percent."""


def _terms(answer: Answer) -> tuple[float, ...]:
    score = answer.score
    counts = (len(score.facts[n]) for n in ("covered", "truth", "cognitive", "likely"))
    return (score.hallucinated, score.mentions, *counts, not score.hallucinated, 1)


def blocks(answers: Sequence[Answer]) -> list[Block]:
    """CHAIR, Cover, Hal and Cog over the descriptions that were given, in percent."""
    return [block(KIND, [a.unit for a in answers], [_terms(a) for a in answers], FIGURES)]
