"""Benchmarks asked of a policy that is being trained: greedy answers, scored at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mbpo_core.evaluation.metrics import metrics
from mbpo_core.evaluation.protocol import Answer, Benchmark, Blocks, Question, Score
from mbpo_core.models.preprocessing import to_units
from mbpo_core.models.protocol import Policy

DRAWS = 200
"""Resamples of the intervals: a curve needs no more."""


@dataclass(frozen=True)
class BenchmarkProbe:
    """The questions of one benchmark that are asked again and again."""

    benchmark: Benchmark
    blocks: Blocks
    questions: Sequence[Question]
    images: Sequence[Tensor | None]
    """uint8 `[3, H, W]`, one a question; None where there is none, and so no answer."""
    max_new_tokens: int
    at_once: int = 16
    """Questions answered at once; memory, not results."""

    @torch.no_grad()
    def measure(self, policy: Policy) -> list[dict[str, Any]]:
        """Return the figures of the policy as it is now.

        Returns:
            Rows with benchmark, kind, metric, value, n, low and high (95 % interval).
        """
        ready = [i for i, image in enumerate(self.images) if image is not None]
        said: dict[int, tuple[str, bool]] = {}
        for start in range(0, len(ready), self.at_once):
            part = ready[start : start + self.at_once]
            said |= dict(zip(part, self._answers(policy, part), strict=True))
        answers = [self._scored(i, said.get(i)) for i in range(len(self.questions))]
        return [
            {"benchmark": m.benchmark, "kind": m.kind, "metric": m.metric,
             "value": m.estimate.value, "n": m.estimate.n, "low": m.estimate.low,
             "high": m.estimate.high}
            for m in metrics(answers, self.blocks, draws=DRAWS, seed=0)
        ]  # fmt: skip

    def _answers(self, policy: Policy, part: Sequence[int]) -> list[tuple[str, bool]]:
        images = [image for i in part if (image := self.images[i]) is not None]
        prompts = [
            policy.prompt_ids(self.questions[i].prompt, *image.shape[1:])
            for i, image in zip(part, images, strict=True)
        ]
        sampled = policy.sample(
            prompts, to_units(images, policy.device), [0] * len(part),  # greedy: nothing is drawn
            temperature=0.0, top_p=1.0, max_new_tokens=self.max_new_tokens,
        )  # fmt: skip
        return [(policy.decode(answer.ids), answer.finished) for answer in sampled]

    def _scored(self, index: int, said: tuple[str, bool] | None) -> Answer:
        question = self.questions[index]
        text, finished = said or ("", None)
        score = Score(reason="not_asked") if said is None else self.benchmark.score(question, text)
        return Answer(
            "policy", question.benchmark, question.question_id, question.kind,
            question.unit or question.question_id, text, score, finished=finished,
        )  # fmt: skip
