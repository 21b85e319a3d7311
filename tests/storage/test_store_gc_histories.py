"""Garbage collection over random histories, against reachability in a graph of networkx."""

from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.gc import collect_garbage, examine_garbage
from storage.publish import read_intact
from storage.reach import Policy
from storage.store import ArtifactStore
from storage.tags import Tag, write_tag
from tests.storage.chains import STAGES, left, make, record

HISTORY = st.fixed_dictionaries(
    {
        # (stage, which of those before it it takes from)
        "artifacts": st.lists(
            st.tuples(st.sampled_from(STAGES), st.sets(st.integers(0, 9), max_size=3)),
            min_size=1, max_size=10,
        ),
        # (recipe, which artifacts it used, how it ended)
        "runs": st.lists(
            st.tuples(
                st.sampled_from(["a", "b"]),
                st.sets(st.integers(0, 9), max_size=3),
                st.sampled_from(["completed", "failed", "running"]),
            ),
            max_size=7,
        ),
        "tagged": st.sets(st.integers(0, 9), max_size=2),
        "tagged_runs": st.sets(st.integers(0, 6), max_size=2),
        "keep_runs": st.integers(1, 3),
    }
)  # fmt: skip


def oracle(history, refs):
    """What must stay, by a graph of its own: nothing of `storage.reach` is asked."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(refs)))
    for number, (_, taken) in enumerate(history["artifacts"]):
        graph.add_edges_from((number, other) for other in taken if other < number)
    runs, roots = list(enumerate(history["runs"])), set()
    for recipe in ("a", "b"):
        mine = [(n, run) for n, run in runs if run[0] == recipe]
        whole = [(n, run) for n, run in mine if run[2] == "completed"]
        for number, _ in mine[::-1][: history["keep_runs"]] + whole[::-1][: history["keep_runs"]]:
            roots |= used(history, number)
    for number in history["tagged_runs"]:
        if number < len(runs):
            roots |= used(history, number)
    roots |= {number for number in history["tagged"] if number < len(refs)}
    kept = set(roots)
    for root in roots:
        kept |= nx.descendants(graph, root)
    return {refs[number] for number in kept}


def used(history, number):
    """Numbers of the artifacts of a run; of one stage the last one counts, as in its record."""
    artifacts = history["artifacts"]
    listed = sorted(n for n in history["runs"][number][1] if n < len(artifacts))
    return set({artifacts[n][0]: n for n in listed}.values())


def played(store, history):
    refs = []
    for number, (stage, taken) in enumerate(history["artifacts"]):
        refs.append(make(store, stage, number, [refs[n] for n in sorted(taken) if n < number]))
    for number, (recipe, _, status) in enumerate(history["runs"]):
        by_stage = [refs[n] for n in sorted(used(history, number))]
        record(store, f"run{number}", by_stage, recipe, status)
    for number in history["tagged"]:
        if number < len(refs):
            write_tag(store.root, Tag(f"t{number}", ref=refs[number]))
    for number in history["tagged_runs"]:
        if number < len(history["runs"]):
            write_tag(store.root, Tag(f"r{number}", run_id=f"run{number}"))
    return refs


@settings(max_examples=15, deadline=None)
@given(HISTORY)
def test_what_stays_is_what_an_independent_graph_reaches(history):
    with TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        refs = played(store, history)
        wanted, policy = oracle(history, refs), Policy(history["keep_runs"])
        found = examine_garbage(store, policy)
        assert left(store) == set(refs), "looking changes nothing"
        assert {going.ref for going in found.go} == set(refs) - wanted
        done = collect_garbage(store, policy)
        assert left(store) == wanted and not done.left
        for ref in wanted:
            assert read_intact(store.path(ref), verify=True)
            assert set(store.manifest(ref).inputs.values()) <= wanted
        assert not list(store.root.glob(".gone-*"))
        assert not examine_garbage(store, policy).go
