from mbpo_core.evaluation.embedded import items, score
from mbpo_core.evaluation.protocol import Answer, Item, Score, metrics


def item(kind, benchmark="b"):
    return Item("q", benchmark, kind, "?", "a", b"")


def figures(answers):
    found = metrics(answers, draws=200, seed=0)
    return {(m.model, m.kind, m.metric): m.estimate for m in found}


def test_chair_counts_mentions_over_the_set_and_captions():
    captions = [Score(mentions=4, hallucinated=1), Score(mentions=1, hallucinated=1),
                Score(mentions=0, hallucinated=0)]  # fmt: skip
    found = figures([Answer("m", item("describe"), "", s, None) for s in captions])
    assert found["m", "describe", "chair_i"].value == 2 / 5
    assert found["m", "describe", "chair_s"].value == 2 / 3
    assert found["m", "describe", "chair_s"].n == 3
    assert ("m", "describe", "accuracy") not in found


def test_models_and_kinds_are_counted_apart_and_together():
    answers = [
        Answer("base", item("color"), "", Score(True), 0.5),
        Answer("base", item("yes"), "", Score(False, said_yes=True), 1.5),
        Answer("trained", item("color"), "", Score(True), 2.0),
    ]
    found = figures(answers)
    assert found["base", "color", "accuracy"].value == 1
    assert found["base", "all", "accuracy"].value == 0.5
    assert found["base", "all", "iig_mean"].value == 1.0
    assert found["base", "yes", "yes_rate"].value == 1.0
    assert ("base", "color", "yes_rate") not in found
    assert found["trained", "all", "accuracy"].n == 1


def test_every_gold_answer_of_the_embedded_world_scores_full_marks():
    for flavour in ("consistent", "counter"):
        for each in items("dev", flavour, 20):
            found = score(each, each.answer)
            if each.kind == "describe":
                assert found.mentions >= 2 and found.hallucinated == 0
            else:
                assert found.correct, (each.question, each.answer, found)


def test_wrong_empty_and_contradictory_answers_score_nothing():
    for each in items("dev", "counter", 10):
        if each.kind == "describe":
            continue
        for text in (
            "",
            "I do not know",
            "yes and no",
            "two or three",
            "A, B, C",
        ):
            assert not score(each, text).correct, (each.question, text)


def test_the_prior_answer_is_wrong_on_counter_scenes():
    """A caption of the same scene in typical colours hallucinates every object."""
    typical = {i.question_id.split("/", 2)[2]: i for i in items("dev", "consistent", 10)}
    for each in items("dev", "counter", 10):
        if each.kind == "describe":
            prior = typical[each.question_id.split("/", 2)[2]].answer
            found = score(each, prior)
            assert found.hallucinated == found.mentions > 0


def test_a_caption_with_two_hallucinations_is_one_caption():
    captions = [Score(mentions=4, hallucinated=2), Score(mentions=4, hallucinated=0)]
    found = figures([Answer("m", item("describe"), "", s, None) for s in captions])
    assert found["m", "describe", "chair_s"].value == 1 / 2
    assert found["m", "describe", "chair_i"].value == 2 / 8
