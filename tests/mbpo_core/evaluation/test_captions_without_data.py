"""What the caption benchmarks count, with a tokeniser and a lemmatiser that need no data."""

import pytest

from mbpo_core.evaluation import chair, object_halbench
from mbpo_core.evaluation.protocol import Answer, Score, SourceFile

FILES = (
    SourceFile("synonyms.txt", "person, man, woman\ndog, puppy\ncat\n"),
    SourceFile("coco2014_imid_to_objects.json", {"1": ["dog", "person"], "2": ["cat"], "3": []}),
)
CAPTIONS = {"1": "man woman dog cat cat", "2": "nothing here", "3": "dog puppy"}


class Words:
    """Words as they stand."""

    name = "words"

    def __call__(self, words):
        return list(words)


@pytest.fixture
def answers(monkeypatch):
    monkeypatch.setattr("mbpo_core.evaluation.coco_objects.tokens", str.split)
    benchmark = chair.load(FILES, Words())
    return [
        Answer("m", q.benchmark, q.question_id, q.kind, q.unit, CAPTIONS[q.question_id],
               benchmark.score(q, CAPTIONS[q.question_id]))
        for q in benchmark.questions
    ]  # fmt: skip


def values(blocks):
    (block,) = blocks
    return {f.metric: float(f.value(block.terms.sum(0))) for f in block.figures}


def test_chair_counts_every_mention_and_every_caption(answers):
    """Named: man, woman, dog, cat, cat; nothing; dog, puppy. Not there: two cats, two dogs."""
    found = values(chair.blocks(answers))
    assert found["chair_i"] == 4 / 7
    assert found["chair_s"] == 2 / 3  # the caption that names nothing counts as clean
    assert found["recall"] == 2 / 3  # person and dog of image 1, no cat of image 2
    assert found["length"] == (5 + 2 + 2) / 3
    assert answers[0].benchmark == "chair-words" and answers[0].kind == "words"


def test_object_halbench_leaves_captions_without_objects_out_of_the_refined_share():
    facts = {"covered": ["dog"], "truth": ["dog", "cat"], "length": 5}
    nothing = {"covered": [], "truth": ["cat"], "length": 3}
    scores = [Score(mentions=3, hallucinated=1, facts=facts),
              Score(mentions=0, hallucinated=0, facts=nothing),
              Score(mentions=1, hallucinated=0, facts=facts)]  # fmt: skip
    found = values(object_halbench.blocks(
        [Answer("m", "b", str(i), "words", str(i), "", s) for i, s in enumerate(scores)]
    ))  # fmt: skip
    assert found["CHAIRs"] == 1 / 3 and found["CHAIRs_refine"] == 1 / 2
    assert found["CHAIRi"] == 1 / 4 and found["object_correct_rate"] == 3 / 4
    assert found["obj_rec"] == 2 / 5 and found["sentence_num"] == 3
    assert found["coco_sentence_num"] == 2 and found["avg_word_len"] == 13 / 3
