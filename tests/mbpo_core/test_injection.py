import pytest

from mbpo_core.injection import RuleInjector


def louder(question, chosen, rng):
    return f"{chosen}!"


def shorter(question, chosen, rng):
    return chosen[: rng.randrange(len(chosen))] if chosen else None


def unchanged(question, chosen, rng):
    return chosen


def test_rules_take_turns_and_seeds_decide():
    injector = RuleInjector((louder, shorter))
    made = [injector("q", "abcdef", seed) for seed in range(40)]
    assert made == [injector("q", "abcdef", seed) for seed in range(40)]
    assert "abcdef!" in made and len(set(made)) > 4


def test_a_rule_with_nothing_to_change_leaves_it_to_the_others():
    assert {RuleInjector((shorter, louder))("q", "", seed) for seed in range(9)} == {"!"}
    assert RuleInjector((shorter,))("q", "", 0) is None


def test_a_rule_that_changes_nothing_and_no_rules_are_errors():
    with pytest.raises(ValueError, match="injected no error into 'abc'"):
        RuleInjector((unchanged,))("q", "abc", 0)
    with pytest.raises(ValueError, match="at least one rule"):
        RuleInjector(())
