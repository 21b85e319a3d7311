"""The measured modality imbalance of the embedded model.

`python -m mbpo_core.testbed.measure --model DIR` answers the questions of dev and test greedily,
once where every colour is typical and once where none is, and writes `measurement.json` beside
the weights. Images go through the model's own image processor,
prompts through its chat template; the answers are those of `generate`.
"""

import argparse
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AutoTokenizer, Qwen2Tokenizer, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mbpo_core.testbed.captions import hallucinated, mentions
from mbpo_core.testbed.language import IMAGE_PAD
from mbpo_core.testbed.network import TOKENS_PER_IMAGE, image_grid
from mbpo_core.testbed.questions import CLOSED_KINDS, QUESTION_KINDS, Question
from mbpo_core.testbed.scenes import COLORS, TYPICAL_SHARE, Flavour, Scene, draw
from mbpo_core.testbed.world import ONLINE_KINDS, POOL_KINDS, Split, asked, scenes

log = logging.getLogger(__name__)

Item = tuple[Scene, Question]
N_SCENES: Final = 300
POOL_SCENES: Final = 120
ROLLOUTS: Final = 8
BATCH: Final = 128
MAX_NEW_TOKENS: Final = 40


def _batched(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


class Examinee:
    """The saved model, its tokenizer and its image processor."""

    def __init__(self, folder: Path) -> None:
        """Load the folder that `build` wrote."""
        self.tokenizer: Qwen2Tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False
        )
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True
        ).eval()
        self.image_processor = Qwen2VLImageProcessorPil.from_pretrained(folder)

    def prompt(self, question: Question) -> list[int]:
        """Token ids of the chat prompt, image tokens expanded."""
        content = [{"type": "image"}, {"type": "text", "text": question.text}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return self.tokenizer(text.replace(IMAGE_PAD, IMAGE_PAD * TOKENS_PER_IMAGE)).input_ids

    def pixel_values(self, items: Iterable[Item], *, blank: bool = False) -> Tensor:
        """Patches of the items' images (or of black ones) by the model's image processor."""
        images = [draw(scene) for scene, _ in items]
        if blank:
            images = [image.point(lambda _: 0) for image in images]
        return self.image_processor(images=images, return_tensors="pt").pixel_values

    def inputs(self, ids: Tensor, pixel_values: Tensor) -> dict[str, Tensor]:
        """The arguments of `forward` and `generate` for prompts of one length."""
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == self.model.config.image_token_id).int(),
            "pixel_values": pixel_values,
            "image_grid_thw": image_grid(len(ids)),
        }

    @torch.no_grad()
    def answer(self, items: Sequence[Item], *, sample: bool = False) -> list[str]:
        """One answer an item, greedy or sampled at temperature 1, in the order of the items."""
        answers = [""] * len(items)
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for number, (_, question) in enumerate(items):
            ids = self.prompt(question)
            by_length.setdefault(len(ids), []).append((number, ids))
        # Equal lengths only, so that nothing is padded.
        for group in by_length.values():
            for chunk in _batched(group, BATCH):
                ids = torch.tensor([ids for _, ids in chunk])
                chosen = [items[number] for number, _ in chunk]
                # Sampling fields only when they apply: greedy search warns about them.
                sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": 0} if sample else {}
                output = self.model.generate(
                    **self.inputs(ids, self.pixel_values(chosen)),
                    max_new_tokens=MAX_NEW_TOKENS,
                    do_sample=sample,
                    **sampling,
                )
                texts = self.tokenizer.batch_decode(
                    output[:, ids.shape[1] :], skip_special_tokens=True
                )
                for (number, _), text in zip(chunk, texts, strict=True):
                    answers[number] = text.strip()
        return answers

    @torch.no_grad()
    def information_gain(self, item: Item) -> float:
        """`lp(answer | image) - lp(answer | black image)`, mean over answer tokens, nats."""
        prompt = self.prompt(item[1])
        answer = self.tokenizer(item[1].answer).input_ids
        ids = torch.tensor([prompt + answer])
        logps = []
        for blank in (False, True):
            inputs = self.inputs(ids, self.pixel_values([item], blank=blank))
            logits = self.model(**inputs).logits[0, len(prompt) - 1 : -1]
            picked = logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])
            logps.append(picked.mean().item())
        return logps[0] - logps[1]


def is_right(question: Question, answer: str) -> bool:
    """Whether an answer says the gold.

    Closed kinds: the verdict at its start; colour: its only colour word; else the whole answer.
    """
    if question.kind == "choice":
        return bool(re.match(rf"{question.gold}\b", answer))
    if question.kind in CLOSED_KINDS:
        return bool(re.match(rf"{question.gold}\b", answer, re.IGNORECASE))
    if question.kind == "color":
        return set(re.findall(rf"\b(?:{'|'.join(COLORS)})\b", answer.lower())) == {question.gold}
    return answer == question.answer


def _share(flags: Iterable[bool]) -> dict[str, float | int]:
    counted = [bool(flag) for flag in flags]
    return {"n": len(counted), "share": round(sum(counted) / len(counted), 4)}


def measure_flavour(
    examinee: Examinee, split: Split, flavour: Flavour, n_scenes: int, seed: int = 0
) -> dict[str, Any]:
    """Accuracy by kind, CHAIR, and yes-rate (of golds and of answers) on one evaluation set."""
    drawn = scenes(split, n_scenes, seed=seed, flavour=flavour)
    items = [item for scene in drawn for item in asked(scene, QUESTION_KINDS, seed)]
    answered = list(zip(items, examinee.answer(items), strict=True))
    captions = [(a, s.truth()) for (s, q), a in answered if q.kind == "describe"]
    wrong = [hallucinated(text, truth) for text, truth in captions]
    n_mentions = sum(len(mentions(text)) for text, _ in captions)
    yes_no = [(q, a) for (_, q), a in answered if q.kind in ("existence", "attribute")]
    return {
        "accuracy": {
            kind: _share(is_right(q, a) for (_, q), a in answered if q.kind == kind)
            for kind in QUESTION_KINDS
        },
        "chair_i": {"n": n_mentions, "share": round(sum(map(len, wrong)) / n_mentions, 4)},
        "chair_s": _share(bool(found) for found in wrong),
        "yes_rate": {
            "gold": _share(q.gold == "yes" for q, _ in yes_no),
            "answers": _share(a.lower().startswith("yes") for _, a in yes_no),
        },
    }


def measure_pool(examinee: Examinee, n_scenes: int, seed: int = 0) -> dict[str, Any]:
    """What preference training starts from: information gain and variety of rewards on the pool."""
    items = [i for scene in scenes("pool", n_scenes, seed=seed) for i in asked(scene, POOL_KINDS)]
    torch.manual_seed(seed)
    result: dict[str, Any] = {"iig_mean": {}, "sampled": {}}
    for kind in POOL_KINDS:
        chosen = [item for item in items if item[1].kind == kind]
        gains = torch.tensor([examinee.information_gain(item) for item in chosen])
        repeated = [item for item in chosen for _ in range(ROLLOUTS)]
        answers = examinee.answer(repeated, sample=True)
        right = [is_right(q, a) for (_, q), a in zip(repeated, answers, strict=True)]
        groups = [sum(group) for group in _batched(right, ROLLOUTS)]
        result["iig_mean"][kind] = {
            "n": len(gains),
            "mean": round(gains.mean().item(), 4),
            "std": round(gains.std().item(), 4),
        }
        result["sampled"][kind] = _share(right) | {
            "mixed_groups": round(sum(0 < n < ROLLOUTS for n in groups) / len(groups), 4)
        }
    return result


def measure(folder: Path, n_scenes: int = N_SCENES, pool_scenes: int = POOL_SCENES) -> dict:
    """Everything that `measurement.json` holds."""
    examinee = Examinee(folder)
    return {
        "parameters": examinee.model.num_parameters(),
        "decoding": "greedy, one answer a question",
        "scenes": n_scenes,
        "splits": {
            split: {f: measure_flavour(examinee, split, f, n_scenes) for f in TYPICAL_SHARE}
            for split in ("dev", "test")
        },
        "pool": {"rollouts": ROLLOUTS, **measure_pool(examinee, pool_scenes)},
        "online_kinds": list(ONLINE_KINDS),
        "left_out_of_online": [kind for kind in CLOSED_KINDS if kind not in ONLINE_KINDS],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder that build wrote")
    parser.add_argument("--scenes", type=int, default=N_SCENES, help="scenes a set")
    parser.add_argument("--pool-scenes", type=int, default=POOL_SCENES, help="scenes of the pool")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    result = measure(arguments.model, arguments.scenes, arguments.pool_scenes)
    path = arguments.model / "measurement.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    log.info("wrote %s", path)


if __name__ == "__main__":
    main()
