"""The tables that a training run leaves behind."""

from __future__ import annotations

import pyarrow as pa

from storage.tables import TableSpec


def _columns(kind: pa.DataType, *names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, kind) for name in names]


CHECKPOINT = TableSpec(
    "checkpoint",
    pa.schema(
        [
            ("checkpoint_id", pa.string()),
            ("base_model", pa.string()),
            ("path", pa.string()),  # below the artifact's `files/`
            ("steps", pa.int32()),
            ("groups_offline", pa.int32()),
            ("groups_online", pa.int32()),
            ("parameters", pa.int64()),
        ]
    ),
)
TRAIN_STEPS = TableSpec(
    "train_steps",
    pa.schema(
        [
            ("step", pa.int32()),
            *_columns(
                pa.float64(),
                "loss", "loss_offline", "loss_online", "learning_rate", "grad_norm",
                "grad_norm_offline", "grad_norm_online",
            ),
            *_columns(pa.int32(), "groups_offline", "groups_online", "sequences", "tokens",
                      "skipped"),
            *_columns(
                pa.float64(),
                "kl_offline", "kl_online", "clip_share_offline", "clip_share_online",
                "max_reference_ratio_offline", "max_reference_ratio_online",
                "logp_chosen_sum", "logp_chosen_mean", "length_chosen",
                "logp_rejected_sum", "logp_rejected_mean", "length_rejected",
                "logp_rollout_sum", "logp_rollout_mean", "length_rollout",
                "logp_rejected_image_sum", "logp_rejected_image_mean", "length_rejected_image",
                "margin_sum", "margin_mean",
                "loss_text", "loss_image", "loss_margin", "weight_text", "weight_image",
                "reward_chosen", "reward_rejected", "reward_rejected_image",
                "accuracy_text", "accuracy_image",
                "reward", "degenerate_share", "unparseable_share", "truncated_share",
            ),
        ]
    ),
)  # fmt: skip
TRAIN_PROBES = TableSpec(
    "train_probes",
    pa.schema(
        [
            ("step", pa.int32()),
            ("group_id", pa.string()),
            ("role", pa.string()),
            ("logp_image", pa.float64()),
            ("logp_blank", pa.float64()),
            ("tokens", pa.int32()),
            ("iig_sum", pa.float64()),
            ("iig_mean", pa.float64()),
        ]
    ),
)
TRAIN_BENCHMARKS = TableSpec(
    "train_benchmarks",
    pa.schema(
        [
            ("step", pa.int32()),
            ("benchmark", pa.string()),
            ("kind", pa.string()),
            ("metric", pa.string()),
            ("value", pa.float64()),
            ("n", pa.int32()),
            ("low", pa.float64()),
            ("high", pa.float64()),
        ]
    ),
)
TRAIN_ROLLOUTS = TableSpec(
    "train_rollouts",
    pa.schema(
        [
            ("step", pa.int32()),
            ("group_id", pa.string()),
            ("sample_id", pa.string()),
            ("rollout", pa.int32()),
            ("text", pa.string()),
            ("ids", pa.list_(pa.int32())),
            ("finished", pa.bool_()),
            ("reward", pa.float64()),
            ("extracted", pa.string()),
            ("rule", pa.string()),
            ("advantage", pa.float64()),
        ]
    ),
)
TRAIN_GROUPS = TableSpec(
    "train_groups",
    pa.schema(
        [
            ("group_id", pa.string()),
            ("stream", pa.string()),
            ("uses", pa.int32()),
            ("steps", pa.list_(pa.int32())),  # the optimiser steps that used it, 1-based
            ("level", pa.int32()),  # phase of an easy-to-hard curriculum, else null
            ("reason", pa.string()),
        ]
    ),
)
