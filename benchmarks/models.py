"""Models to measure on: Qwen2-VL of any width with random weights, and the embedded one.

Time does not depend on the values of weights and ids, only on shapes: so the weights are random,
and the tokenizer holds made-up words under Qwen2-VL's own special ids, one id a word.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from mbpo_core.models.loading import load_policy
from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
BEHIND_SPECIAL = 279
"""Rows of Qwen2-VL-2B's embedding behind the last special token; no text has them."""
CHAT_TEMPLATE = (
    "<|im_start|>{% for n in range(8) %}w{{ n }} {% endfor %}<|im_end|>w8 <|im_start|>w9 w10 "
    "<|vision_start|><|image_pad|><|vision_end|>{{ messages[0]['content'][1]['text'] }}"
    "<|im_end|>w11 {% if add_generation_prompt %}<|im_start|>w12 w13{% endif %}"
)
"""As many tokens as Qwen2-VL's template with its system prompt: 15 before the image, 6 behind."""
EMBEDDED = Path(__file__).parents[1] / "mbpo_core" / "testbed" / "model"


@dataclass(frozen=True)
class Shape:
    """Widths and depths of a Qwen2-VL; heads of the language model are 128 wide."""

    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vision_width: int = 1280
    vision_heads: int = 16
    layers: int = 28
    vision_layers: int = 32
    vocabulary: int = 151_936
    tied: bool = True

    def shallower(self, share: float) -> "Shape":
        """The same with this share of the layers (the head's share of the time then grows)."""
        return replace(
            self,
            layers=max(1, round(self.layers * share)),
            vision_layers=max(1, round(self.vision_layers * share)),
        )


QWEN2_VL_2B = Shape(hidden=1536, heads=12, kv_heads=2, intermediate=8960)
QWEN2_VL_7B = Shape(
    hidden=3584, heads=28, kv_heads=4, intermediate=18_944, vocabulary=152_064, tied=False
)
QUARTER = Shape(
    hidden=384, heads=3, kv_heads=1, intermediate=2240, vision_width=320, vision_heads=4
)
"""Qwen2-VL-2B at a quarter of its width, but for one key-value head (half would be less than one),
and at its full depth and vocabulary."""
TINY = replace(
    QUARTER, hidden=128, heads=1, intermediate=64, vision_width=32, vision_heads=2, layers=2,
    vision_layers=2, vocabulary=2048,
)  # fmt: skip
"""For tests of the benchmarks themselves."""


def words_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of words w0, w1, ... with the special tokens where Qwen2-VL has them."""
    count = vocabulary - BEHIND_SPECIAL - len(SPECIAL)
    words = {f"w{index}": index for index in range(count)}
    words |= {token: count + index for index, token in enumerate(SPECIAL)}
    core = Tokenizer(models.WordLevel(words, unk_token="w0"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL if t not in ("<|im_end|>", "<|endoftext|>")],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def random_policy(
    shape: Shape,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    attention: str = "sdpa",
    seed: int = 0,
) -> QwenVL:
    """A policy of that shape with random weights, made on the device itself."""
    tokenizer = words_tokenizer(shape.vocabulary)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    config = _config(shape, ids)
    config._attn_implementation = attention
    torch.manual_seed(seed)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen2VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(usual)
    model.generation_config.update(
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]], pad_token_id=ids["<|endoftext|>"]
    )
    return QwenVL(model.eval(), tokenizer, ImageConfig())


def embedded_policy() -> QwenVL:
    """The embedded model, trained, in float32 on the CPU."""
    return load_policy(str(EMBEDDED))


def describe(policy: QwenVL) -> str:
    """Sizes of a policy's model in one phrase."""
    config = policy.model.config
    text, vision = config.text_config, config.vision_config
    millions = sum(p.numel() for p in policy.model.parameters()) / 1e6
    return (
        f"{millions:.0f} M parameters, language {text.num_hidden_layers} x {text.hidden_size}, "
        f"vision {vision.depth} x {vision.embed_dim}, vocabulary {text.vocab_size}"
    )


def _config(shape: Shape, ids: dict[str, int]) -> Qwen2VLConfig:
    return Qwen2VLConfig(
        text_config={
            "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "max_position_embeddings": 32_768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24],
            },
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": shape.vision_layers,
            "embed_dim": shape.vision_width,
            "hidden_size": shape.hidden,
            "num_heads": shape.vision_heads,
            "mlp_ratio": 4,
        },
        tie_word_embeddings=shape.tied,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
