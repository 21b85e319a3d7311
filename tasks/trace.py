"""The whole life of a sample in one run: from its record to the gradients, and to evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from storage.errors import AmbiguousArtifact, UnknownArtifact
from storage.lookup import Lookup
from storage.manifest import Manifest
from storage.naming import find_run
from storage.refs import ArtifactRef
from storage.runs import RunRecord, read_runs
from storage.store import ArtifactStore
from tasks.order import ORDER

Row = dict[str, Any]
_SHOWN = 5
_STEP = ("step", "loss", "loss_offline", "loss_online", "learning_rate", "grad_norm", "margin_mean",
         "weight_text", "weight_image")  # fmt: skip


def trace(store: ArtifactStore, text: str, run: str | None = None) -> Row:
    """Return what happened to a sample, stage by stage; a stage that the run has not is None.

    Args:
        store: where the run's artifacts are.
        text: the sample's id, the beginning of it, or the id of its record in the source.
        run: id of a run, the beginning of it, or a tag; default: of the runs that read the sample
            the one that got furthest, the newest of these.

    Raises:
        UnknownArtifact: no such run or sample; the nearest ids are named.
        AmbiguousArtifact: several ids begin so, or a record has several samples.
    """
    runs = _runs(store, run)
    with Lookup(store) as lookup:
        record, sample_id = _found(lookup, runs, text)
        life = _Life(store, lookup, record, sample_id)
        found = {
            "sample_id": sample_id,
            "run_id": record.run_id,
            "recipe": record.recipe,
            "source": life.source(),
            "score": life.one("score", "scores"),
            "entropy": life.one("score", "entropies"),
            "selection": life.one("select", "selection"),
            "negative": life.negative(),
            "regions": life.all("mine", "regions"),
            "responses": life.responses(),
            "groups": life.all("pair", "groups"),
        }
        found["training"] = life.training(found["groups"] or [])
        found["questions"] = life.questions(found["source"]["image_id"])
        return found | {"refs": {stage: ref.short for stage, ref in record.stages.items()}}


def _runs(store: ArtifactStore, text: str | None) -> list[RunRecord]:
    """Return the runs to look into, those that got furthest first, and of these the newest."""
    runs = [run for run in read_runs(store.root) if "ingest" in run.stages][::-1]
    if not runs:
        raise UnknownArtifact(f"no run in {store.root} has samples; make one: mbpo run mbpo")
    if text is None:
        return sorted(runs, key=lambda run: -max(map(_place, run.stages)))
    found = find_run(store.root, text)
    if found is None or "ingest" not in found.stages:
        ids = ", ".join(run.run_id for run in runs[:_SHOWN])
        raise UnknownArtifact(f"no run {text!r} that has samples; the latest are: {ids}")
    return [found]


def _place(stage: str) -> int:
    return ORDER.index(stage) if stage in ORDER else -1


def _found(lookup: Lookup, runs: list[RunRecord], text: str) -> tuple[RunRecord, str]:
    """Return the first run that has the sample, and its whole id."""
    seen: set[ArtifactRef] = set()
    for run in runs:
        if run.stages["ingest"] not in seen:
            seen.add(run.stages["ingest"])
            if (sample_id := _sample_id(lookup, run, text)) is not None:
                return run, sample_id
    near = lookup.query(
        f"SELECT sample_id, source_id, question FROM {_samples(lookup, runs[0])} ORDER BY "
        "greatest(jaro_winkler_similarity(left(sample_id, length(?)), ?), "
        f"coalesce(jaro_winkler_similarity(source_id, ?), 0)) DESC, sample_id LIMIT {_SHOWN}",
        [text, text, text],
    )
    lines = "\n".join(f"  {_named(row)}" for row in near)
    raise UnknownArtifact(f"no sample {text!r} in run {runs[0].run_id}; the nearest are:\n{lines}")


def _sample_id(lookup: Lookup, run: RunRecord, text: str) -> str | None:
    found = lookup.query(
        f"SELECT sample_id, source_id, question FROM {_samples(lookup, run)} "
        "WHERE starts_with(sample_id, ?) OR source_id = ? ORDER BY sample_id",
        [text, text],
    )
    exact = [row for row in found if row["sample_id"] == text]
    if len(exact or found) > 1:
        lines = "\n".join(f"  {_named(row)}" for row in found[:_SHOWN])
        raise AmbiguousArtifact(f"{text!r} could be any of {len(found)} samples:\n{lines}")
    return (exact or found)[0]["sample_id"] if found else None


def _samples(lookup: Lookup, run: RunRecord) -> str:
    return lookup.source(run.stages["ingest"], "samples")


def _named(row: Row) -> str:
    return f"{row['sample_id'][:16]}  {row['source_id']}  {str(row['question'])[:60]!r}"


class _Life:
    def __init__(
        self, store: ArtifactStore, lookup: Lookup, run: RunRecord, sample_id: str
    ) -> None:
        self._store, self._lookup, self._run, self._id = store, lookup, run, sample_id

    def all(self, stage: str, table: str, column: str = "sample_id") -> list[Row] | None:
        """Return the sample's rows; None where the run has no such stage or table."""
        return self._where(stage, table, column, [self._id])

    def one(self, stage: str, table: str) -> Row | None:
        """Return the sample's row, or None."""
        return next(iter(self.all(stage, table) or []), None)

    def source(self) -> Row:
        """Return the sample with the file that it came from."""
        source = self._run.settings.get("ingest", {}).get("source", {})
        return {"from": source, **(self.one("ingest", "samples") or {})}

    def negative(self) -> Row | None:
        """Return the mined image's row, with the settings that it was made by."""
        row = self.one("mine", "negatives")
        return row and row | {"settings": self._config("mine").get("mine", {})}

    def responses(self) -> list[Row] | None:
        """Return the rejected responses; their log-probabilities summed, too."""
        found = self.all("respond", "responses")
        sums = ("clean_token_logps", "negative_token_logps", "blank_token_logps")
        return found and [
            row | {name.replace("_token_logps", "_logp"): _sum(row.get(name)) for name in sums}
            for row in found
        ]

    def training(self, groups: list[Row]) -> list[Row] | None:
        """Return for each group what training did with it."""
        ids = [group["group_id"] for group in groups]
        used = self._where("train", "train_groups", "group_id", ids)
        if used is None:
            return None
        rollouts = self._where("train", "train_rollouts", "group_id", ids) or []
        probes = self._where("train", "train_probes", "group_id", ids) or []
        roles = {g["group_id"]: [c["role"] for c in g["candidates"] or ()] for g in groups}
        return [
            row
            | {
                "steps": self._steps(row),
                "fixed": self._fixed(row, roles[row["group_id"]]),
                "rollouts": [r for r in rollouts if r["group_id"] == row["group_id"]],
                "probes": [p for p in probes if p["group_id"] == row["group_id"]],
            }
            for row in used
        ]

    def questions(self, image_id: str | None) -> list[Row] | None:
        """Return the questions about its image or of itself, each with all answers and scores."""
        if "ask" not in self._run.stages:
            return None
        found = self._where("ask", "questions", "question_id", [self._id]) or []
        found += self._where("ask", "questions", "image_id", [image_id]) or []
        by_id = {row["asked_id"]: row for row in found}
        ids = [row["question_id"] for row in by_id.values()]
        scored = self._where("evaluate", "predictions", "question_id", ids) or []
        return [
            row | {"predictions": [each for each in scored if _same_question(each, row)]}
            for row in by_id.values()
        ]

    def _where(self, stage: str, table: str, column: str, values: list[Any]) -> list[Row] | None:
        manifest = self._manifest(stage)
        if manifest is None or table not in manifest.tables:
            return None
        return self._lookup.rows(manifest.ref, table, column, values)

    def _manifest(self, stage: str) -> Manifest | None:
        ref: ArtifactRef | None = self._run.stages.get(stage)
        return ref and self._store.manifest(ref)

    def _config(self, stage: str) -> Mapping[str, Any]:
        manifest = self._manifest(stage)
        return manifest.identity.get("config", {}) if manifest else {}

    def _steps(self, used: Row) -> list[Row] | None:
        """Return the steps that used a group; None where the version did not record them."""
        if used.get("steps") is None:
            return None
        found = self._where("train", "train_steps", "step", used["steps"]) or []
        return [{name: row[name] for name in _STEP if name in row} for row in found]

    def _fixed(self, used: Row, roles: list[str]) -> list[Row] | None:
        """Return reward and advantage of each candidate, where the objective fixes them."""
        settings = self._config("train").get("train", {}).get("objective", {})
        if used["stream"] != "offline" or settings.get("kind") != "hybrid_grpo" or not roles:
            return None
        from mbpo_core.objectives.grpo import HybridGRPO  # loads torch: only where it is asked
        from mbpo_core.objectives.protocol import ScoredGroup

        own = {field.name for field in fields(HybridGRPO)}
        objective = HybridGRPO(**{name: settings[name] for name in own & settings.keys()})
        read = tuple(role for role in roles if role in objective.roles)
        group = ScoredGroup(used["group_id"], "offline", read)
        return [
            {"role": role, "reward": reward, "advantage": float(advantage)}
            for role, reward, advantage in zip(
                read, objective.group_rewards(group), objective.group_advantages(group), strict=True
            )
        ]


def _same_question(prediction: Row, question: Row) -> bool:
    names = ("benchmark", "question_id")
    return all(prediction[name] == question[name] for name in names)


def _sum(values: list[float] | None) -> float | None:
    return None if values is None else float(sum(values))
