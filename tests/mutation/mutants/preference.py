"""Mistakes in the losses of pairs and of several rejected responses."""

from tests.mutation.mutants.mutant import Mutant

_DPO = "mbpo_core/objectives/dpo.py"
_SEQUENCE = "mbpo_core/objectives/sequence.py"
_PLACKETT_LUCE = "mbpo_core/objectives/plackett_luce.py"
_HALF = "tests/mbpo_core/objectives/test_half_precision.py"
_OF_DPO = ("tests/mbpo_core/objectives/test_dpo.py", _HALF)
_OF_PLACKETT_LUCE = ("tests/mbpo_core/objectives/test_plackett_luce.py", _HALF)

MUTANTS = (
    Mutant(
        "dpo-without-reference",
        "implicit rewards are plain log-probabilities: nothing holds the policy back",
        _DPO,
        "(at_least_float32(logps) - at_least_float32(reference.detach()))",
        "at_least_float32(logps)",
        _OF_DPO,
    ),
    Mutant(
        "dpo-without-beta",
        "the pull to the reference has the strength 1 whatever was set",
        _DPO,
        "return beta * (",
        "return 1.0 * (",
        _OF_DPO,
    ),
    Mutant(
        "dpo-gradient-into-the-reference",
        "the reference is moved too",
        _DPO,
        "reference.detach()",
        "reference",
        _OF_DPO,
    ),
    Mutant(
        "dpo-sides-swapped",
        "the rejected response is preferred",
        _DPO,
        "-logsigmoid(at_least_float32(preferred) - at_least_float32(other))",
        "-logsigmoid(at_least_float32(other) - at_least_float32(preferred))",
        _OF_DPO,
    ),
    Mutant(
        "dpo-in-half-precision",
        "implicit rewards are differences taken in bfloat16",
        _SEQUENCE,
        "torch.promote_types(values.dtype, torch.float32)",
        "values.dtype",
        _OF_DPO,
    ),
    Mutant(
        "last-place-for-the-chosen",
        "the last of the rejected responses is trained as the chosen one",
        _PLACKETT_LUCE,
        "dim=-1)[..., 0]",
        "dim=-1)[..., -1]",
        _OF_PLACKETT_LUCE,
    ),
    Mutant(
        "softmax-over-the-batch",
        "candidates compete with those of other groups",
        _PLACKETT_LUCE,
        "torch.log_softmax(at_least_float32(rewards), dim=-1)",
        "torch.log_softmax(at_least_float32(rewards), dim=0)",
        _OF_PLACKETT_LUCE,
    ),
    Mutant(
        "softmax-over-the-rejected-alone",
        "the chosen reward is left out of the denominator: the loss has no lower bound",
        _PLACKETT_LUCE,
        "return -torch.log_softmax(at_least_float32(rewards), dim=-1)[..., 0]",
        "return torch.logsumexp(rewards[..., 1:], dim=-1) - rewards[..., 0]",
        _OF_PLACKETT_LUCE,
    ),
)
