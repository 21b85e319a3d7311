"""Tiny random Qwen2-VL and Qwen2.5-VL around a byte-level tokenizer with Qwen's special tokens."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from mbpo_core.models.protocol import PromptedResponse

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
    "initializer_range": 0.2,
}
VISION = {"depth": 2, "num_heads": 2, "initializer_range": 0.1}


def build_tokenizer():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "a"), ("t", "h"), ("Ġ", "th"), ("r", "e"), ("Ġ", "re")]
    words = letters + ["".join(pair) for pair in merges]
    core = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[t for t in SPECIAL if t not in ("<|im_end|>", "<|endoftext|>")],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(kind, tokenizer, seed=0, *, tied=False):
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    text = TEXT | {
        "vocab_size": len(tokenizer) + 3,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    shared = {
        "tie_word_embeddings": tied,
        "text_config": text,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }
    torch.manual_seed(seed)
    if kind == "qwen2_vl":
        vision = VISION | {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2}
        model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(vision_config=vision, **shared))
    else:
        vision = VISION | {
            "hidden_size": 16,
            "out_hidden_size": 32,
            "intermediate_size": 32,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        }
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(vision_config=vision, **shared))
    # As the published checkpoints: sampling values of their own and two EOS ids.
    model.generation_config.update(
        do_sample=True,
        temperature=0.1,
        top_k=1,
        repetition_penalty=1.5,
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
        pad_token_id=ids["<|endoftext|>"],
    )
    return model.eval()


def random_image(seed, height=56, width=84):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def build_rows(policy, sizes=((56, 84), (84, 56), (56, 84))):
    questions = ["What is the colour of the bird?", "How many?", "Where is the red car, please?"]
    answers = ["a red bird", "three", "it is on the left of a tree"]
    rows = []
    for i, (height, width) in enumerate(sizes):
        rows.append(
            PromptedResponse(
                sample_id=f"row-{i}",
                prompt=policy.prompt_ids(questions[i % 3], height, width),
                response=policy.response_ids(answers[i % 3]),
                image=random_image(i, height, width),
            )
        )
    return rows
