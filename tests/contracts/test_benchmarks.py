"""Every published benchmark has a setting, a definition, and figures that our tables can place."""

import pytest

from mbpo_core.config import PUBLISHED
from mbpo_core.config.evaluation import JUDGED
from mbpo_core.evaluation.benchmarks import BENCHMARKS, load
from mbpo_core.evaluation.protocol import BenchmarkError, SourceFile


def test_settings_and_definitions_name_the_same_benchmarks():
    assert tuple(BENCHMARKS) == PUBLISHED
    assert tuple(name for name in BENCHMARKS if BENCHMARKS[name].judged) == JUDGED


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
