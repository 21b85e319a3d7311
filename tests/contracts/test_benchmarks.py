"""Every published benchmark has a setting, a definition, and figures that our tables can place."""

import pytest
from pydantic import ValidationError

from mbpo_core.config import PUBLISHED
from mbpo_core.config.evaluation import JUDGED
from mbpo_core.evaluation.benchmarks import BENCHMARKS, load
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile
from mbpo_core.recipes.measuring import measuring


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_definition_is_a_setting_of_a_recipe(name):
    benchmark = {"kind": name, "questions": ["questions.json"]}
    judge = {"kind": "stored", "path": "reviews.json"} if name in JUDGED else None
    given = {"responses": {"path": "answers.json"}}
    recipe = measuring([benchmark], answer=given, evaluate={"judge": judge})
    assert recipe.evaluate.benchmarks[0].name == name
    again = type(recipe).model_validate(recipe.model_dump(mode="json"))
    assert again == recipe


def test_a_benchmark_that_does_not_exist_is_no_setting():
    with pytest.raises(ValidationError, match="pape"):
        measuring([{"kind": "pape", "questions": ["x"]}], answer={}, evaluate={})


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_judged_benchmark_reads_stored_reviews_and_no_other_does(name):
    assert (BENCHMARKS[name].reviews is not None) == BENCHMARKS[name].judged


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(
    "files",
    [
        [],
        [SourceFile("other.json", [{"something": "else"}])],
        [SourceFile("other.json", {"a": 1})],
        [SourceFile("other.txt", "words")],
        [SourceFile("other.json", [1, None, "x"])],
    ],
    ids=["none", "other records", "an object", "a text", "no records"],
)
def test_files_of_something_else_are_refused_in_words(name, files):
    with pytest.raises(BenchmarkError) as error:
        load(name, files)
    assert len(str(error.value)) > 20
