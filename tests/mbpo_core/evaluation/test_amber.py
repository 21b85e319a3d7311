"""Both tasks of AMBER in one file of answers."""

import json

import pytest

from mbpo_core.evaluation import amber, amber_discriminative, amber_generative
from mbpo_core.evaluation.join import join
from mbpo_core.evaluation.statistics import estimates
from tests.mbpo_core.evaluation.published import scored, source, values
from tests.mbpo_core.evaluation.test_amber_discriminative import printed


@pytest.fixture(scope="module")
def folder(shared_data, nltk_data):
    return shared_data / "eval/amber"


@pytest.fixture(scope="module")
def benchmark(folder):
    names = ("annotations.json", "relation.json", "safe_words.txt", "query/query_all.json.gz")
    return amber.load([source(folder / name) for name in names])


@pytest.fixture(scope="module")
def answers(folder, benchmark):
    """166 real descriptions by LLaVA-1.5-7B and synthetic yes/no answers, in one list."""
    names = ("llava-v1.5-7b_gen_first166.json", "synthetic_disc_noisy_oracle80.json.gz")
    records = [r for name in names for r in source(folder / "responses" / name).content]
    found = join(benchmark.questions, records, amber.KEYS, subset=True)
    return scored(benchmark, found.responses)


def test_both_tasks_give_what_the_official_script_printed(folder, answers):
    """As run with evaluation_type `a`; `real166_plus_noisy_a` in the file of expected figures."""
    text = json.loads((folder / "expected.json").read_text())["outputs"]["real166_plus_noisy_a"]
    generative, _, discriminative = text.partition("Descriminative Task:")
    expected = printed("Descriminative Task:" + discriminative)
    lines = (line.partition(":") for line in generative.splitlines()[1:] if line.strip())
    expected |= {("generative", name.strip().lower()): float(value) for name, _, value in lines}
    assert len(expected) == 4 + 7 * 4
    found = values(amber.blocks(answers))
    assert {key: found[key] for key in expected} == expected
    chair, f1 = expected["generative", "chair"], expected["all", "f1"]
    assert found["all", "amber_score"] == (100 - chair + f1) / 2


def test_the_score_needs_both_tasks(answers):
    described = [a for a in answers if a.kind == amber_generative.KIND]
    asked = [a for a in answers if a.kind != amber_generative.KIND]
    assert values(amber.blocks(described)) == values(amber_generative.blocks(described))
    assert values(amber.blocks(asked)) == values(amber_discriminative.blocks(asked))


def test_the_scores_interval_is_about_images(answers):
    (block,) = (b for b in amber.blocks(answers) if b.figures[0].metric == "amber_score")
    assert len(set(block.units)) == 1004  # every image, however many questions are about it
    ((_, found),) = estimates(block, draws=50, seed=0)
    assert found.low < found.value < found.high and found.n == len(answers)
