"""The questions of docs/catalogue.md, asked of a finished run and answered a second time here."""

import io
import re
import shutil
from collections import Counter, defaultdict
from statistics import fmean

import numpy as np
import pytest
from PIL import Image
from scipy.stats import linregress, spearmanr

from storage.catalog import query, rebuild_catalog
from storage.identity import Identity
from storage.runs import finish_run, read_runs, record_stage, start_run
from storage.store import ArtifactStore
from storage.tables import rows_to_table
from tasks.mine import Mine
from tests.servers import CHECKOUT

PAGE = (CHECKOUT / "docs" / "catalogue.md").read_text()
QUESTIONS = dict(
    re.findall(r"^### (.+?)\n\n(?:.*?\n)??```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
)
ANSWERS = {}


def answers(title):
    """Register what answers a question another way; it is given the store."""

    def register(function):
        ANSWERS[title] = function
        return function

    return register


@pytest.fixture(scope="module")
def store(finished, tmp_path_factory):
    """A copy of the finished run."""
    root = tmp_path_factory.mktemp("asked") / "store"
    shutil.copytree(finished[0], root)
    rebuild_catalog(ArtifactStore(root))
    return ArtifactStore(root)


@pytest.fixture(scope="module")
def two_versions(store, tmp_path_factory):
    """A second copy, with a version of `negatives` in which attacks failed, used by a later run."""
    root = tmp_path_factory.mktemp("versions") / "store"
    shutil.copytree(store.root, root)
    other = ArtifactStore(root)
    ref = other.resolve("mine")
    old = other.manifest(ref)
    changed = {**old.identity["config"], "mine": {**old.identity["config"]["mine"], "steps": 3}}
    identity = Identity(**{**old.identity, "config": changed})
    rows = failed(other.table(ref, "negatives").to_pylist())
    tables = {"negatives": rows_to_table(rows, Mine.tables[0]),
              "regions": rows_to_table([], Mine.tables[1])}  # fmt: skip
    other.write_shard("mine", identity.key, 0, tables)
    new = other.commit("mine", identity.key, [0], tables=Mine.tables, identity=identity)
    start_run(root, "later", "another")
    record_stage(root, "later", "mine", new)
    record_stage(root, "later", "evaluate", other.resolve("evaluate"))
    finish_run(root, "later", "completed")
    rebuild_catalog(other)
    return other


def failed(rows):
    """Return rows of which one is gone, one new, and three of another outcome."""
    kept = [dict(row) for row in rows[1:]]
    nothing = dict.fromkeys(["negative_id", "image", "logp_reread", "logp_clean", "recovered"])
    kept[0] |= nothing | {"reason": "nonfinite_logp"}
    kept[1] |= {"recovered": -0.25, "logp_reread": kept[1]["logp_clean"] + 1}
    kept[2] |= {"recovered": None, "recovered_reason": "image adds 0.01 nats"}
    return [*kept, kept[-1] | {"sample_id": "new"}]


def rows(store, stage, table):
    return store.table(store.resolve(stage), table).to_pylist()


def by(store, stage, table, name="sample_id"):
    return {row[name]: row for row in rows(store, stage, table)}


def test_every_question_of_the_page_is_answered_here():
    assert list(QUESTIONS) == list(ANSWERS) and len(QUESTIONS) >= 10


@pytest.mark.parametrize("title", list(QUESTIONS))
def test_the_sql_of_the_page_gives_the_right_answer(title, store, two_versions):
    several = {"Which attacks failed, and why?", "What changed between two versions of a table?",
               "Which settings, code or libraries made the difference?",
               "How do the recipes compare?"}  # fmt: skip
    asked = two_versions if title in several else store
    found = query(asked.root, QUESTIONS[title]).fetchall()
    expected = [tuple(row) for row in ANSWERS[title](asked)]
    assert found and len(found) == len(expected)
    for mine, theirs in zip(expected, found, strict=True):
        assert theirs == tuple(
            pytest.approx(value, abs=6e-4, nan_ok=True) if isinstance(value, float) else value
            for value in mine
        )


@answers("Which samples gain most from the picture?")
def _(store):
    samples = by(store, "ingest", "samples")
    best = sorted((-row["iig_mean"], row["sample_id"], row["n_tokens"])
                  for row in rows(store, "score", "scores"))[:10]  # fmt: skip
    for gain, name, tokens in best:
        yield samples[name]["question"], samples[name]["response"], -gain, tokens


def outcome(row):
    if row["reason"]:
        return f"no image: {row['reason']}"
    if row["recovered"] is None:
        return f"undefined: {row['recovered_reason']}"
    share = row["recovered"]
    return ("the response became no less likely" if share <= 0
            else "less than half of the way" if share < 0.5 else "half of the way or more")  # fmt: skip


@answers("Which attacks failed, and why?")
def _(store):
    drops = defaultdict(list)
    for row in rows(store, "mine", "negatives"):
        drop = None if row["reason"] else row["logp_clean"] - row["logp_reread"]
        drops[outcome(row)].append(drop)
    assert len(drops) >= 4
    for name, found in sorted(drops.items(), key=lambda item: (-len(item[1]), item[0])):
        yield name, len(found), None if None in found else fmean(found)


@answers("Which groups never contributed a gradient?")
def _(store):
    advantages = defaultdict(list)
    for row in rows(store, "train", "train_rollouts"):
        advantages[row["group_id"]].append(row["advantage"])
    counts = Counter()
    for row in rows(store, "train", "train_groups"):
        idle = row["stream"] == "online" and not any(advantages[row["group_id"]])
        what = (f"never used: {row['reason']}" if not row["uses"]
                else "all rollouts got the same reward" if idle else "contributed")  # fmt: skip
        counts[row["stream"], what] += 1
    assert {stream for stream, _ in counts} == {"offline", "online"}
    return [(*key, n) for key, n in sorted(counts.items(), key=lambda i: (i[0][0], -i[1], i[0][1]))]


@answers("Does attack strength predict the training gain?")
def _(store):
    probes = defaultdict(dict)
    for row in rows(store, "train", "train_probes"):
        probes[row["group_id"], row["role"]][row["step"]] = row["logp_image"] / row["tokens"]
    tokens = {(row["group_id"], row["role"]): row["tokens"]
              for row in rows(store, "train", "train_probes")}  # fmt: skip
    groups, negatives = by(store, "pair", "groups", "group_id"), by(store, "mine", "negatives")
    strength, gain = [], []
    for name in sorted({name for name, _ in probes}):
        chosen, rejected = probes[name, "chosen"], probes[name, "rejected"]
        mined = negatives[groups[name]["sample_id"]]
        drop = mined["logp_clean"] - mined["logp_reread"]
        strength.append(drop / tokens[name, "chosen"])
        gain.append((chosen[2] - chosen[0]) - (rejected[2] - rejected[0]))
    assert len(gain) == 4
    pearson = float(np.corrcoef(strength, gain)[0, 1])
    slope = float(linregress(strength, gain).slope)
    return [(4, pearson, float(spearmanr(strength, gain).statistic), slope)]


def versions_of_negatives(store):
    refs = [ref for ref, _ in store.refs("mine")]
    assert len(refs) == 2
    return [{row["sample_id"]: row for row in store.table(ref, "negatives").to_pylist()}
            for ref in refs]  # fmt: skip


@answers("What changed between two versions of a table?")
def _(store):
    old, new = versions_of_negatives(store)
    names = defaultdict(list)
    for name in old.keys() | new.keys():
        a, b = old.get(name), new.get(name)
        what = "added" if a is None else "removed" if b is None else "changed" if a != b else "equal"
        names[what].append((a or {}, b or {}))
    assert {what: len(pairs) for what, pairs in names.items()} == {
        "added": 1, "changed": 3, "equal": 4, "removed": 1,
    }  # fmt: skip
    for what, pairs in sorted(names.items()):
        changes = [b["logp_reread"] - a["logp_reread"] for a, b in pairs
                   if a.get("logp_reread") is not None and b.get("logp_reread") is not None]  # fmt: skip
        images = sum(a.get("image") != b.get("image") for a, b in pairs)
        yield what, len(pairs), images, fmean(changes) if changes else None


@answers("Which settings, code or libraries made the difference?")
def _(store):
    return [("config.mine.steps", "2", "3")]


@answers("Which refusals cost how many rows?")
def _(store):
    for stage, ref in sorted(read_runs(store.root)[-1].stages.items()):
        for table in sorted(store.manifest(ref).tables):
            read = store.table(ref, table)
            found = read["reason"].to_pylist() if "reason" in read.column_names else []
            counts = Counter(reason for reason in found if reason)
            for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                yield stage, table, reason, count


@answers("What became of every sample?")
def _(store):
    trained, chosen = by(store, "train", "train_groups", "group_id"), by(store, "select", "selection")
    fates = {row["sample_id"]: {f"ingest: {row['reason']}"} if row["reason"] else set()
             for row in rows(store, "ingest", "samples")}  # fmt: skip
    for row in rows(store, "pair", "groups"):
        of_it = trained[row["group_id"]]
        fates[row["sample_id"]].add(f"train: {of_it['reason']}" if of_it["reason"]
                                    else f"trained on ({row['stream']})")  # fmt: skip
    for name, found in fates.items():
        found |= set() if found else {f"select: {chosen[name]['reason']}"}
    counts = Counter(fate for found in fates.values() for fate in found)
    assert sum(counts.values()) >= len(fates)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


@answers("Where did the time go?")
def _(store):
    found = []
    for stage, ref in read_runs(store.root)[-1].stages.items():
        manifest = store.manifest(ref)
        seconds = [shard["seconds"] for shard in manifest.shards]
        models = sum(shard["model_seconds"] for shard in manifest.shards)
        found.append((stage, round(manifest.wall_seconds, 1), len(seconds), round(sum(seconds), 1),
                      round(models, 1), round(max(seconds), 1), int(np.argmax(seconds))))  # fmt: skip
    return sorted(found, key=lambda row: (-row[1], row[0]))


def edits(a, b):
    """Return Levenshtein's distance by his recursion."""
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (x != y)))
        before = now
    return before[-1]


@answers("Which rejected responses are nearly the chosen one?")
def _(store):
    samples, found = by(store, "ingest", "samples"), []
    for row in rows(store, "respond", "responses"):
        if row["reason"] is None:
            chosen = samples[row["sample_id"]]["response"]
            share = edits(row["text"], chosen) / max(len(row["text"]), len(chosen))
            found.append((round(share, 3), row["sample_id"], chosen, row["text"]))
    return [(share, chosen, text) for share, _, chosen, text in sorted(found)[:10]]


@answers("Which kinds of questions did the trained model lose?")
def _(store):
    pairs = defaultdict(dict)
    for row in rows(store, "evaluate", "predictions"):
        if row["correct"] is not None:
            pairs[row["benchmark"], row["kind"], row["question_id"]][row["model"]] = row["correct"]
    kinds = defaultdict(list)
    for (benchmark, kind, _), models in pairs.items():
        kinds[benchmark, kind].append((models["base"], models["trained"]))
    found = [
        (*key, len(each), each.count((True, True)), each.count((False, True)),
         each.count((True, False)))
        for key, each in kinds.items()
    ]  # fmt: skip
    return sorted(found, key=lambda row: (row[4] - row[5], row[0], row[1]))


@answers("How degenerate were online groups over training?")
def _(store):
    rewards = defaultdict(list)
    for row in rows(store, "train", "train_rollouts"):
        rewards[row["step"], row["group_id"]].append(row["reward"])
    shares = [len(set(found)) == 1 for found in rewards.values()]
    assert {step for step, _ in rewards} == {1, 2}, "both steps stand in the first ten"
    return [(1, len(shares), fmean(shares), fmean(map(fmean, rewards.values())))]


@answers("From what were these metrics made?")
def _(store):
    ways = {store.resolve("evaluate"): [store.resolve("evaluate").short]}
    found, edge = [], list(ways)
    for depth in range(1, 10):
        edge = sorted({ref for each in edge for ref in store.manifest(each).inputs.values()}
                      - ways.keys(), key=lambda ref: ref.short)  # fmt: skip
        for ref in edge:
            ways[ref] = []
            found.append((depth, ref.short, store.manifest(ref).recipe))
    asked = QUESTIONS["From what were these metrics made?"]
    told = query(store.root, asked).fetchall()
    assert [row[:3] for row in told] == found and len(found) == 9
    for (depth, ancestor, _), row in zip(found, told, strict=True):
        steps = row[4].split(" < ")
        assert (len(steps) - 1, steps[-1]) == (depth, ancestor)
        for one, input_ in zip(steps, steps[1:], strict=False):
            inputs = store.manifest(store.resolve(one)).inputs.values()
            assert input_ in {ref.short for ref in inputs}
    return told


@answers("How do the recipes compare?")
def _(store):
    shown = ("benchmark", "metric", "value", "low", "high", "n")
    kept = [tuple(row[name] for name in shown) for row in rows(store, "evaluate", "metrics")
            if row["model"] == "trained" and row["kind"] == "all"
            and row["metric"] in ("accuracy", "chair_i")]  # fmt: skip
    both = [(recipe, *row) for row in kept for recipe in ("another", "mbpo")]
    return sorted(both, key=lambda row: (row[1], row[2], -row[3], row[0]))


def test_images_come_out_of_a_query_as_they_went_in(store):
    sql = "select image.bytes as png, width, height from samples limit 1"
    png, width, height = query(store.root, sql).fetchone()
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (width, height)
