"""Mistakes in the losses of pairs and of several rejected responses."""

from tests.mutation.mutants.mutant import Mutant

_DPO = "mbpo_core/objectives/dpo.py"
_SEQUENCE = "mbpo_core/objectives/sequence.py"
_PLACKETT_LUCE = "mbpo_core/objectives/plackett_luce.py"
_PREFERENCE = "mbpo_core/objectives/preference.py"
_RANKING = "mbpo_core/objectives/ranking.py"
_SFT = "mbpo_core/objectives/sft.py"
_HALF = "tests/mbpo_core/objectives/test_half_precision.py"
_OF_DPO = ("tests/mbpo_core/objectives/test_dpo.py", _HALF)
_OF_PLACKETT_LUCE = ("tests/mbpo_core/objectives/test_plackett_luce.py", _HALF)
_OF_PREFERENCE = ("tests/mbpo_core/objectives/test_preference.py",)
_OF_SFT = ("tests/mbpo_core/objectives/test_sft.py",)
_OF_ALL = ("tests/mbpo_core/objectives/test_contract.py",)

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
    Mutant(
        "rejected-text-for-rejected-image",
        "the text loss is taken against the rejected image and the image loss against the text",
        _RANKING,
        '{"rejected": "text", "rejected_image": "image"}',
        '{"rejected": "image", "rejected_image": "text"}',
        _OF_PREFERENCE,
    ),
    Mutant(
        "rewards-of-roles-for-groups",
        "the rows of a micro-batch are read as if all chosen ones came first",
        _RANKING,
        "rewards.reshape(len(groups), len(roles))",
        "rewards.reshape(len(roles), len(groups)).T",
        _OF_PREFERENCE,
    ),
    Mutant(
        "equal-rewards-are-won",
        "a pair with equal rewards counts as ranked rightly",
        _RANKING,
        "torch.gt(",
        "torch.ge(",
        _OF_PREFERENCE,
    ),
    Mutant(
        "weights-of-the-losses-ignored",
        "every loss that has a weight counts once",
        _PREFERENCE,
        "getattr(self, name) * each",
        "each",
        _OF_PREFERENCE,
    ),
    Mutant(
        "margin-on-the-wrong-side",
        "the chosen reward is kept above minus eta",
        _PREFERENCE,
        "chosen.new_tensor(self.eta)",
        "chosen.new_tensor(-self.eta)",
        _OF_PREFERENCE,
    ),
    Mutant(
        "preference-mean-of-the-micro-batch",
        "the preference loss is divided by the micro-batch's own groups, not by the step's",
        _PREFERENCE,
        "divide_once(total.sum(), counts.samples)",
        "divide_once(total.sum(), len(groups))",
        _OF_ALL,
    ),
    Mutant(
        "adaptive-weights-with-the-chosen-one",
        "the logged weights of the rejected are their shares of all three",
        _PLACKETT_LUCE,
        "torch.softmax(at_least_float32(rewards)[..., 1:], dim=-1)",
        "torch.softmax(at_least_float32(rewards), dim=-1)[..., 1:]",
        ("tests/mbpo_core/objectives/test_plackett_luce.py",),
    ),
    Mutant(
        "likelihood-per-response",
        "the likelihood is summed over tokens and averaged over responses, not over tokens",
        _SFT,
        "counts.tokens",
        "counts.samples",
        _OF_SFT,
    ),
    Mutant(
        "responses-summed-in-half-precision",
        "log-probabilities of a response are added up in bfloat16",
        _SEQUENCE,
        "at_least_float32(row).sum()",
        "row.sum()",
        _OF_ALL,
    ),
)
