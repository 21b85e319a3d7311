"""Drawing responses: tokens a second, our loop against transformers' `generate`.

    python -m benchmarks.bench_sample

Eight responses to one question (the rollouts of an online group), then one response to each of
eight questions, on a Qwen2-VL of a quarter of the 2B's width and on the embedded model. Both draw
as many tokens: a row's end is not looked for. Both encode the image.
"""

import argparse
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial

import torch
from torch import Tensor
from transformers import GenerationConfig

from benchmarks.baselines import model_inputs
from benchmarks.measure import (
    best_batch,
    clock,
    in_turn,
    medians,
    peak_memory_mib,
    print_figures,
    print_ratio,
    ratio,
)
from benchmarks.models import QUARTER, describe, embedded_policy, random_policy
from benchmarks.rows import embedded_rows, lengths_of, made_rows
from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.protocol import PromptedResponse
from mbpo_core.models.qwen_vl import QwenVL
from mbpo_core.models.sampling import left_pad

ROWS = 8
TEMPERATURE, TOP_P = 1.0, 0.95


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    print_figures("machine", threads=options.threads, torch=torch.__version__)
    policy = random_policy(options.shape.shallower(options.depth_share))
    print_figures("model quarter", sizes=describe(policy))
    one = made_rows(policy, images=1, turns=1, side=options.side)
    compare("sample_one_question", policy, one * ROWS, options)
    compare("sample_questions", policy,
            made_rows(policy, images=ROWS, turns=1, side=options.side), options)  # fmt: skip
    print_figures("memory", peak_mib=peak_memory_mib())
    small = embedded_policy()
    print_figures("model embedded", sizes=describe(small))
    compare("embedded_one_question", small, embedded_rows(small, images=1, turns=1) * ROWS, options)
    compare("embedded_questions", small, embedded_rows(small, images=ROWS, turns=1), options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--side", type=int, default=336, help="of an image, in pixels")
    found.add_argument("--tokens", type=int, default=55, help="drawn for every row")
    found.add_argument("--depth-share", type=float, default=1.0, help="below 1: a quick look")
    found.add_argument("--threads", type=int, default=1)
    found.set_defaults(shape=QUARTER)
    return found


def compare(
    name: str, policy: QwenVL, rows: list[PromptedResponse], options: argparse.Namespace
) -> None:
    """Check that greedy answers are the same, then time both ways of drawing in turn."""
    policy = copy(policy)
    policy.eos_ids = ()  # no row ends before the others
    now, tokens = clock(policy.device), options.tokens
    greedy = ours(policy, rows, tokens, temperature=0.0)
    sizes = sorted({1, len(rows) // 2, len(rows)})
    for size in sizes:
        agree(name, greedy, generated(policy, rows, tokens, size, temperature=0.0), size)
    drawn: Callable[[int], object] = partial(generated, policy, rows, tokens)
    size = best_batch(drawn, sizes, now)
    taken = in_turn(
        {"ours": lambda: ours(policy, rows, tokens), "generate": lambda: drawn(size)},
        options.rounds,
        now,
        warm=False,
    )
    median = medians(taken)
    print_figures(
        name,
        **lengths_of(policy, rows),
        drawn_tokens=tokens,
        rounds=options.rounds,
        ours_tokens_per_s=len(rows) * tokens / median["ours"],
        generate_tokens_per_s=len(rows) * tokens / median["generate"],
        generate_batch=f"{size} of {sizes}",
    )
    print_ratio(name, ratio(taken, "generate", "ours"))


def ours(
    policy: QwenVL,
    rows: Sequence[PromptedResponse],
    tokens: int,
    *,
    temperature: float = TEMPERATURE,
) -> list[list[int]]:
    """As the stages draw: one seed a row."""
    found = policy.sample(
        [row.prompt for row in rows], to_units([row.image for row in rows]), range(len(rows)),
        temperature=temperature, top_p=TOP_P, max_new_tokens=tokens,
    )  # fmt: skip
    return [row.ids for row in found]


@torch.no_grad()
def generated(
    policy: QwenVL,
    rows: Sequence[PromptedResponse],
    tokens: int,
    size: int,
    *,
    temperature: float = TEMPERATURE,
) -> list[list[int]]:
    """`generate` in batches of a size, with a cache, padded on the left."""
    settings = GenerationConfig(
        max_new_tokens=tokens, suppress_tokens=policy.suppressed, pad_token_id=policy.pad_id,
        eos_token_id=None, repetition_penalty=1.0, do_sample=temperature > 0,
        **({"temperature": temperature, "top_p": TOP_P, "top_k": 0} if temperature else {}),
    )  # fmt: skip
    policy.model.generation_config = settings  # nothing of the checkpoint's own
    found: list[list[int]] = []
    for start in range(0, len(rows), size):
        inputs = prompts_of(policy, rows[start : start + size])
        output = policy.model.generate(**inputs, generation_config=settings)
        found += output[:, inputs["input_ids"].shape[1] :].tolist()
    return found


def prompts_of(policy: QwenVL, rows: Sequence[PromptedResponse]) -> dict[str, Tensor]:
    """What `generate` takes for these prompts."""
    inputs = model_inputs(policy, rows, to_units([row.image for row in rows]))
    ids, mask = left_pad([row.prompt for row in rows], policy.pad_id)
    ids = ids.to(policy.device)
    return {
        **inputs,
        "input_ids": ids,
        "attention_mask": mask.to(policy.device),
        "mm_token_type_ids": (ids == policy.image_token_id).int(),
    }


def agree(name: str, ours: list[list[int]], theirs: list[list[int]], size: int) -> None:
    """Nothing is timed before both answer alike. Errors: ValueError where they do not.

    An untrained model's best two words can be closer than rounding moves them, so one row in
    eight may go another way.
    """
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    if same < len(ours) - len(ours) // 8:
        raise ValueError(f"{name}: {same} of {len(ours)} greedy answers agree with generate's")
    print_figures(f"equal {name}", greedy_answers=f"{same} of {len(ours)}", generate_batch=size)


if __name__ == "__main__":
    main()
