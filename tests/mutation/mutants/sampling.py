"""Mistakes in drawing responses: seeds, padding, end of sequence, what may be drawn (eq. 6)."""

from tests.mutation.mutants.mutant import Mutant

_SAMPLING = "mbpo_core/models/sampling.py"
_RESPONSES = "mbpo_core/responses.py"
_SEEDS = "mbpo_core/seeds.py"
_OF_SAMPLING = ("tests/mbpo_core/models/test_sampling.py",)
_OF_RESPONSES = ("tests/mbpo_core/test_responses.py",)
_OF_SEEDS = ("tests/mbpo_core/test_seeds.py",)

_PAD_LEFT = (
    "ids[row, width - len(prompt) :] = torch.tensor(prompt)\n"
    "        mask[row, width - len(prompt) :] = 1"
)

MUTANTS = (
    Mutant(
        "eos-masked-out-of-the-response",
        "the token that ends the turn is cut off: neither scored nor trained",
        _SAMPLING,
        "ids[: end + 1]",
        "ids[:end]",
        _OF_SAMPLING,
    ),
    Mutant(
        "first-eos-cut-missing",
        "what generate puts behind the first end of turn stays in the response",
        _SAMPLING,
        "list(ids[: end + 1])",
        "list(ids)",
        _OF_SAMPLING,
    ),
    Mutant(
        "one-eos-of-several",
        "only the first of the checkpoint's EOS ids ends a response",
        _SAMPLING,
        "if token in eos_ids:",
        "if token in eos_ids[:1]:",
        _OF_SAMPLING,
    ),
    Mutant(
        "prompts-padded-on-the-right",
        "generation starts behind the padding of shorter prompts",
        _SAMPLING,
        _PAD_LEFT,
        "ids[row, : len(prompt)] = torch.tensor(prompt)\n        mask[row, : len(prompt)] = 1",
        _OF_SAMPLING,
    ),
    Mutant(
        "padding-is-attended-to",
        "the attention mask of a padded prompt is all ones",
        _SAMPLING,
        "mask[row, width - len(prompt) :] = 1",
        "mask[row] = 1",
        _OF_SAMPLING,
    ),
    Mutant(
        "noise-by-place",
        "one generator serves all rows: a draw depends on the row's place in the batch",
        _SAMPLING,
        "[torch.Generator(device).manual_seed(seed) for seed in seeds]",
        "[torch.Generator(device).manual_seed(seeds[0])] * len(seeds)",
        _OF_SAMPLING,
    ),
    Mutant(
        "noise-before-the-nucleus",
        "Gumbel noise decides what top-p keeps",
        _SAMPLING,
        "processors.append(SeededGumbel(seeds, device))",
        "processors.insert(1, SeededGumbel(seeds, device))",
        _OF_SAMPLING,
    ),
    Mutant(
        "uniform-noise-instead-of-gumbel",
        "the arg max of scores plus uniform noise is no draw from the softmax",
        _SAMPLING,
        "return -(-uniform.clamp_min(torch.finfo(scores.dtype).tiny).log()).log()",
        "return uniform",
        _OF_SAMPLING,
    ),
    Mutant(
        "temperature-not-sampled-at",
        "responses are drawn at temperature 1 whatever was asked for",
        _SAMPLING,
        "TemperatureLogitsWarper(float(temperature))",
        "TemperatureLogitsWarper(1.0)",
        _OF_SAMPLING,
    ),
    Mutant(
        "nucleus-ignored",
        "top-p is never applied",
        _SAMPLING,
        "if top_p < 1:",
        "if top_p > 1:",
        _OF_SAMPLING,
    ),
    Mutant(
        "vision-ids-suppressed-in-greedy-only",
        "a sampled response may hold an image pad, which a later forward takes for an image",
        _SAMPLING,
        "LogitsProcessorList([Suppressed(suppressed, device)])",
        "LogitsProcessorList(\n"
        "        [Suppressed(suppressed, device)] if temperature == 0 else []\n"
        "    )",
        _OF_SAMPLING,
    ),
    Mutant(
        "drawn-tokens-at-one-position",
        "rotary positions stand still while a response is drawn",
        _SAMPLING,
        "position = position + 1",
        "position = position + 0",
        _OF_SAMPLING,
    ),
    Mutant(
        "drawn-in-train-mode",
        "the model draws in train mode, with whatever dropout it has",
        _SAMPLING,
        "    model.eval()\n",
        "    model.train()\n",
        ("tests/mbpo_core/models/test_policy_properties.py",),
    ),
    Mutant(
        "first-finished-row-ends-all",
        "generation stops as soon as one row of the batch has ended",
        _SAMPLING,
        "bool(finished.all())",
        "bool(finished.any())",
        _OF_SAMPLING,
    ),
    Mutant(
        "seed-by-position",
        "the seed of a draw comes from the row's place, not from its sample id",
        _RESPONSES,
        "[attempt_seed(run_seed, row.sample_id, purpose, attempt) for row in tried]",
        "[attempt_seed(run_seed, str(place), purpose, attempt) for place in range(len(tried))]",
        _OF_RESPONSES,
    ),
    Mutant(
        "every-attempt-draws-the-same",
        "the attempt is left out of the seed: a refused response comes again",
        _RESPONSES,
        "row.sample_id, purpose, attempt)",
        "row.sample_id, purpose, 0)",
        _OF_RESPONSES,
    ),
    Mutant(
        "rejected-drawn-under-the-clean-image",
        "y_l is sampled under the clean image: nothing of the attack enters it",
        _RESPONSES,
        "[row.negative for row in tried]",
        "[row.clean for row in tried]",
        _OF_RESPONSES,
    ),
    Mutant(
        "floor-measured-under-the-negative-image",
        "a response is called plausible by the image that misled the model",
        _RESPONSES,
        "clean = to_units([row.clean for row in rows], policy.device)",
        "clean = to_units([row.negative for row in rows], policy.device)",
        _OF_RESPONSES,
    ),
    Mutant(
        "unmeasured-response-passes-the-floor",
        "a mean log-probability that is not a number is taken for plausible",
        _RESPONSES,
        "return None if mean_logp >= rules.min_mean_logp else IMPLAUSIBLE",
        "return IMPLAUSIBLE if mean_logp < rules.min_mean_logp else None",
        _OF_RESPONSES,
    ),
    Mutant(
        "clean-and-negative-scores-swapped",
        "log-probabilities under the clean and the negative image stand in each other's column",
        _RESPONSES,
        "to_units(clean, policy.device),\n"
        "        to_units([row.negative for row in rows], policy.device),\n",
        "to_units([row.negative for row in rows], policy.device),\n"
        "        to_units(clean, policy.device),\n",
        _OF_RESPONSES,
    ),
    Mutant(
        "equal-to-chosen-compared-letter-by-letter",
        "the chosen response with another capital or full stop becomes its own rejected one",
        _RESPONSES,
        "if normalised(text) == normalised(chosen):",
        "if text == chosen:",
        _OF_RESPONSES,
    ),
    Mutant(
        "seed-without-purpose",
        "draws for different purposes share their random numbers",
        _SEEDS,
        "parts = [run_seed, sample_id, purpose, *extra]",
        "parts = [run_seed, sample_id, *extra]",
        _OF_SEEDS,
    ),
    Mutant(
        "seed-parts-run-together",
        "('a', 'bc') and ('ab', 'c') give the same seed",
        _SEEDS,
        "json.dumps(parts)",
        "''.join(map(str, parts))",
        _OF_SEEDS,
    ),
)
