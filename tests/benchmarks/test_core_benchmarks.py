"""The benchmarks of score and attack: they run at their smallest, and their baselines are right."""

import re

import pytest
import torch

from benchmarks import baselines, bench_attack, bench_sample, bench_score, measure
from benchmarks.models import QUARTER, TINY, describe, random_policy, words_tokenizer
from benchmarks.rows import QUESTION_WORDS, RESPONSE_WORDS, made_rows
from mbpo_core.models.preprocessing import to_unit

SIDE = 56


@pytest.fixture(scope="module")
def policy():
    return random_policy(TINY)


@pytest.fixture
def rows(policy):
    return made_rows(policy, images=2, turns=1, side=SIDE)


def ratios(text):
    return {name: float(value) for name, value in re.findall(r"^ratio (\S+) (\S+)$", text, re.M)}


def smallest(monkeypatch, module):
    made = module.parser

    def parser():
        found = made()
        found.set_defaults(shape=TINY)
        return found

    monkeypatch.setattr(module, "parser", parser)
    return ["--side", str(SIDE), "--rounds", "1", "--embedded-images", "4"]


def test_bench_score_runs(monkeypatch, capsys):
    bench_score.main(smallest(monkeypatch, bench_score))
    found = ratios(capsys.readouterr().out)
    assert set(found) == {
        "score_one_question", "score_four_turns", "embedded_one_question", "embedded_four_turns",
    }  # fmt: skip
    assert all(value > 0 for value in found.values())


def test_bench_sample_runs(monkeypatch, capsys):
    given = smallest(monkeypatch, bench_sample)[:4]
    bench_sample.main([*given, "--tokens", "6"])
    told = capsys.readouterr().out
    found = ratios(told)
    assert set(found) == {
        "sample_one_question", "sample_questions", "embedded_one_question", "embedded_questions",
    }  # fmt: skip
    assert all(value > 0 for value in found.values())
    assert told.count("greedy_answers=8 of 8") == 4 * 3


def test_bench_sample_times_nothing_that_answers_otherwise():
    with pytest.raises(ValueError, match="6 of 8 greedy answers agree"):
        bench_sample.agree("x", [[1]] * 8, [[1]] * 6 + [[2]] * 2, 8)


def test_bench_attack_runs(monkeypatch, capsys):
    bench_attack.main([*smallest(monkeypatch, bench_attack), "--embedded-steps", "2"])
    found = ratios(capsys.readouterr().out)
    expected = {f"{kind}_{way}" for kind in ("attack", "embedded_attack")
                for way in ("script", "batched", "careful", "share_of_floor")}  # fmt: skip
    assert expected <= set(found) and all(value > 0 for value in found.values())


def test_the_quarter_is_what_its_name_says():
    """Every width of Qwen2-VL-2B divided by 4, depth and vocabulary as there."""
    with torch.device("meta"):
        policy = random_policy(QUARTER, device="meta")
    text, vision = policy.model.config.text_config, policy.model.config.vision_config
    assert (text.hidden_size, text.intermediate_size) == (1536 / 4, 8960 / 4)
    assert (text.num_attention_heads, text.hidden_size // text.num_attention_heads) == (3, 128)
    assert (vision.embed_dim, vision.num_heads, vision.hidden_size) == (1280 / 4, 4, 1536 / 4)
    assert (text.num_hidden_layers, vision.depth, text.vocab_size) == (28, 32, 151_936)
    assert "language 28 x 384, vision 32 x 320" in describe(policy)


def test_rows_have_the_lengths_that_are_stated(policy):
    rows = made_rows(policy, images=2, turns=4, side=SIDE)
    visual = (SIDE // 28) ** 2
    assert {len(row.prompt) for row in rows} == {15 + visual + 1 + QUESTION_WORDS + 5}
    assert [len(row.response) for row in rows] == [n + 1 for n in RESPONSE_WORDS] * 2
    assert rows[0].image is rows[3].image and rows[3].image is not rows[4].image


def test_special_ids_lie_where_qwen2_vl_has_them():
    tokenizer = words_tokenizer(QUARTER.vocabulary)
    assert tokenizer.convert_tokens_to_ids("<|endoftext|>") == 151_643
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 151_645
    assert tokenizer.convert_tokens_to_ids("<|image_pad|>") == 151_655


def test_every_way_of_attack_goes_the_same_way(policy, rows):
    """One step of each from the same image; a sign may differ where the gradient is nearly 0."""
    one = {
        "ours": bench_attack.ours, "script": bench_attack.script, "batched": bench_attack.batched,
        "careful": bench_attack.careful,
    }  # fmt: skip
    pytest.importorskip("torchattacks")
    one["torchattacks"] = bench_attack.library
    moved = {}
    for name, attack in one.items():
        images = bench_attack.in_batches(attack, policy, rows, 1, 2)
        if name == "script":  # it works with parameters that require gradients
            images = attack(policy, rows, 1)
        moved[name] = torch.cat([
            ((image - to_unit(row.image)).sign()).flatten()
            for image, row in zip(images, rows, strict=True)
        ])  # fmt: skip
    for name, signs in moved.items():
        assert (signs == moved["ours"]).float().mean() > 0.999, name
    assert moved["ours"].abs().mean() > 0.9
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_pseudo_logits_have_the_objective_as_their_cross_entropy(policy, rows):
    images = torch.stack([to_unit(row.image) for row in rows]).requires_grad_()
    logits = baselines.PseudoLogits(policy, rows)(images)
    loss = torch.nn.functional.cross_entropy(
        logits, torch.zeros(2, dtype=torch.long), reduction="sum"
    )
    logp = baselines.logp_of(policy, rows)(list(images)).sum()
    assert torch.allclose(loss, -logp)
    (ours,) = torch.autograd.grad(-logp, images, retain_graph=True)
    (theirs,) = torch.autograd.grad(loss, images)
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-9)


def test_a_batch_of_the_baseline_equals_single_rows(policy):
    rows = made_rows(policy, images=3, turns=1, side=SIDE)
    together, alone = (baselines.scores(policy, rows, size) for size in (3, 1))
    for one, other in zip(together, alone, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_nothing_is_timed_where_ways_disagree():
    with pytest.raises(ValueError, match=r"differ by 0\.5"):
        measure.require_equal("x", [torch.zeros(2)], [torch.tensor([0.0, 0.5])], 1e-4)
    with pytest.raises(ValueError, match="nan"):
        measure.require_equal("x", [torch.zeros(1)], [torch.tensor([float("nan")])], 1e-4)


def test_ratio_is_taken_round_by_round():
    taken = {"slow": [2.0, 8.0, 3.0], "fast": [1.0, 2.0, 2.0]}
    assert measure.ratio(taken, "slow", "fast") == 2.0
    assert measure.medians(taken) == {"slow": 3.0, "fast": 2.0}


def test_ways_take_turns():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    taken = measure.in_turn(ways, 2, iter(range(100)).__next__, warm=True)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert taken == {"a": [1, 1], "b": [1, 1]}
