"""Which miners, responses, objectives and curricula go together, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbpo_core.config.data import EmbeddedSource
from mbpo_core.config.evaluation import JUDGED
from mbpo_core.config.judge import StoredReviews
from mbpo_core.config.mining import DiffusionNoiseMiner, RemovalMiner, TruthFinder, TruthInpainter
from mbpo_core.config.responses import RuleInjector
from mbpo_core.config.training import EasyToHard

if TYPE_CHECKING:
    from mbpo_core.config.recipe import Recipe


def problems(recipe: Recipe) -> list[str]:
    """Return what does not go together, one sentence each; none = the recipe can run."""
    return [*_selection(recipe), *_roles(recipe), *_streams(recipe), *_truth(recipe),
            *_measured(recipe)]  # fmt: skip


def provided_roles(recipe: Recipe) -> tuple[str, ...]:
    """Return the candidates that miner and responses make."""
    rejected = ("rejected",) if recipe.respond.sources else ()
    image = ("rejected_image",) if recipe.mine.makes_images else ()
    return ("chosen", *rejected, *image)


def _selection(recipe: Recipe) -> Iterator[str]:
    select, signals = recipe.select, recipe.score.signals
    if select.presample is not None and select.k is not None and select.presample < select.k:
        yield f"select.k ({select.k}) must not exceed select.presample ({select.presample})"
    if select.key is not None and "information_gain" not in signals:
        yield (
            f"select.key {select.key} needs the signal information_gain, score.signals has "
            f"{list(signals)}; give select.key=null to take samples unranked"
        )
    if isinstance(recipe.train.curriculum, EasyToHard) and "answer_entropy" not in signals:
        yield (
            "the curriculum easy_to_hard needs the signal answer_entropy, score.signals has "
            f"{list(signals)}"
        )


def _roles(recipe: Recipe) -> Iterator[str]:
    sources, miner, objective = recipe.respond.sources, recipe.mine, recipe.train.objective
    if len(set(sources)) < len(sources):
        yield f"respond.sources names a source twice: {list(sources)}"
    if "negative" in sources and not miner.makes_images:
        yield (
            f"respond.sources has `negative`, but the miner {miner.kind} makes no negative images"
        )
    if ("injected" in sources) != (recipe.respond.injector is not None):
        yield "the source `injected` and respond.injector go together: give both or none"
    if not recipe.train.offline_epochs:
        return
    for role in objective.roles:
        if role not in provided_roles(recipe):
            why = {
                "rejected": "respond.sources is empty",
                "rejected_image": f"the miner {miner.kind} makes no negative images",
            }[role]
            yield f"the objective {objective.kind} needs {role} candidates, but {why}"


def _streams(recipe: Recipe) -> Iterator[str]:
    train = recipe.train
    if not train.offline_epochs and not train.online_epochs:
        yield "train.offline_epochs and train.online_epochs are both 0: nothing to train on"
    if train.online_epochs and not train.objective.online:
        yield (
            f"the objective {train.objective.kind} has no loss for rollouts: set "
            "train.online_epochs=0"
        )
    if train.online_epochs and isinstance(train.curriculum, EasyToHard):
        yield "the curriculum easy_to_hard orders pairs alone: set train.online_epochs=0"
    steps, levels = train.max_steps, getattr(train.curriculum, "levels", 1)
    if steps is not None and steps < levels:
        yield (
            f"the curriculum {train.curriculum.kind} has {levels} levels, but train.max_steps is "
            f"{steps}: give it one step a level at least"
        )


def _truth(recipe: Recipe) -> Iterator[str]:
    """Parts that know the truth of the embedded world work nowhere else."""
    removal = recipe.mine if isinstance(recipe.mine, RemovalMiner) else None
    if (
        removal is not None
        and isinstance(removal.inpainter, TruthInpainter)
        and not isinstance(removal.finder, TruthFinder)
    ):
        yield (
            "the inpainter `truth` removes only what the finder `truth` found, the finder here is "
            f"`{removal.finder.kind}`; take the inpainter `opencv`"
        )
    if isinstance(recipe.ingest.source, EmbeddedSource):
        if "dataset" in recipe.respond.sources:
            yield "the embedded world has no rejected texts: respond.sources cannot be `dataset`"
        return
    miner = recipe.mine
    if isinstance(miner, DiffusionNoiseMiner | RemovalMiner) and isinstance(
        miner.finder, TruthFinder
    ):
        yield "the finder `truth` knows the embedded world only; take `cells` or `grounded_sam`"
    if isinstance(miner, RemovalMiner) and isinstance(miner.inpainter, TruthInpainter):
        yield "the inpainter `truth` knows the embedded world only; take `opencv` or `lama`"
    if isinstance(recipe.respond.injector, RuleInjector):
        yield "the injector `rules` speaks the embedded world's language only; take `endpoint`"


def _measured(recipe: Recipe) -> Iterator[str]:
    names = [each.name for each in recipe.evaluate.benchmarks]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        yield f"evaluate.benchmarks names {', '.join(twice)} more than once"
    judged = [each.name for each in recipe.evaluate.benchmarks if each.kind in JUDGED]
    if judged and recipe.evaluate.judge is None:
        yield f"{', '.join(judged)} needs a judge: set evaluate.judge to an endpoint or to reviews"
    if len(judged) > 1 and isinstance(recipe.evaluate.judge, StoredReviews):
        yield f"evaluate.judge: one file of stored reviews cannot serve {', '.join(judged)}"
    if isinstance(recipe.evaluate.judge, StoredReviews) and recipe.answer.responses is None:
        yield (
            "evaluate.judge: stored reviews are about the answers of one file, not about what "
            "models are going to say: set answer.responses"
        )
    for each in recipe.train.benchmarks:
        if each.kind in JUDGED:
            yield f"train.benchmarks cannot have {each.name}: no judge is asked during training"
    if not recipe.answer.models and recipe.answer.responses is None:
        yield "answer.models is empty: nothing answers the questions"
    if recipe.answer.policy_name == "trained":
        yield "answer.policy_name cannot be `trained`: the trained model is called that"
