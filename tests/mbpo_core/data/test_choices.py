from mbpo_core.data.choices import extract_choice


def test_an_option_inside_of_a_longer_one_is_not_mentioned():
    options = (("A", "bird"), ("B", "red bird"), ("C", "red"))
    assert extract_choice("I see a red bird on the roof", options) == ("B", "mentioned_text")
    assert extract_choice("I see a bird on the roof", options) == ("A", "mentioned_text")
