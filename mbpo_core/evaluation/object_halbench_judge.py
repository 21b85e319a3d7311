"""Object HalBench as it is reported: a judge lists the objects of a caption, each counts once.

RLAIF-V's `eval/eval_gpt_obj_halbench.py` with `--use_gpt`. `object_halbench_prompt.txt` is that
script's prompt, word by word (RLHF-V/RLAIF-V at 83d917b, Apache-2.0 as its pyproject.toml says).
What the judge lists is tagged and lemmatised by spaCy, runs of nouns are joined, repeats dropped,
and what then stands in the list of synonyms counts as a mention of its object: "man" and "woman"
are two mentions of one object.

The official judge, gpt-3.5-turbo-0613, is retired; judge and date stand in the result. The official
tagger, `en_core_web_trf`, is not replaced where it is missing: `object_halbench-judge-nltk` is a
benchmark of its own, and the kind of every figure names the tagger.

Differs from the script, which asks 100 times and then stops: an answer whose judgement is missing
or no JSON is unjudged, in no figure, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files as resources
from typing import Any

from mbpo_core.evaluation.coco_objects import Vocabulary, in_vocabulary, joined
from mbpo_core.evaluation.lemmatisers import NounLemmas
from mbpo_core.evaluation.noun_taggers import NltkTagger, SpacyTagger, Tagged, Tagger
from mbpo_core.evaluation.object_halbench import caption_of, questions_of, score_of, truth_of
from mbpo_core.evaluation.protocol import (
    BenchmarkError,
    JudgeRequest,
    Question,
    Review,
    Score,
    SourceFile,
)

NOUNS = ("NNP", "NNPS", "NN", "NNS")
SHORT = 3
"""A caption of at most so many words is not shown to the judge and has no objects."""
TEMPERATURE = 0.2
MAX_TOKENS = 512


@dataclass(frozen=True)
class JudgedObjectHalBench:
    """Images with their objects; mentions are unique objects of the judge's list."""

    questions: Sequence[Question]
    vocabulary: Vocabulary
    tagger: Tagger = field(default_factory=SpacyTagger)

    def request(self, question: Question, response: str) -> JudgeRequest | None:
        """Return the official prompt, in the role of the system; None for a short caption."""
        caption = caption_of(response)
        if _short(caption):
            return None
        prompt = _prompt().replace("{question}", question.text).replace("{answer}", caption)
        message = {"role": "system", "content": prompt}
        return JudgeRequest((message,), temperature=TEMPERATURE, max_tokens=MAX_TOKENS)

    def score(self, question: Question, response: str, review: Review | None = None) -> Score:
        """Compare the judge's list with the objects of the image."""
        caption = caption_of(response)
        if _short(caption):
            return score_of(question, caption, [], [], "short")
        if review is None:
            return Score(reason="unjudged:missing", rule=self.tagger.name)
        listed = parse_objects(review.text)
        if listed is None:
            return Score(reason="unjudged:unparsed", rule=self.tagger.name)
        words = in_vocabulary(unique_objects(listed, self.vocabulary, self.tagger),
                              self.vocabulary)  # fmt: skip
        nodes = [self.vocabulary.nodes[word] for word in words]
        return score_of(question, caption, words, nodes, self.tagger.name)


def parse_objects(text: str) -> list[str] | None:
    """Return the objects that a judge lists: all of its text, else its last line, is JSON.

    None where it is not, as "[]" with words around it, or holds nothing that could be gone through.
    """
    value: Any = None
    for part in (text, text.strip().split("\n")[-1] if '["' in text else ""):
        try:
            value = json.loads(part)
        except (ValueError, RecursionError):
            continue
        break
    # The script goes through whatever it got: keys of an object, letters of a string.
    return [str(item) for item in value] if isinstance(value, Iterable) else None


def unique_objects(listed: Sequence[str], vocabulary: Vocabulary, tagger: Tagger) -> list[str]:
    """Return the names that a list comes down to: known pairs, else its nouns, each once."""
    found: list[str] = []
    for name in listed:
        tagged = tagger(f"a {name}")
        pairs = joined([lemma for lemma, _ in tagged], vocabulary, only=True)
        found += pairs or _nouns(tagged)
    return list(dict.fromkeys(found))


def _nouns(tagged: Tagged) -> list[str]:
    """Return the runs of nouns, each as one name."""
    runs: list[list[str]] = [[]]
    for lemma, tag in tagged:
        if tag in NOUNS:
            runs[-1].append(lemma)
        else:
            runs.append([])
    return [" ".join(run) for run in runs if run]


def _short(caption: str) -> bool:
    return len(caption.split()) <= SHORT


def _prompt() -> str:
    return (resources(__package__) / "object_halbench_prompt.txt").read_text(encoding="utf-8")


def load(files: Sequence[SourceFile], tagger: Tagger | None = None) -> JudgedObjectHalBench:
    """Return the benchmark of synonyms, the truth and the questions, which the judge reads.

    Args:
        files: as `object_halbench.load`, with the questions (question, image_id); a file of
            answers that repeats them will do.
        tagger: of the judge's objects; None for the official one.

    Raises:
        BenchmarkError: a file is missing or not what it should be, questions without text, the
            tagger's library or model is missing.
    """
    tagger = tagger or SpacyTagger()
    official = tagger.name == SpacyTagger().name
    name = "object_halbench-judge" + ("" if official else f"-{tagger.name}")
    truth, vocabulary = truth_of(files, name, NounLemmas())
    if not all(asked.text for asked in truth.asked):
        raise BenchmarkError(
            f"{name} needs the questions, which the judge reads with the answers: "
            "obj_halbench_300_with_image.jsonl (question, image_id)"
        )
    tagger("a dog")  # what it lacks is said before a judge is asked
    questions = questions_of(truth, name, f"judge:{tagger.name}")
    return JudgedObjectHalBench(questions, vocabulary, tagger)


load_nltk = partial(load, tagger=NltkTagger())
"""`load` with a tagger that needs no spaCy."""
