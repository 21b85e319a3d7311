"""Object HalBench, with a judge and without. OPERA's captions are real; all else is synthetic,
the judge's lists too: no judge was asked.
"""

import json
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo_core.evaluation import noun_taggers, object_halbench, object_halbench_judge
from mbpo_core.evaluation.benchmarks import BENCHMARKS
from mbpo_core.evaluation.coco_objects import mentions
from mbpo_core.evaluation.judge import prompt_text
from mbpo_core.evaluation.lemmatisers import NounLemmas
from mbpo_core.evaluation.noun_taggers import NltkTagger, SpacyTagger
from mbpo_core.evaluation.object_halbench_judge import parse_objects, unique_objects
from mbpo_core.evaluation.protocol import BenchmarkError, Review, SourceFile
from tests.mbpo_core.evaluation.caption_benchmarks import answers, figures, source

SYNONYMS = SourceFile(
    "synonyms_refine.txt",
    "person, man, woman\ndog, puppy\ncat\nmotorcycle,  motor bike\noven, stove top oven\n",
)
TABLE = SourceFile("coco2014_imid_to_objects.json", {"1": ["dog", "person"], "2": [], "3": ["cat"]})
ASKED = SourceFile("obj_halbench_300_with_image.jsonl", [
    {"image_id": 1, "question": "What is there?", "image": "QUJD" * 200},
    {"image_id": 2, "question": "Describe the picture.", "image": "QUJD" * 200},
    {"image_id": "3", "question": "What is there?", "image": "QUJD" * 200},
])  # fmt: skip
FILES = (SYNONYMS, TABLE, ASKED)
WORDS, JUDGE = "object_halbench", "object_halbench-judge-nltk"


class Plain:
    """Takes every word but "a" for a noun in its basic form."""

    name = "plain"

    def __call__(self, text):
        return [(word, "DT" if word == "a" else "NN") for word in text.split()]


def judged(*files, tagger=None):
    return object_halbench_judge.load(files or FILES, tagger=tagger or Plain())


CAPTIONS = [
    {"image_id": 1, "prompt": "What is there?",
     "text": "Assistant: A man, a woman, two dogs, a cat."},
    {"image_id": 2, "prompt": "Describe the picture.", "text": "Nothing of any note"},
    {"image_id": 3, "prompt": "What is there?", "text": "cats and cats and dogs"},
]  # fmt: skip


def test_figures_without_a_judge_by_hand(nltk_data):
    found, kinds = figures(object_halbench.blocks,
                           answers(WORDS, BENCHMARKS[WORDS].load(FILES), CAPTIONS))  # fmt: skip
    assert found["CHAIRs"] == 2 / 3
    assert found["CHAIRs_refine"] == 2 / 2
    assert found["CHAIRi"] == (1 + 1) / (4 + 3)
    assert found["obj_rec"] == (2 + 0 + 1) / (2 + 0 + 1)
    assert (found["sentence_num"], found["coco_sentence_num"]) == (3, 2)
    assert (found["coco_word_count"], found["gt_word_count"]) == (3, 3)
    assert found["avg_word_len"] == (8 + 4 + 5) / 3
    assert found["correct_rate"] == 1 - found["CHAIRs_refine"]
    assert found["object_correct_rate"] == 1 - found["CHAIRi"]
    assert kinds == ["words"]


def test_a_judges_objects_count_once_each(nltk_data):
    """ "man" and "woman" are two mentions of one object; a repeated "cat" is one."""
    reviews = {
        "1": Review('["man", "woman", "dog", "dog", "cat"]', "judge", ""),
        "2": Review("[]", "judge", ""),
        "3": Review('["cat", "cat", "dog"]', "judge", ""),
    }
    benchmark = judged()
    found, kinds = figures(object_halbench.blocks, answers(JUDGE, benchmark, CAPTIONS, reviews))
    assert found["CHAIRi"] == (1 + 1) / (4 + 2)
    assert found["CHAIRs_refine"] == 2 / 2
    assert found["obj_rec"] == 3 / 3
    assert kinds == ["judge:plain"]
    assert benchmark.questions[0].benchmark == "object_halbench-judge-plain"


def test_the_judge_reads_question_and_caption_in_the_official_prompt(nltk_data):
    benchmark = judged()
    question = benchmark.questions[0]
    request = benchmark.request(question, "Assistant: A man {question} a dog. ")
    (message,) = request.messages
    before, _, rest = prompt_text("object_halbench").partition("{question}")
    between, _, after = rest.partition("{answer}")
    assert message == {
        "role": "system",
        "content": f"{before}What is there?{between}A man {{question}} a dog.{after}",
    }
    assert before.startswith("You are an expert in image objects extraction according to")
    assert after.endswith("empty JSON list () if no visible objects can be found.\n")
    assert (request.temperature, request.max_tokens) == (0.2, 512)


@pytest.mark.parametrize("caption", ["", "  ", "A dog.", "two big dogs", "Assistant: A red dog ."])
def test_short_captions_are_not_judged_and_have_no_objects(nltk_data, caption):
    benchmark = judged()
    question = benchmark.questions[2]
    shown = len(caption.removeprefix("Assistant: ").split()) > 3
    assert (benchmark.request(question, caption) is not None) == shown
    score = benchmark.score(question, caption)
    assert (score.reason is not None) == shown
    if not shown:
        assert (score.mentions, score.hallucinated, score.rule) == (0, 0, "short")


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ('["dog", "cat"]', ["dog", "cat"]),
        ('  ["dog"]\n', ["dog"]),
        ("[]", []),
        ('Sure:\n["dog"]', ["dog"]),
        ('["dog"]\nI hope this helps', None),
        ('The objects are ["dog"]', None),
        ("I see no objects: []", None),
        ("[ 'dog' ]", None),
        ("", None),
        ("null", None),
        ("3", None),
        ('{"dog": 1, "cat": 2}', ["dog", "cat"]),
        ('"ox"', ["o", "x"]),
        ('[1, null, "dog"]', ["1", "None", "dog"]),
        ("[" * 100_000, None),
    ],
)
def test_what_of_a_judges_text_is_a_list(text, listed):
    assert parse_objects(text) == listed


@given(st.text())
def test_no_text_of_a_judge_makes_parsing_fail(text):
    assert parse_objects(text) is None or isinstance(parse_objects(text), list)


def test_an_answer_without_judgement_is_counted_and_in_no_figure(nltk_data):
    reviews = {"1": Review("I cannot.", "judge", "")}
    scored = answers(JUDGE, judged(), CAPTIONS, reviews)
    assert [a.score.reason for a in scored] == [
        "unjudged:unparsed", "unjudged:no_review", "unjudged:no_review"
    ]  # fmt: skip
    assert all(a.score.points is None for a in scored)


def test_pairs_go_before_nouns_and_runs_of_nouns_are_one_name(nltk_data):
    vocabulary = judged().vocabulary

    def tagger(text):
        tagged = {"red": "JJ", "a": "DT", "and": "CC"}
        return [(word, tagged.get(word, "NNS")) for word in text.split()]

    def names(*listed):
        return unique_objects(listed, vocabulary, tagger)

    assert names("red motor bike helmet") == ["motor bike"]
    assert names("stove top oven") == ["stove top oven"]
    assert names("red dog and cat") == ["dog", "cat"]
    assert names("dog house", "dog", "dog") == ["dog house", "dog"]
    assert names() == names("red") == []


def test_nltk_tags_and_lemmatises_what_the_judge_lists(nltk_data):
    benchmark = BENCHMARKS[JUDGE].load(FILES)
    assert benchmark.questions[0].kind == "judge:nltk"
    assert unique_objects(["two big dogs", "puppies"], benchmark.vocabulary, NltkTagger()) == [
        "dog", "puppy"
    ]  # fmt: skip


def spacy_with(load, monkeypatch):
    noun_taggers._pipeline.cache_clear()
    module = None if load is None else types.SimpleNamespace(load=load)
    monkeypatch.setitem(sys.modules, "spacy", module)


def test_the_official_tagger_is_spacys_transformer(monkeypatch, nltk_data):
    """spaCy itself is not installed here; its interface is."""
    asked = []

    def load(model):
        asked.append(model)
        return lambda text: [types.SimpleNamespace(lemma_=word.rstrip("s"), tag_="NNS")
                             for word in text.split()]  # fmt: skip

    spacy_with(load, monkeypatch)
    assert SpacyTagger()("dogs") == [("dog", "NNS")]
    benchmark = BENCHMARKS["object_halbench-judge"].load(FILES)
    assert asked == ["en_core_web_trf"]
    question = benchmark.questions[0]
    assert question.benchmark == "object_halbench-judge"
    assert question.kind == "judge:spacy:en_core_web_trf"
    noun_taggers._pipeline.cache_clear()


def test_without_spacy_or_its_model_nothing_takes_its_place(monkeypatch, nltk_data):
    def load(model):
        raise OSError(f"[E050] Can't find model '{model}'")

    for present, message in (
        (None, "pip install spacy"),
        (load, "lacks the model en_core_web_trf"),
    ):
        spacy_with(present, monkeypatch)
        with pytest.raises(BenchmarkError, match=message):
            BENCHMARKS["object_halbench-judge"].load(FILES)


def test_answers_are_joined_by_image_and_question(nltk_data):
    benchmark = BENCHMARKS[WORDS].load(FILES)
    shuffled = [{**record, "question_id": 3 - i} for i, record in enumerate(CAPTIONS)][::-1]
    found = {a.question_id: a.response for a in answers(WORDS, benchmark, shuffled)}
    assert found == {str(r["image_id"]): r["text"] for r in CAPTIONS}
    elsewhere = {"image_id": 1, "prompt": "Describe the picture.", "text": "a dog"}
    with pytest.raises(BenchmarkError):
        answers(WORDS, benchmark, [elsewhere])
    assert benchmark.questions[0].image == b"ABC" * 200
    assert benchmark.questions[0].prompt == "What is there?"


def test_an_image_may_be_asked_about_in_several_ways(nltk_data):
    asked = SourceFile("q.jsonl", [{"image_id": 1, "question": q} for q in ("Why?", "What?")])
    said = [{"image_id": 1, "question": q, "answer": f"{q} a dog"} for q in ("What?", "Why?")]
    scored = answers(WORDS, BENCHMARKS[WORDS].load((SYNONYMS, TABLE, asked)), said)
    assert {a.question_id: a.response for a in scored} == {
        "1/what?": "What? a dog", "1/why?": "Why? a dog"
    }  # fmt: skip
    assert {a.unit for a in scored} == {"1"}


@pytest.mark.parametrize(
    ("files", "message"),
    [((SYNONYMS, TABLE), "needs the questions"), ((SYNONYMS, ASKED), "needs one truth"),
     ((TABLE, ASKED), "needs one synonyms_refine.txt")],
)  # fmt: skip
def test_bad_files_are_named(nltk_data, files, message):
    with pytest.raises(BenchmarkError, match=message):
        BENCHMARKS[JUDGE].load(files)


@given(text=st.text(max_size=200))
def test_no_response_makes_scoring_fail(nltk_data, text):
    benchmark = judged()
    judged_score = benchmark.score(benchmark.questions[0], text, Review(text, "", ""))
    assert judged_score.rule is not None or judged_score.reason == "unjudged:unparsed"
    words = BENCHMARKS[WORDS].load(FILES)
    score = words.score(words.questions[0], text)
    assert score.points == float(score.hallucinated == 0)


def official(shared_data, mode):
    folder = shared_data / "eval" / "objhalbench"
    if not folder.is_dir():
        pytest.skip(f"no Object HalBench at {folder}")
    expected = json.loads((folder / "expected.json").read_text())["runs"]
    (run,) = [each for each in expected if each["mode"] == mode]
    truth = folder.parent / "chair" / "coco2014_imid_to_objects.json.gz"
    files = [source(folder / "synonyms_refine.txt"), source(truth)]
    return files, source(folder / run["file"]).content, run["metrics"]


def same(found, metrics):
    assert {name: round(found[name], 6) for name in metrics} == metrics


def test_real_captions_give_the_official_figures_without_gpt(shared_data, nltk_data):
    files, records, metrics = official(shared_data, "no-gpt words")
    found, _ = figures(object_halbench.blocks,
                       answers(WORDS, BENCHMARKS[WORDS].load(files), records))  # fmt: skip
    same(found, metrics)


def test_real_captions_give_the_official_figures_on_unique_objects(shared_data, nltk_data):
    """The lists stand in for a judge's: each caption's own words for objects, each once."""
    files, records, metrics = official(shared_data, "uniq-object-list")
    asked = SourceFile("asked.jsonl", [{"image_id": r["image_id"], "question": "Describe."}
                                       for r in records])  # fmt: skip
    benchmark = judged(*files, asked)
    reviews = {}
    for record in records:
        found = mentions(record["caption"], benchmark.vocabulary, NounLemmas()).words
        reviews[str(record["image_id"])] = Review(json.dumps(list(dict.fromkeys(found))), "", "")
    scored = answers(JUDGE, benchmark, records, reviews)
    assert len(scored) == metrics["sentence_num"]
    same(figures(object_halbench.blocks, scored)[0], metrics)
