"""The figures of the page hold the numbers of the tables."""

import statistics
from collections import defaultdict

import numpy as np
import pytest

from mbpo_core.evaluation.metrics import compare
from storage.store import ArtifactStore
from tasks.benchmarks import blocks_of
from tasks.comparison import answers_of
from tasks.report.attack import attack
from tasks.report.curves import _axis, curves
from tasks.report.figures import running_mean, short
from tasks.report.gain import gain
from tasks.report.pictures import pictures
from tasks.report.recipe import changed
from tasks.report.results import results
from tasks.report.sources import Sources
from tests.pipelines import rows


@pytest.fixture(scope="module")
def sources(finished):
    root, recipe, made = finished
    refs = {stage: each.ref for stage, each in made.items() if stage != "report"}
    return Sources(ArtifactStore(root), refs, recipe.name, recipe.model_dump(mode="json"))


def traces(section, name):
    """Traces of one figure by name; those without one are the lower ends of bands."""
    (drawn,) = [each for each in section.figures if each.name == name]
    return {trace["name"]: trace for trace in drawn.spec["data"] if "name" in trace}


def test_the_histogram_counts_every_scored_sample_and_the_cut_is_the_least_selected(
    sources, finished
):
    section = gain(sources)
    scores = {row["sample_id"]: row["iig_mean"] for row in rows(finished[0], "score", "scores")}
    chosen = [row["sample_id"] for row in rows(finished[0], "select", "selection") if row["chosen"]]
    found = traces(section, "iig")
    assert sum(sum(trace["y"]) for trace in found.values()) == len(scores)
    assert sum(found[f"selected ({len(chosen)})"]["y"]) == len(chosen)
    cut = min(scores[name] for name in chosen)
    assert section.figures[0].spec["layout"]["shapes"][0]["x0"] == pytest.approx(cut)
    assert dict(section.content["facts"])["cut"] == f"{cut:.3f}"


def test_the_traces_are_medians_and_epsilon_is_that_of_the_recipe(sources, finished):
    mined = rows(finished[0], "mine", "negatives")
    section = attack(sources, pictures(sources, 100, 10**8, 64))
    medians = [statistics.median(values)
               for values in zip(*(row["logp_trace"] for row in mined), strict=True)]  # fmt: skip
    found = traces(section, "trace")
    assert found["under the attacked picture"]["y"] == pytest.approx(medians, rel=1e-5)
    level = statistics.median(row["logp_blank"] for row in mined)
    assert found["under a black picture"]["y"] == pytest.approx([level] * 2, rel=1e-5)
    facts = dict(section.content["facts"])
    epsilon = 255 * finished[1].mine.epsilon
    largest = 255 * max(row["linf"] for row in mined)
    assert facts["largest change"] == f"{largest:.0f} of {epsilon:.0f}/255"
    assert 0 < float(facts[f"mean change, of {len(mined)} pictures"].split("/")[0]) <= epsilon


def test_the_curves_of_the_paper_are_means_of_the_probes_and_the_rewards(sources, finished):
    by_place = defaultdict(list)
    for row in rows(finished[0], "train", "train_probes"):
        by_place[row["role"], row["step"]].append(row["iig_mean"])
    section = curves(sources)
    found = traces(section, "probes")
    for role in ("chosen", "rejected"):
        means = [statistics.fmean(by_place[role, step]) for step in (0, 1, 2)]
        assert found[role]["x"] == [0, 1, 2]
        assert found[role]["y"] == pytest.approx(means, rel=1e-5)
    steps = rows(finished[0], "train", "train_steps")
    rewards = [row["reward"] for row in steps if row["reward"] is not None]
    assert traces(section, "reward")["each step"]["y"] == pytest.approx(rewards, rel=1e-5)
    groups = traces(section, "mix")
    for name in ("offline", "online"):
        assert groups[name]["y"] == [row[f"groups_{name}"] for row in steps]


def test_a_running_mean_is_over_the_last_values_that_are_there():
    assert running_mean([1.0, None, 3.0, 5.0], 2) == [1.0, 1.0, 3.0, 4.0]
    assert running_mean([None], 3) == [None]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, 2.0, 3.0, 4.0], None),
        ([0.1, 0.2, 0.3, 0.4] * 30 + [900.0], "log"),
        ([-0.1, 0.2, -0.3, 0.4] * 30 + [900.0], "range"),
    ],
)
def test_an_axis_is_cut_only_where_a_few_values_dwarf_the_rest(values, kind):
    axis, said = _axis(values)
    assert bool(axis) == bool(said) == (kind is not None)
    if kind == "log":
        assert axis == {"type": "log"}
    if kind == "range":
        low, high = axis["range"]
        assert low < -0.3 and 0.4 <= high < 1 and "1 are outside" in said and "900" in said


def test_the_tables_of_the_evaluation_are_the_metrics_with_paired_differences(sources, finished):
    metrics = {(row["model"], row["benchmark"], row["metric"], row["kind"]): row
               for row in rows(finished[0], "evaluate", "metrics")}  # fmt: skip
    section = results(sources)
    assert section.content["models"] == ["base", "trained"]
    store, ref = sources.store, sources.refs["evaluate"]
    base, trained = (answers_of(store, ref, model) for model in ("base", "trained"))
    for each in section.content["benchmarks"]:
        name = each["name"]
        paired = {
            (found.metric, found.kind): found.difference
            for found in compare(list(base[name].values()), list(trained[name].values()),
                                 blocks_of(name), draws=2000, seed=0)
        }  # fmt: skip
        for row in each["rows"]:
            for model, cell in zip(("base", "trained"), row["by_model"], strict=True):
                told = metrics[model, name, row["metric"], row["kind"]]
                assert (cell["value"], cell["low"], cell["high"], cell["n"]) == (
                    told["value"], told["low"], told["high"], told["n"])  # fmt: skip
            if row["difference"]:
                expected = paired[row["metric"], row["kind"]]
                assert row["difference"]["difference"] == short(expected.difference)
                assert row["difference"]["low"] == short(expected.low)
        for trace in traces(section, f"benchmark-{0 if 'consistent' in name else 1}").values():
            assert all(value is None or 0 <= value <= 1 for value in trace["x"])
    assert [row["benchmark"] for row in section.content["headlines"]] == sorted(
        2 * ["embedded/consistent", "embedded/counter"]
    )


def test_what_differs_from_a_recipe_is_named_by_its_place():
    base = {"a": {"kind": "x", "b": 1, "c": 2}, "d": [1], "e": {"kind": "y"}}
    other = {"a": {"kind": "x", "b": 5, "c": 2}, "d": [1, 2], "e": {"kind": "z", "f": 0}}
    assert list(changed(other, base)) == [("a.b", 5), ("d", [1, 2]), ("e", {"kind": "z", "f": 0})]
    assert list(changed(base, base)) == []


def test_numbers_are_short_and_none_where_they_are_none():
    assert short(0.123456789) == 0.123457 and short(7) == 7 and short(None) is None
    assert short(float("nan")) is None and short(float(np.inf)) is None
