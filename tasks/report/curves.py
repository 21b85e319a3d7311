"""Training as curves: the two figures of the paper first, then what says whether it went well."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tasks.report.figures import Figure, band, bars, figure, line, points, running_mean
from tasks.report.sources import Row, Section, Sources, not_there

WINDOW = 10
"""Steps of the running mean over noisy values."""
OUTLYING = 8
"""An axis is cut where all values spread so many times as far as their inner 80 %."""
_PLAIN = ("step", "groups_offline", "groups_online", "skipped")
_CURVES: tuple[tuple[str, str, str, str, tuple[tuple[str, str, str], ...]], ...] = (
    ("loss", "Loss", "Loss of each step and its two streams.", "loss",
     (("loss", "both", "trained"), ("loss_offline", "offline", "offline"),
      ("loss_online", "online", "online"))),
    ("kl", "KL to the reference", "Estimate of KL(policy, reference) over response tokens, nats a "
     "token.", "KL, nats a token",
     (("kl_offline", "offline", "offline"), ("kl_online", "online", "online"))),
    ("norms", "Gradient norms", "Norm of the whole gradient before clipping, and of each stream "
     "where it was measured alone.", "norm",
     (("grad_norm", "both", "trained"), ("grad_norm_offline", "offline", "offline"),
      ("grad_norm_online", "online", "online"))),
    ("groups", "Groups that teach nothing", "Shares of online groups whose rollouts all earned the "
     "same (degenerate: no advantage), and of rollouts without a readable answer or cut at the "
     "length limit.", "share",
     (("degenerate_share", "degenerate groups", "rejected"),
      ("unparseable_share", "no readable answer", "offline"),
      ("truncated_share", "cut off", "neutral"))),
    ("implicit", "Implicit rewards", "beta times the log-ratio of policy and reference, mean of a "
     "step.", "implicit reward",
     (("reward_chosen", "chosen", "chosen"), ("reward_rejected", "rejected", "rejected"),
      ("reward_rejected_image", "chosen, under the negative picture", "offline"))),
    ("accuracy", "Order of the pairs", "Share of pairs whose better candidate has the higher "
     "implicit reward.", "share",
     (("accuracy_text", "chosen over rejected", "chosen"),
      ("accuracy_image", "clean over negative picture", "offline"))),
    ("logps", "Log-probability a token", "Mean log-probability of the candidates under the policy, "
     "nats a token.", "log-probability, nats a token",
     (("logp_chosen_mean", "chosen", "chosen"), ("logp_rejected_mean", "rejected", "rejected"),
      ("logp_rollout_mean", "rollouts", "online"),
      ("logp_rejected_image_mean", "chosen, under the negative picture", "offline"))),
)  # fmt: skip
"""Figure: anchor, title, caption, axis, and its columns with their names and colours."""
NAMES = [*_PLAIN, "reward", *(name for *_, curves in _CURVES for name, _, _ in curves)]


def curves(sources: Sources) -> Section:
    """Return the curves of one training run."""
    name, title = "training", "Training"
    if "train" not in sources.refs:
        return not_there(name, title, "train")
    steps = sources.rows("train", "train_steps", NAMES)
    if not steps:
        return Section(name, title, missing="no step was trained")
    probes = sources.rows("train", "train_probes", ("step", "role", "iig_mean"))
    asked = sources.rows(
        "train", "train_benchmarks", ("step", "benchmark", "kind", "metric", "value", "low", "high")
    )
    figures = [made for made in (_paper_left(probes), _paper_right(steps), _mix(steps)) if made]
    figures += [made for each in _CURVES if (made := _curve(steps, *each))]
    figures += list(_benchmarks(asked))
    why = [] if sources.rows("train", "train_rollouts", ("step",)) else [
        "No online stream in this run: no rollouts, so no online reward."]  # fmt: skip
    if not any(row["role"] == "rejected" for row in probes):
        why.append("No rejected responses were probed: the objective reads none.")
    content = {"facts": _facts(sources, steps), "notes": why}
    return Section(name, title, len(steps), content=content, figures=tuple(figures))


def _paper_left(probes: Sequence[Row]) -> Figure | None:
    """Return the gain of chosen and rejected over the steps, with 95 % intervals of the mean."""
    if not probes:
        return None
    traces: list[Any] = []
    groups = 0
    for role, ink in (("chosen", "chosen"), ("rejected", "rejected")):
        by_step: dict[int, list[float]] = defaultdict(list)
        for row in probes:
            if row["role"] == role and row["iig_mean"] is not None:
                by_step[row["step"]].append(row["iig_mean"])
        if not by_step:
            continue
        steps = sorted(by_step)
        mean = [float(np.mean(by_step[step])) for step in steps]
        half = [1.96 * float(np.std(by_step[step], ddof=1)) / math.sqrt(len(by_step[step]))
                if len(by_step[step]) > 1 else 0.0 for step in steps]  # fmt: skip
        low, high = ([m + sign * h for m, h in zip(mean, half, strict=True)] for sign in (-1, 1))
        traces += [*band(steps, low, high, "95 % of the mean", ink),
                   line(steps, mean, role, ink, marks=True)]  # fmt: skip
        groups = max(groups, len(by_step[steps[0]]))
    caption = (
        f"The paper's first curve: image information gain of chosen and rejected responses "
        f"while training, mean of {groups} probed groups with 1.96 standard errors."
    )
    return figure("probes", "Information gain of chosen and rejected", caption, traces, "step",
                  "information gain, nats a token")  # fmt: skip


def _paper_right(steps: Sequence[Row]) -> Figure | None:
    there = [row for row in steps if row["reward"] is not None]
    if not there:
        return None
    x, y = [row["step"] for row in there], [row["reward"] for row in there]
    traces = [points(x, y, "each step", "online"),
              line(x, running_mean(y, WINDOW), f"mean of {WINDOW} steps", "online")]  # fmt: skip
    caption = (f"The paper's second curve: mean verified reward of the rollouts of a step, and its "
               f"running mean; {len(there)} steps with online groups.")  # fmt: skip
    return figure("reward", "Online reward", caption, traces, "step", "reward")


def _mix(steps: Sequence[Row]) -> Figure | None:
    x = [row["step"] for row in steps]
    traces = [
        bars(x, [row[f"groups_{name}"] for row in steps], name, name)
        for name in ("offline", "online")
        if any(row[f"groups_{name}"] for row in steps)
    ]
    if not traces:
        return None
    totals = [sum(row[f"groups_{name}"] or 0 for row in steps) for name in ("offline", "online")]
    caption = f"Groups of each stream in a step; {totals[0]} offline and {totals[1]} online in all."
    drawn = figure("mix", "Mix of the streams", caption, traces, "step", "groups")
    drawn.spec["layout"]["bargap"] = 0
    return drawn


def _curve(
    steps: Sequence[Row], name: str, title: str, caption: str, axis: str,
    columns: Sequence[tuple[str, str, str]],
) -> Figure | None:  # fmt: skip
    traces = []
    for column, words, ink in columns:
        there = [row for row in steps if row[column] is not None]
        if there:
            x, y = [row["step"] for row in there], [row[column] for row in there]
            traces.append(line(x, y, words, ink, marks=len(there) < len(steps) / 2))
    if not traces:
        return None
    values = [value for trace in traces for value in trace.y if value is not None]
    shown, words = _axis(values)
    return figure(name, title, f"{caption}{words}", traces, "step", axis, yaxis=shown)


def _axis(values: Sequence[float]) -> tuple[dict[str, Any], str]:
    """Return the upright axis, and what is to be said of it, where a few values dwarf the rest.

    One without a value below 0 becomes logarithmic; else it ends where 98 % of the values do.
    """
    low, high = (float(v) for v in np.quantile(values, [0.01, 0.99]))
    spread = float(np.quantile(values, 0.9) - np.quantile(values, 0.1))
    if max(values) - min(values) <= OUTLYING * spread:
        return {}, ""
    if min(values) >= 0:
        zeros = values.count(0)
        return {"type": "log"}, " Logarithmic axis, as a few steps dwarf the rest" + (
            f"; {zeros} values of 0 are not on it." if zeros else ".")  # fmt: skip
    outside = sum(not low <= value <= high for value in values)
    room = 0.08 * (high - low)
    return (
        {"range": [low - room, high + room]},
        f" The axis ends where 98 % of the values do: {outside} are outside of it, the largest is "
        f"{max(values, key=abs):.4g}.",
    )


def _benchmarks(asked: Sequence[Row]) -> Iterator[Figure]:
    """Yield a figure for each benchmark that was asked while training."""
    inks = ("trained", "chosen", "rejected", "offline", "online", "neutral")
    for number, benchmark in enumerate(sorted({row["benchmark"] for row in asked})):
        rows = [row for row in asked if row["benchmark"] == benchmark and row["kind"] == "all"]
        traces = []
        for metric, ink in zip(sorted({row["metric"] for row in rows}), inks, strict=False):
            those = [row for row in rows if row["metric"] == metric and row["value"] is not None]
            x = [row["step"] for row in those]
            traces.append(line(x, [row["value"] for row in those], metric, ink, marks=True))
        if traces:
            yield figure(f"asked-{number}", f"{benchmark} while training",
                         f"Figures of {benchmark} over all its questions.", traces, "step",
                         "value")  # fmt: skip


def _facts(sources: Sources, steps: Sequence[Row]) -> list[tuple[str, str]]:
    made = sources.rows("train", "checkpoint", ("parameters", "groups_offline", "groups_online"))
    facts = [("steps", f"{len(steps)}")]
    if made:
        facts += [(f"groups, {name}", f"{made[0][f'groups_{name}']}")
                  for name in ("offline", "online")]  # fmt: skip
        if made[0]["parameters"]:
            facts.append(("trained parameters", f"{made[0]['parameters'] / 1e6:,.1f} M"))
    facts.append(("objective", str(sources.setting("train.objective.kind") or "unknown")))
    facts.append(("learning rate", f"{sources.setting('train.learning_rate')}"))
    if skipped := sum(row["skipped"] or 0 for row in steps):
        facts.append(("skipped", f"{skipped}"))
    return facts
