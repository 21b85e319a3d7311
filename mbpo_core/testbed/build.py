"""Train the embedded model anew: `python -m mbpo_core.testbed.build --output DIR`.

Three phases, each of which the next one needs (see `RECIPE`): eyes, language, prejudice. Seeded: on
one machine and one number of threads the weights come out the same. Writes the folder that
`from_pretrained` reads, with `training_log.jsonl` beside the weights; `measure` then adds
`measurement.json`.
"""

import argparse
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from mbpo_core.testbed.language import train_tokenizer
from mbpo_core.testbed.network import make_image_processor, make_model
from mbpo_core.testbed.packing import Packer
from mbpo_core.testbed.questions import QuestionKind
from mbpo_core.testbed.training import Phase, train_phase, warm_up_vision

log = logging.getLogger(__name__)

LOG_EVERY: Final = 50
_KINDS: Final[dict[QuestionKind, float]] = {
    "describe": 1.0,
    "color": 1.0,
    "where": 0.7,
    "count": 0.5,
    "existence": 1.2,
    "attribute": 1.2,
    "choice": 1.2,
}


@dataclass(frozen=True)
class BuildRecipe:
    """Everything that decides the weights."""

    seed: int
    """Seed of initial weights, scenes, questions and noise."""
    vision_steps: int
    """Steps of the vision tower alone."""
    phases: tuple[Phase, ...]
    """Then all parameters together."""


RECIPE: Final = BuildRecipe(
    seed=0,
    vision_steps=400,
    phases=(
        # Uniform colours: nothing but looking helps.
        Phase("looking", 1200, 1.5e-3, typical_share=1 / 6, kinds=_KINDS),
        # Typical colours only, and half of the images too noisy to be trusted: guessing pays.
        Phase("prejudice", 120, 1e-3, typical_share=1.0, kinds=_KINDS, noise_share=0.5),
    ),
)


def shortened(recipe: BuildRecipe, steps: int) -> BuildRecipe:
    """The same recipe with `steps` small steps a phase, to try the script itself."""
    phases = tuple(replace(phase, steps=steps, images=4) for phase in recipe.phases)
    return replace(recipe, vision_steps=steps, phases=phases)


def build(output: Path, recipe: BuildRecipe = RECIPE) -> None:
    """Train and save model, tokenizer, image processor and `training_log.jsonl`.

    Raises:
        FileExistsError: `output` holds a model already.
    """
    if (output / "config.json").exists():
        raise FileExistsError(f"{output} holds a model already; give a new folder or remove it")
    torch.manual_seed(recipe.seed)
    tokenizer = train_tokenizer()
    model = make_model(tokenizer)
    packer = Packer(tokenizer)
    started = time.monotonic()
    records = []
    total = recipe.vision_steps + sum(phase.steps for phase in recipe.phases)

    def steps() -> Iterator[dict[str, Any]]:
        yield from warm_up_vision(model, packer, recipe.vision_steps, recipe.seed)
        for phase in recipe.phases:
            yield from train_phase(model, packer, phase, recipe.seed)

    for number, record in enumerate(steps(), start=1):
        if record["step"] % LOG_EVERY == 0 or number == total:
            records.append(record | {"seconds": round(time.monotonic() - started, 1)})
            log.info("%d/%d %s", number, total, json.dumps(records[-1]))
    model.eval()
    for part in (model, tokenizer, make_image_processor()):
        part.save_pretrained(output)
    lines = [{"recipe": asdict(recipe), "threads": torch.get_num_threads()}, *records]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (output / "training_log.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="new folder for the model")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--steps", type=int, help="steps a phase, to try the script only")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(arguments.threads)
    recipe = RECIPE if arguments.steps is None else shortened(RECIPE, arguments.steps)
    build(arguments.output, recipe)


if __name__ == "__main__":
    main()
