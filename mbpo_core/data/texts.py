"""What is done to the texts of a record: compared, cleaned of `<image>`, freed of a template."""

import re
from typing import Final

IMAGE_TOKEN: Final = "<image>"
_CONTROL_TOKENS: Final = (
    "endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end",
    "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad",
    "fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep",
)  # fmt: skip
SPECIAL_TOKEN: Final = re.compile(rf"<\|(?:{'|'.join(_CONTROL_TOKENS)})\|>|</?tool_call>")
"""A control token of Qwen2-VL or Qwen2.5-VL. What only looks like one is text; a tokenizer that
has more of them refuses those itself (`Policy.prompt_ids`)."""

_TRAILING: Final = " \t\n.,;:!?\"'`*"
_TEMPLATE_STARTS: Final = ("A chat between a curious ", "USER:")
_TEMPLATE_END: Final = "ASSISTANT:"


def normalised(text: str) -> str:
    """Text as it is compared: case-folded, single spaces, no trailing punctuation."""
    return " ".join(text.casefold().split()).rstrip(_TRAILING).lstrip(" \"'`*")


def is_encodable(text: str) -> bool:
    """Whether a text is valid Unicode; JSON can write half of a surrogate pair, which is not."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def without_image_token(text: str) -> str:
    """Remove every `<image>` with the blanks around it; what stood on two lines stays on two."""
    kept = ""
    for part in text.split(IMAGE_TOKEN):
        left, right = kept.rstrip(" \t"), part.lstrip(" \t")
        if not left.strip() or not right.strip():
            kept = (left + right).strip()
        elif left.endswith("\n") or right.startswith("\n"):
            kept = left.rstrip() + "\n" + right.lstrip()
        else:
            kept = f"{left} {right}"
    return kept.strip()


def without_template(text: str) -> str:
    """Return the question inside of a Vicuna prompt "... USER: <question> ASSISTANT:".

    mDPO and CSR write their prompts with the chat template of LLaVA-1.5 around them. Of several
    turns the last question is returned; a text without the template comes back as it is.
    """
    inner = text.strip()
    if not inner.startswith(_TEMPLATE_STARTS) or not inner.endswith(_TEMPLATE_END):
        return text
    _, user, question = inner.removesuffix(_TEMPLATE_END).rpartition("USER:")
    return question.strip() if user else text
