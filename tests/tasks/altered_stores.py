"""A finished run with further versions, in which happened what a small run does not show."""

from storage.catalog import rebuild_catalog
from storage.identity import Identity
from storage.runs import finish_run, record_stage, start_run
from storage.store import ArtifactStore
from storage.tables import rows_to_table
from tasks.registry import STAGES


def alter(root):
    """Commit versions of three stages, as a later run of the recipe `another` would."""
    store = ArtifactStore(root)
    start_run(root, "later", "another")
    for stage, changes in {
        "mine": {"negatives": failed},
        "train": {"train_rollouts": with_wrong_answers},
        "evaluate": {"predictions": turned},
    }.items():
        record_stage(root, "later", stage, _again(store, stage, changes))
    finish_run(root, "later", "completed")
    rebuild_catalog(store)
    return store


def _again(store, stage, changes):
    """Commit the newest version of a stage anew, some tables changed, under another setting."""
    ref, specs = store.resolve(stage), STAGES[stage].tables
    old = store.manifest(ref).identity
    identity = Identity(**{**old, "config": {**old["config"], "altered": True}})
    tables = {spec.name: store.table(ref, spec.name) for spec in specs}
    for spec in specs:
        if spec.name in changes:
            rows = changes[spec.name](tables[spec.name].to_pylist())
            tables[spec.name] = rows_to_table(rows, spec)
    store.write_shard(stage, identity.key, 0, tables, info={"seconds": 1.0, "model_seconds": 0.5})
    made_by = {"recipe": "another", "run_id": "later"}
    return store.commit(stage, identity.key, [0], tables=specs, identity=identity, **made_by)


def failed(rows):
    """Return negatives of which one is gone, one new, and three of another outcome."""
    kept = [dict(row) for row in rows[1:]]
    nothing = dict.fromkeys(["negative_id", "image", "logp_reread", "logp_clean", "recovered"])
    kept[0] |= nothing | {"reason": "nonfinite_logp"}
    kept[1] |= {"recovered": -0.25, "logp_reread": kept[1]["logp_clean"] + 1}
    kept[2] |= {"recovered": None, "recovered_reason": "image adds 0.01 nats"}
    return [*kept, kept[-1] | {"sample_id": "new"}]


def with_wrong_answers(rows):
    """Return rollouts of which one group has one wrong answer."""
    first = rows[0]["group_id"]
    for row in rows:
        if row["group_id"] == first:
            wrong = row["rollout"] == 0
            row |= {"reward": 0.0 if wrong else 1.0, "advantage": -1.15 if wrong else 0.58}
    return rows


def turned(rows):
    """Return predictions of which those of two kinds are wrong now, of the one or other model."""
    for row in rows:
        if (row["model"], row["kind"]) in (("base", "count"), ("trained", "attribute")):
            row["correct"] = False
    return rows
