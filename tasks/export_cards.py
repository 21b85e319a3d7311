"""The cards of what is exported: front matter for a hub, and what a reader has to know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mbpo_core.evaluation.metrics import FAILURES
from storage.store import ArtifactStore
from tasks.export_origin import Origin, measured_with, published
from tasks.registry import ORDER

Row = dict[str, Any]
MARKED = (
    "Keep such images marked as altered, do not publish them as photographs, and do not use them "
    "to get around a moderation filter or a model that somebody relies on."
)


def model_card(store: ArtifactStore, origin: Origin, dtype: str) -> str:
    """Return the card of a checkpoint; `dtype` is that of its weights."""
    checkpoint = store.table(origin.ref, "checkpoint").to_pylist()[0]
    measured = measured_with(store, origin.ref)
    settings = origin.recipe or {}
    policy = settings.get("policy", {})
    hub_id = policy.get("name") if policy.get("revision") else None
    return _render(
        "model.md.jinja",
        **_common(store, origin, "mbpo export {ref} --out FOLDER"),
        tags=["mbpo", "preference-optimization", "vision-language-model"],
        base_model=hub_id,
        base_text=_base_text(policy, hub_id),
        base_identity=checkpoint["base_model"],
        lora=settings.get("train", {}).get("lora") is not None,
        parameters=f"{checkpoint['parameters']:,}",
        dtype=dtype,
        steps=checkpoint["steps"],
        groups_offline=checkpoint["groups_offline"],
        groups_online=checkpoint["groups_online"],
        evaluation=measured[0].short if measured else None,
        metrics=side_by_side(measured[1]) if measured else [],
        libraries=", ".join(f"{k} {v}" for k, v in sorted(origin.manifest.libraries.items())),
    )


def data_card(
    store: ArtifactStore, origin: Origin, *, title: str, about: str, use: str,
    configs: Sequence[Row], tables: Sequence[Row], exported: str, tags: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return the card of tables or pairs.

    Args:
        store, origin: what is exported, and where it is.
        title, about: in words.
        use: how it is opened, as Markdown.
        configs: `name` and `path` of each table that `datasets` is to find, the main one first.
        tables: `name`, `rows`, `reasons`, `reasons_said` and `columns` of each.
        exported: the command, with `{ref}` in it.
        tags: besides those that all have.
    """
    return _render(
        "data.md.jinja",
        **_common(store, origin, exported),
        title=title,
        about=about,
        use=use,
        configs=configs,
        tables=tables,
        tags=["mbpo", "image-text", *tags],
    )


def side_by_side(metrics: Sequence[Row]) -> list[Row]:
    """Return a row for each figure, base against trained; failures only where there are any."""
    places: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in sorted(metrics, key=lambda row: (row["benchmark"], row["metric"], row["kind"])):
        place = (row["benchmark"], row["metric"], row["kind"])
        places.setdefault(place, {})[row["model"]] = row
    return [
        {"benchmark": benchmark, "metric": metric, "kind": kind, "n": _any(models)["n"],
         "base": _figure(models.get("base")), "trained": _figure(models.get("trained")),
         "better": {1: "more", -1: "less"}.get(_any(models)["better"], "-")}
        for (benchmark, metric, kind), models in places.items()
        if metric not in FAILURES or any(row["value"] for row in models.values())
    ]  # fmt: skip


def public_recipe(origin: Origin) -> Row | None:
    """Return the settings as they may leave the machine; None where they are not known."""
    return None if origin.recipe is None else published(origin.recipe)


def _common(store: ArtifactStore, origin: Origin, exported: str) -> Row:
    recipe = public_recipe(origin)
    source = (recipe or {}).get("ingest", {}).get("source", {})
    return {
        "ref": origin.ref.short,
        "recipe_name": origin.manifest.recipe,
        "recipe": recipe,
        "from_files": source.get("kind") == "files",
        "revision": origin.manifest.code_revision,
        "dirty": bool(origin.manifest.code_dirty),
        "exported": exported.format(ref=origin.ref.short),
        "stages": _stages(store, origin),
        "adversarial": adversarial(store, origin),
    }


def _stages(store: ArtifactStore, origin: Origin) -> list[Row]:
    rows = []
    for stage in sorted(origin.upstream, key=lambda name: (*ORDER, name).index(name)):
        ref = origin.upstream[stage]
        manifest = store.manifest(ref)
        rows.append({"stage": stage, "ref": ref.short, "table": manifest.artifact,
                     "rows": manifest.rows,
                     "reasons": manifest.reasons.get(manifest.artifact, {})})  # fmt: skip
    return rows


def adversarial(store: ArtifactStore, origin: Origin) -> str:
    """Return the sentence on altered images: what took part, and what must not be done with it."""
    if "mine" not in origin.upstream:
        return "No altered image took part in this."
    config = store.manifest(origin.upstream["mine"]).identity.get("config", {}).get("mine", {})
    kind = config.get("kind", "unknown")
    if kind == "none":
        return "No altered image took part in this: the recipe has no miner."
    made = (
        "Images were altered by an attack (PGD) to lead a model astray, and some will lead others "
        "astray too."
        if kind == "pgd"
        else f"Images were altered by the miner `{kind}`."
    )
    model = (
        " A model that was trained with them is not robust against attacks; nothing here measures "
        "that."
        if "train" in origin.upstream
        else ""
    )
    return f"{made} {MARKED}{model}"


def _base_text(policy: Mapping[str, Any], hub_id: str | None) -> str:
    if hub_id:
        return f"`{hub_id}` (revision `{policy['revision']}`)"
    if policy.get("kind") == "embedded":
        return "The tiny Qwen2-VL that comes with mbpo, a model for tests and demonstrations,"
    return "A model from a local folder"


def _any(models: Mapping[str, Row]) -> Row:
    return next(iter(models.values()))


def _figure(row: Row | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    interval = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{interval}"


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "-"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("tasks", "cards"), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    templates.filters |= {
        "counted": _counted,
        "cell": _cell,
        "pretty": lambda value: json.dumps(value, indent=1),
    }
    return templates


def _render(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(**values)
