"""The testbed's tokenizer: byte-level BPE over its own small language, shaped like Qwen's.

Special tokens, pre-tokenisation, chat template and padding are those of Qwen2-VL, so that whatever
works with this tokenizer works with the real one; only the merges are few. Any text can be encoded.
"""

import json
import random
from collections.abc import Iterator
from typing import Final

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from mbpo_core.testbed.questions import QUESTION_KINDS, ask
from mbpo_core.testbed.scenes import make_scene

END_OF_TEXT: Final = "<|endoftext|>"
END_OF_TURN: Final = "<|im_end|>"
IMAGE_PAD: Final = "<|image_pad|>"
SPECIAL_TOKENS: Final = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    IMAGE_PAD,
    "<|video_pad|>",
)
SYSTEM_PROMPT: Final = "You are a helpful assistant."

CHAT_TEMPLATE: Final = (
    """\
{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
{{- '<|im_start|>system\\n"""
    + SYSTEM_PROMPT
    + """<|im_end|>\\n' -}}
{%- endif -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for item in message.content -%}
{%- if item.type == 'image' or 'image' in item or 'image_url' in item -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif item.type == 'video' or 'video' in item -%}
{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}
{%- elif 'text' in item -%}
{{- item.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
)

_CORPUS_SCENES: Final = 600
_MAX_LENGTH: Final = 2048


def corpus() -> Iterator[str]:
    """Text that holds every word of the language, the same at every call."""
    yield f"system\n{SYSTEM_PROMPT}"
    yield "user\n"
    yield "assistant\n"
    rng = random.Random(0)
    for index in range(_CORPUS_SCENES):
        scene = make_scene("base", index, typical_share=1 / 6)
        for kind in QUESTION_KINDS:
            question = ask(scene, kind, rng)
            yield question.text
            yield question.answer


def train_tokenizer() -> Qwen2Tokenizer:
    """A tokenizer in which every word of the language is one token; ends with the special tokens.

    Deterministic: the vocabulary is the 256 bytes, the merges of `corpus`, the special tokens.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=4096,  # an upper bound: merging ends when every word is one token
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus(), trainer)
    learned = Qwen2Tokenizer(
        vocab=bpe.get_vocab(),
        merges=_merges(bpe),
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        unk_token=None,
        model_max_length=_MAX_LENGTH,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )
    learned.add_special_tokens(
        {"additional_special_tokens": [AddedToken(token, special=True) for token in SPECIAL_TOKENS]}
    )
    return learned


def _merges(bpe: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
