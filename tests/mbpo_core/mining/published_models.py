"""Tiny random detector, segmenter and CLIP of the genuine classes, saved as checkpoints are."""

from functools import cache

import torch
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SamConfig,
    SamModel,
    SwinConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
    GroundingDinoImageProcessorPil,
)
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from mbpo_core.mining.protocol import MineItem
from mbpo_core.models.protocol import PromptedResponse
from tests.mbpo_core.tiny_models import random_image

WORDS = ["a", "cat", "dog", "red", "##s", "ball", "st", "-", "bird"]
BERT_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
KINDS = {
    "grounding-dino": (GroundingDinoConfig, GroundingDinoForObjectDetection),
    "mm-grounding-dino": (MMGroundingDinoConfig, MMGroundingDinoForObjectDetection),
}


def item(sample_id, height=56, width=84, *, chosen="A red ball.", seed=0):
    image = random_image(seed, height, width)
    return MineItem(PromptedResponse(sample_id, [1], [2], image), "What is it?", chosen)


def save_detector(folder, kind="grounding-dino", *, vocabulary=BERT_IDS, max_text_len=256):
    """Grounding DINO over a BERT vocabulary whose special tokens have the published ids."""
    config_class, model_class = KINDS[kind]
    torch.manual_seed(0)
    model = model_class(
        config_class(
            backbone_config=SwinConfig(
                image_size=64,
                window_size=4,
                embed_dim=8,
                depths=[1, 1, 1],
                num_heads=[2, 2, 2],
                out_indices=[2, 3],
            ),
            text_config=BertConfig(
                vocab_size=1100,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                initializer_range=0.5,
            ),
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_queries=10,
            num_feature_levels=2,
            encoder_n_points=2,
            decoder_n_points=2,
            max_text_len=max_text_len,
            init_std=0.2,
        )
    )
    with torch.no_grad():  # an untrained detector of the newer kind says 1 % everywhere
        for name, parameter in model.named_parameters():
            if "class_embed" in name:
                parameter.zero_()
    model.save_pretrained(folder)
    taken = set(vocabulary.values())
    free = (i for i in range(1100) if i not in taken)
    words = {word: next(free) for word in WORDS}
    filler = {f"[unused{i}]": i for i in free}
    tokenizer = BertTokenizer(vocab=vocabulary | words | filler, do_lower_case=False)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
    return folder


def save_segmenter(folder):
    torch.manual_seed(0)
    vision = {
        "hidden_size": 16,
        "output_channels": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "window_size": 2,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
        "mlp_dim": 32,
        "initializer_range": 0.2,
    }
    prompt = {"hidden_size": 32, "image_size": 64, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    }
    config = SamConfig(
        vision_config=vision,
        prompt_encoder_config=prompt,
        mask_decoder_config=decoder,
        initializer_range=0.2,
    )
    SamModel(config).save_pretrained(folder)
    SamImageProcessorPil(
        size={"longest_edge": 64},
        pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    ).save_pretrained(folder)
    return folder


@cache
def clip_tokenizer():
    letters = [chr(i) for i in range(33, 127)]
    words = letters + [f"{letter}</w>" for letter in letters]
    words += ["<|startoftext|>", "<|endoftext|>"]  # the end is the largest id, as published
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])


def save_clip(folder, *, positions=77):
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    shared = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = shared | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": positions,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = shared | {"image_size": 28, "patch_size": 14}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    model = CLIPModel(config)
    with torch.no_grad():  # the published scale of weights would give all texts one embedding
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "norm" not in name:
                parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    crop = {"height": 28, "width": 28}
    CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=crop).save_pretrained(folder)
    return folder
