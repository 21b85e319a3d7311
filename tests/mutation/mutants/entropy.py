"""Mistakes in the entropy of the policy's own answers (MFPO, easy to hard)."""

from tests.mutation.mutants.mutant import Mutant

_QWEN = "mbpo_core/models/qwen_vl.py"
_ENTROPY = "mbpo_core/answer_entropy.py"
_OF_TOKENS = ("tests/mbpo_core/exact/test_entropies.py",)
_OF_ANSWERS = ("tests/mbpo_core/exact/test_answer_entropy.py",)

MUTANTS = (
    Mutant(
        "half-precision-entropy",
        "the probabilities of a bfloat16 model are rounded to bfloat16",
        _QWEN,
        "torch.softmax(logits, dim=-1)",
        "torch.softmax(logits, dim=-1).to(self.dtype).to(logits.dtype)",
        _OF_TOKENS,
    ),
    Mutant(
        "entropy-averaged-over-the-vocabulary",
        "the terms of a token's entropy are averaged, not summed",
        _QWEN,
        ".sum(dim=-1)[index]",
        ".mean(dim=-1)[index]",
        _OF_TOKENS,
    ),
    Mutant(
        "entropies-in-order-of-rows",
        "entropies are read as if rows lay in the packed sequence in the order given",
        _QWEN,
        ".sum(dim=-1)[index]",
        ".sum(dim=-1)[torch.arange(len(index)) % logits.shape[-2]]",
        _OF_TOKENS,
    ),
    Mutant(
        "entropy-of-the-chosen-response",
        "the entropy is that of the data set's response, not of the policy's own answer",
        _ENTROPY,
        "[answer.ids for answer in answers]",
        "[row.response for row in rows]",
        _OF_ANSWERS,
    ),
    Mutant(
        "entropy-of-a-drawn-answer",
        "the answer is drawn at temperature 1 instead of greedily",
        _ENTROPY,
        "temperature=0.0,",
        "temperature=1.0,",
        _OF_ANSWERS,
    ),
    Mutant(
        "entropy-is-a-sum",
        "the entropy is not divided by the number of tokens: long answers are hard",
        _ENTROPY,
        "values.double().mean()",
        "values.double().sum()",
        _OF_ANSWERS,
    ),
)
