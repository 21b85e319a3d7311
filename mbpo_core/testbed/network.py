"""The embedded model: a genuine Qwen2-VL with few parameters, and a fast forward to train it with.

Transformers runs the vision attention image by image and repeats the prompt for each question. Here
all images have the same size and several questions share one image, so both can be batched. The
results are those of the model's own forward (tested); only the time differs.
"""

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from mbpo_core.testbed.language import END_OF_TEXT, END_OF_TURN, IMAGE_PAD
from mbpo_core.testbed.scenes import GRID, IMAGE_SIZE

PATCH: Final = 14
MERGE: Final = 2
TEMPORAL: Final = 2
PATCHES_PER_IMAGE: Final = (GRID * MERGE) ** 2
TOKENS_PER_IMAGE: Final = GRID * GRID
IMAGE_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD: Final = (0.26862954, 0.26130258, 0.27577711)

HIDDEN: Final = 128
LAYERS: Final = 6
INTERMEDIATE: Final = 320
HEADS: Final = 4
INITIALIZER_RANGE: Final = 0.08
"""About 1 / sqrt(HIDDEN): the 0.02 of large models leaves so small a one nearly silent."""
VISION_DIM: Final = 64
VISION_DEPTH: Final = 2
VISION_HEADS: Final = 2


def make_model(tokenizer: Qwen2Tokenizer) -> Qwen2VLForConditionalGeneration:
    """A randomly initialised model around the tokenizer; the caller seeds torch."""
    ids = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in {
            "image_token_id": IMAGE_PAD,
            "video_token_id": "<|video_pad|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        }.items()
    }
    head_dim = HIDDEN // HEADS
    pad, end = (tokenizer.convert_tokens_to_ids(token) for token in (END_OF_TEXT, END_OF_TURN))
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "max_position_embeddings": tokenizer.model_max_length,
            "max_window_layers": LAYERS,
            "rms_norm_eps": 1e-6,
            "initializer_range": INITIALIZER_RANGE,
            # A quarter of the rotary pairs for time, three eighths each for height and width, as
            # in Qwen2-VL; a short base, because prompts are short.
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [head_dim // 8, head_dim * 3 // 16, head_dim * 3 // 16],
            },
            "bos_token_id": pad,
            "eos_token_id": end,
            "pad_token_id": pad,
        },
        vision_config={
            "depth": VISION_DEPTH,
            "embed_dim": VISION_DIM,
            "hidden_size": HIDDEN,
            "num_heads": VISION_HEADS,
            "mlp_ratio": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL,
        },
        tie_word_embeddings=True,
        **ids,
    )
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=[end, pad], pad_token_id=pad, bos_token_id=pad
    )
    return model


def make_image_processor() -> Qwen2VLImageProcessorPil:
    """Qwen2-VL's image processor; its limits leave the testbed's images as they are."""
    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 16 * 28 * 28},
        patch_size=PATCH,
        temporal_patch_size=TEMPORAL,
        merge_size=MERGE,
        image_mean=list(IMAGE_MEAN),
        image_std=list(IMAGE_STD),
    )


def to_pixels(images: list[Image.Image]) -> Tensor:
    """Float pixels in [0, 1], shape [B, 3, 84, 84].

    Raises:
        ValueError: an image of another size.
    """
    for image in images:
        if image.size != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"images must be {IMAGE_SIZE}x{IMAGE_SIZE}, got {image.size}")
    stacked = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 255


def to_patches(pixels: Tensor) -> Tensor:
    """Normalised patches in Qwen2-VL's order, [B, 36, 1176], as its image processor makes them."""
    mean = pixels.new_tensor(IMAGE_MEAN).view(1, 3, 1, 1)
    std = pixels.new_tensor(IMAGE_STD).view(1, 3, 1, 1)
    tiles = ((pixels - mean) / std).view(-1, 3, GRID, MERGE, PATCH, GRID, MERGE, PATCH)
    tiles = tiles.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
    tiles = tiles.expand(*tiles.shape[:6], TEMPORAL, *tiles.shape[7:])
    return tiles.reshape(len(pixels), PATCHES_PER_IMAGE, -1)


def image_grid(n_images: int) -> Tensor:
    """`image_grid_thw` of that many images, [n, 3]."""
    return torch.tensor([[1, GRID * MERGE, GRID * MERGE]]).repeat(n_images, 1)


def encode_images(model: Qwen2VLForConditionalGeneration, patches: Tensor) -> Tensor:
    """The vision tower over images of equal size at once, [B, 9, hidden]."""
    tower = model.model.visual
    weight = tower.patch_embed.proj.weight
    hidden = F.linear(patches, weight.view(len(weight), -1))
    within = torch.arange(PATCHES_PER_IMAGE)
    cell, part = within // MERGE**2, within % MERGE**2
    rows = cell // GRID * MERGE + part // MERGE
    columns = cell % GRID * MERGE + part % MERGE
    rotary = tower.rotary_pos_emb(hidden, torch.stack([rows, columns], dim=-1))
    for block in tower.blocks:
        hidden = hidden + _attend(block.attn, block.norm1(hidden), rotary)
        hidden = hidden + block.mlp(block.norm2(hidden))
    return tower.merger(hidden.flatten(0, 1)).view(len(patches), TOKENS_PER_IMAGE, -1)


def _attend(attention: nn.Module, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    batch, length, dim = hidden.shape
    query, key, value = (
        attention.qkv(hidden).view(batch, length, 3, attention.num_heads, -1).unbind(2)
    )
    query, key = apply_rotary_pos_emb_vision(query, key, *rotary)
    mixed = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    )
    return attention.proj(mixed.transpose(1, 2).reshape(batch, length, dim))
