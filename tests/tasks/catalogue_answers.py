"""The questions of docs/catalogue.md answered without SQL, from the tables of a store."""

from collections import Counter, defaultdict
from datetime import datetime
from statistics import fmean

import numpy as np
from scipy.stats import linregress, spearmanr

from storage.publish import committed_at
from storage.runs import read_runs

ANSWERS = {}
"""Functions of a store, by question."""


def answers(title):
    """Register what follows as the answer to a question."""
    return lambda function: ANSWERS.setdefault(title, function)


def rows(store, stage, table):
    return store.table(store.resolve(stage), table).to_pylist()


def by(store, stage, table, name="sample_id"):
    return {row[name]: row for row in rows(store, stage, table)}


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
    if row["recovered"] <= 0:
        return "the response became no less likely"
    near = row["recovered"] < 0.5
    return "less than half of the way" if near else "half of the way or more"


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
    assert {("online", "contributed"), ("offline", "contributed")} < set(counts)
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


@answers("What changed between two versions of a table?")
def _(store):
    old, new = ({row["sample_id"]: row for row in store.table(ref, "negatives").to_pylist()}
                for ref, _ in store.refs("mine"))  # fmt: skip
    names = defaultdict(list)
    for name in old.keys() | new.keys():
        a, b = old.get(name), new.get(name)
        what = (
            "added" if a is None else "removed" if b is None else "changed" if a != b else "equal"
        )
        names[what].append((a or {}, b or {}))
    assert {what: len(pairs) for what, pairs in names.items()} == {
        "added": 1, "changed": 3, "equal": 4, "removed": 1,
    }  # fmt: skip
    for what, pairs in sorted(names.items()):
        logps = [(a.get("logp_reread"), b.get("logp_reread")) for a, b in pairs]
        changes = [b - a for a, b in logps if None not in (a, b)]
        images = sum(a.get("image") != b.get("image") for a, b in pairs)
        yield what, len(pairs), images, fmean(changes) if changes else None


@answers("Which settings, code or libraries made the difference?")
def _(store):
    return [("config.altered", None, "true")]


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
    trained, chosen = (
        by(store, "train", "train_groups", "group_id"),
        by(store, "select", "selection"),
    )
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
        found.append(
            (stage, manifest.wall_seconds, len(seconds), sum(seconds), models, max(seconds),
             int(np.argmax(seconds)))
        )  # fmt: skip
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
    assert any(row[4] for row in found) and any(row[5] for row in found)
    return sorted(found, key=lambda row: (row[4] - row[5], row[0], row[1]))


@answers("How degenerate were online groups over training?")
def _(store):
    rewards = defaultdict(list)
    for row in rows(store, "train", "train_rollouts"):
        rewards[row["step"], row["group_id"]].append(row["reward"])
    shares = [len(set(found)) == 1 for found in rewards.values()]
    assert {step for step, _ in rewards} == {1, 2} and 0 < sum(shares) < len(shares)
    return [(1, len(shares), fmean(shares), fmean(map(fmean, rewards.values())))]


@answers("From what were these metrics made?")
def _(store):
    first = store.resolve("evaluate")
    ways, edge, found = {first: [first.short]}, [first], []
    for depth in range(1, 10):
        further = {}
        for each in edge:
            for ref in set(store.manifest(each).inputs.values()) - ways.keys():
                longer = [f"{way} < {ref.short}" for way in ways[each]]
                further[ref] = further.get(ref, []) + longer
        ways, edge = ways | further, list(further)
        found += [
            (
                depth,
                ref.short,
                store.manifest(ref).recipe,
                datetime.fromisoformat(committed_at(store.path(ref))).replace(tzinfo=None),
                min(ways[ref]),
            )
            for ref in sorted(edge, key=lambda ref: ref.short)
        ]
    assert len(found) == 9 and found[-1][0] == 4
    return found


@answers("How do the recipes compare?")
def _(store):
    shown = ("benchmark", "metric", "value", "low", "high", "n")
    kept = [tuple(row[name] for name in shown) for row in rows(store, "evaluate", "metrics")
            if row["model"] == "trained" and row["kind"] == "all"
            and row["metric"] in ("accuracy", "chair_i")]  # fmt: skip
    assert kept
    both = [(recipe, *row) for row in kept for recipe in ("another", "mbpo")]
    return sorted(both, key=lambda row: (row[1], row[2], -row[3], row[0]))
