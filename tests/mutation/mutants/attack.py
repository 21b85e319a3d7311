"""Mistakes in the attack (eq. 5), its lattice and what is recorded of it."""

from tests.mutation.mutants.mutant import Mutant

_PGD = "mbpo_core/mining/pgd.py"
_ATTACK = "mbpo_core/mining/attack.py"
_STEPS = "tests/mbpo_core/mining/test_steps.py"
_ON_TOYS = ("tests/mbpo_core/mining/test_pgd.py", _STEPS)
_ON_A_MODEL = ("tests/mbpo_core/mining/test_attack.py", _STEPS)

_STEP = "(self.point - units * gradient.sign()).clamp(self.low, self.high)"
_BALL = "low, high = (clean - units).clamp(min=0), (clean + units).clamp(max=LEVELS)"

MUTANTS = (
    Mutant(
        "attack-sign-flipped",
        "PGD ascends: the image is made to support the chosen response",
        _PGD,
        _STEP,
        "(self.point + units * gradient.sign()).clamp(self.low, self.high)",
        _ON_TOYS,
    ),
    Mutant(
        "epsilon-clip-dropped",
        "iterates leave the epsilon ball and are held in the pixel range only",
        _PGD,
        _STEP,
        "(self.point - units * gradient.sign()).clamp(0, LEVELS)",
        _ON_TOYS,
    ),
    Mutant(
        "range-clip-dropped",
        "iterates leave 0..255 and wrap around when they are stored",
        _PGD,
        _BALL,
        "low, high = clean - units, clean + units",
        _ON_TOYS,
    ),
    Mutant(
        "projected-to-previous-iterate",
        "the ball is drawn around the previous iterate: reach grows with every step",
        _PGD,
        _STEP,
        "(self.point - units * gradient.sign()).clamp("
        "self.point - self.clean + self.low, self.point - self.clean + self.high)"
        ".clamp(0, LEVELS)",
        _ON_TOYS,
    ),
    Mutant(
        "epsilon-in-normalised-space",
        "epsilon is taken for a distance after normalisation: the ball is std times too small",
        _PGD,
        _BALL,
        "std = torch.tensor((0.26862954, 0.26130258, 0.27577711))[:, None, None]\n"
        "        low = (clean - (units * std).round()).clamp(min=0)\n"
        "        high = (clean + (units * std).round()).clamp(max=LEVELS)",
        _ON_TOYS,
    ),
    Mutant(
        "truncating-save",
        "clean + delta in [0, 1] times 255 is truncated to 8 bit: some pixels lose a level",
        _PGD,
        "adversarial=point.to(torch.uint8) if",
        "adversarial=((self.clean / LEVELS + (point - self.clean) / LEVELS) * LEVELS)"
        ".to(torch.uint8)\n            if",
        _ON_TOYS,
    ),
    Mutant(
        "gradient-not-reduced-to-its-sign",
        "steepest descent in L2 instead of L-inf: only the largest gradient moves a full step",
        _PGD,
        "units * gradient.sign()",
        "(units * gradient / gradient.abs().max()).round()",
        _ON_TOYS,
    ),
    Mutant(
        "epsilon-per-sample-ignored",
        "all samples of a batch get the configured radius",
        _PGD,
        "if epsilons is None else epsilons",
        "",
        _ON_TOYS,
    ),
    Mutant(
        "one-step-too-many",
        "the last iterate is updated once more after it was measured",
        _PGD,
        "for _ in range(config.steps):",
        "for _ in range(config.steps + 1):",
        _ON_TOYS,
    ),
    Mutant(
        "zeros-for-a-broken-gradient",
        "a gradient that is not finite becomes zeros: the pixel silently stands still",
        _PGD,
        "if not gradient.isfinite().all():\n"
        "            self.status = NONFINITE_GRADIENT\n"
        "            return\n",
        "gradient = gradient.nan_to_num(0.0, 0.0, 0.0)\n",
        _ON_TOYS,
    ),
    Mutant(
        "float32-retry-for-all",
        "one broken gradient replaces those of the whole batch",
        _PGD,
        "for index in broken:\n        attacks[index].retried = True\n        found",
        "for index in range(len(attacks)):\n        attacks[index].retried = True\n        found",
        _ON_TOYS,
    ),
    Mutant(
        "broken-value-not-retried",
        "only the gradient is looked at when a step is checked, not the log-probability",
        _PGD,
        "return math.isfinite(value) and bool(gradient.isfinite().all())",
        "return bool(gradient.isfinite().all())",
        _ON_TOYS,
    ),
    Mutant(
        "best-is-last",
        "`iterate=best` stores the last iterate under the figures of the best",
        _PGD,
        'point = self.best if iterate == "best" else self.point',
        "point = self.point",
        _ON_TOYS,
    ),
    Mutant(
        "best-is-the-last-of-equals",
        "of equal minima the later image is stored, the earlier one recorded",
        _PGD,
        "value < min(self.trace)",
        "value <= min(self.trace)",
        _ON_TOYS,
    ),
    Mutant(
        "best-paired-with-next-iterate",
        "a log-probability is noted beside the image after the step, not the one it is of",
        _PGD,
        "            if attack.status == OK:\n"
        "                attack.record(value)\n"
        "            if attack.status == OK:\n"
        "                attack.step(gradient, units)\n",
        "            if attack.status == OK:\n"
        "                attack.step(gradient, units)\n"
        "            if attack.status == OK:\n"
        "                attack.record(value)\n",
        _ON_TOYS,
    ),
    Mutant(
        "parameters-trained-in-the-attack",
        "gradients of the weights are computed too: a third more work and memory",
        _ATTACK,
        "with policy.frozen():",
        "with torch.enable_grad():",
        _ON_A_MODEL,
    ),
    Mutant(
        "attack-on-the-mean",
        "figures of the attack are means per token, not the sum over the chosen response",
        _ATTACK,
        "torch.stack([values.double().sum()",
        "torch.stack([values.double().mean()",
        _ON_A_MODEL,
    ),
    Mutant(
        "blank-figure-of-the-clean-image",
        "recovered shares are measured against the clean image instead of the blank one",
        _ATTACK,
        "(blanks(clean)).tolist()",
        "([to_unit(image) for image in clean]).tolist()",
        _ON_A_MODEL,
    ),
    Mutant(
        "share-from-the-last-iterate",
        "the recovered share starts at the negative image's figure: always 0",
        _ATTACK,
        "recovered_share(trace[0], after",
        "recovered_share(trace[-1], after",
        _ON_A_MODEL,
    ),
    Mutant(
        "figure-of-the-best-for-the-last",
        "`iterate=last` reports the best log-probability of the trace as that of its image",
        _ATTACK,
        "logp_negative=trace[result.chosen_step]",
        "logp_negative=min(trace)",
        _ON_A_MODEL,
    ),
    Mutant(
        "clean-image-left-unread",
        "the negative is scored as the clean image: figures after re-reading are those before",
        _ATTACK,
        "image if png is None else decode_png(png)",
        "image",
        _ON_A_MODEL,
    ),
)
