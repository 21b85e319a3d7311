import pytest

from mbpo_core.grouping import Candidate, Group, by_id, with_roles

CHOSEN = Candidate("chosen", "a red bird", "clean")
REJECTED = Candidate("rejected", "two cars", "clean", generated_from="negative")


def offline(*candidates, **changes):
    fields = {"group_id": "g", "stream": "offline", "sample_id": "s", "image_id": "clean"}
    return Group(**{**fields, "question": "What?", "candidates": candidates, **changes})


def test_a_rejected_response_is_scored_under_the_clean_image_though_sampled_from_another():
    group = offline(CHOSEN, REJECTED)
    assert group.candidate("rejected").image_id == group.image_id
    assert group.candidate("rejected").generated_from == "negative"
    with pytest.raises(ValueError, match=r"g, rejected candidate: scored under the clean image"):
        offline(CHOSEN, Candidate("rejected", "two cars", "negative", generated_from="negative"))


def test_a_rejected_image_is_the_chosen_response_under_another_image():
    offline(CHOSEN, Candidate("rejected_image", "a red bird", "negative"))
    for text, image in (("two cars", "negative"), ("a red bird", "clean")):
        with pytest.raises(ValueError, match="chosen response under another image"):
            offline(CHOSEN, Candidate("rejected_image", text, image))


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ((REJECTED, REJECTED), "exactly one chosen"),
        ((CHOSEN, CHOSEN), "exactly one chosen"),
        ((CHOSEN, Candidate("rejected", "a red bird", "clean")), "equal to the chosen"),
        ((CHOSEN, Candidate("rejected", " \n", "clean")), "the response is empty"),
        ((CHOSEN, Candidate("best", "x", "clean")), "unknown role"),
    ],
)
def test_what_an_offline_group_refuses(candidates, message):
    with pytest.raises(ValueError, match=message):
        offline(*candidates)


def test_a_chosen_response_alone_is_a_group_and_a_difficulty_is_a_number():
    assert offline(CHOSEN).difficulty is None
    assert offline(CHOSEN, difficulty=0.5).difficulty == 0.5
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="group g: difficulty must be finite"):
            offline(CHOSEN, difficulty=bad)


def test_with_roles_keeps_the_first_of_each_role_in_the_order_asked_for():
    image = Candidate("rejected_image", "a red bird", "negative")
    second = Candidate("rejected", "three cars", "clean")
    group = offline(image, REJECTED, CHOSEN, second, difficulty=0.5)
    cut = with_roles(group, ("chosen", "rejected", "rejected_image"))
    assert cut.candidates == (CHOSEN, REJECTED, image)
    assert (cut.group_id, cut.difficulty) == ("g", 0.5)
    assert with_roles(group, ("chosen",)).candidates == (CHOSEN,)
    with pytest.raises(ValueError, match="group g has no rejected_image candidate; the objective "):
        with_roles(offline(CHOSEN, REJECTED), ("chosen", "rejected_image"))


def test_what_each_stream_carries():
    online = {"stream": "online", "kind": "yes_no", "answer": "Yes"}
    assert offline(**online).answer == "Yes"
    with pytest.raises(ValueError, match="needs a kind and an answer"):
        offline(**{**online, "answer": None})
    with pytest.raises(ValueError, match="has no candidates"):
        offline(CHOSEN, REJECTED, **online)
    with pytest.raises(ValueError, match="are for online"):
        offline(CHOSEN, REJECTED, answer="Yes")
    with pytest.raises(ValueError, match="stream must be"):
        offline(CHOSEN, REJECTED, stream="both")


def test_ids_are_unique():
    group = offline(CHOSEN, REJECTED)
    assert by_id([group]) == {"g": group}
    with pytest.raises(ValueError, match="'g' occurs twice"):
        by_id([group, group])
