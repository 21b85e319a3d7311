"""One small record for each layout of preference data, and the turns that it holds."""

import json
from dataclasses import dataclass
from typing import Any

Q, CHOSEN, REJECTED = "What is it?", "A cat.", "A dog."
ONE = ((Q, CHOSEN, REJECTED),)
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)


@dataclass(frozen=True)
class Layout:
    name: str
    record: dict[str, Any]
    turns: tuple[tuple[str, str, str | None], ...] = ONE
    """Question, chosen and rejected answer."""
    image_key: str = "image"

    def __str__(self):
        return self.name

    def with_image(self, image):
        """The record as it names a picture; in TRL's and LLaMA-Factory's layouts a list."""
        return self.record | {self.image_key: [image] if self.image_key == "images" else image}


def llava(*values):
    speakers = ("human", "gpt") * len(values)
    return [{"from": who, "value": what} for who, what in zip(speakers, values, strict=False)]


def chat(*texts, first="user"):
    speakers = ("user", "assistant") if first == "user" else ("assistant", "user")
    return [
        {"role": who, "content": what}
        for who, what in zip(speakers * len(texts), texts, strict=False)
    ]


def parts(text):
    return [{"type": "text", "text": text}]


SEEN = [{"type": "image", "text": None}, {"type": "text", "text": Q}]
PAIR = {"question": Q, "chosen": CHOSEN, "rejected": REJECTED}
ANSWERS = {"chosen": CHOSEN, "rejected": REJECTED}
SAID = {"chosen": chat(CHOSEN, first="assistant"), "rejected": chat(REJECTED, first="assistant")}
TWO_TURNS = ((Q, CHOSEN, None), ("And its colour?", "Black.", "White."))

LAYOUTS = (
    Layout("rlhf-v, text as JSON", {"idx": 1, "text": json.dumps(PAIR), "ds_name": "RLHF-V",
                                    "image_path": "elsewhere.jpg"}),
    Layout("rlhf-v, text as object", {"idx": 1, "text": PAIR}),
    Layout("rlaif-v", {"idx": "7", **PAIR, "origin_split": "{}", "image_path": "elsewhere.jpg"}),
    Layout("rlaif-v, path only", PAIR, image_key="image_path"),
    Layout("bpo", {"prompt": f"{Q}\n<image>", "completions": [
        {"response": CHOSEN, "score": 1, "type": "gt"},
        {"response": REJECTED, "score": 0, "type": "llm-hal"},
        {"response": "A bird.", "score": 0, "type": "mllm-hal"}]},
        (*ONE, (Q, CHOSEN, "A bird."))),
    Layout("povid", {"id": "3", "conversations": llava(f"<image>\n{Q}", CHOSEN),
                     "rejected_conversations": llava(f"<image>\n{Q}", REJECTED)}),
    Layout("povid, two turns", {
        "conversations": llava(f"<image>\n{Q}", CHOSEN, "And its colour?", "Black."),
        "rejected_conversations": llava(f"<image>\n{Q}", CHOSEN, "And its colour?", "White.")},
        TWO_TURNS),
    Layout("povid, the first of two turns", {
        "conversations": llava(f"<image>\n{Q}", CHOSEN, "And its colour?", "Black."),
        "rejected_conversations": llava(f"<image>\n{Q}", REJECTED, "And its colour?", "Black.")},
        (*ONE, ("And its colour?", "Black.", None))),
    Layout("csr", {"id": 5,
        "conversations": llava(f"{SYSTEM} USER: <image>\n{Q} ASSISTANT:", CHOSEN),
        "rejected_conversations": llava(f"{SYSTEM} USER: <image>\n{Q} ASSISTANT:", REJECTED)}),
    Layout("trl, explicit", {"prompt": chat(Q), **SAID}, image_key="images"),
    Layout("trl, parts", {"prompt": [{"role": "user", "content": SEEN}],
        "chosen": [{"role": "assistant", "content": parts(CHOSEN)}],
        "rejected": [{"role": "assistant", "content": parts(REJECTED)}]}, image_key="images"),
    Layout("trl, text", {"prompt": Q, **ANSWERS}),
    Layout("prompt as messages, answers as text", {"prompt": chat(Q), **ANSWERS}),
    Layout("trl, implicit", {"chosen": chat(Q, CHOSEN), "rejected": chat(Q, REJECTED)},
           image_key="images"),
    Layout("trl, implicit beside a text", {"prompt": Q, "chosen": chat(Q, CHOSEN),
                                           "rejected": chat(Q, REJECTED)}),
    Layout("trl, two turns", {"prompt": chat(Q, CHOSEN, "And its colour?"),
        "chosen": chat("Black.", first="assistant"), "rejected": chat("White.", first="assistant")},
        TWO_TURNS, "images"),
    Layout("trl, two messages after the prompt", {"prompt": chat(Q, CHOSEN),
        "chosen": chat("And its colour?", "Black."), "rejected": chat("And its colour?", "White.")},
        TWO_TURNS, "images"),
    Layout("trl, two turns, implicit", {"chosen": chat(Q, CHOSEN, "And its colour?", "Black."),
        "rejected": chat(Q, CHOSEN, "And its colour?", "White.")}, TWO_TURNS),
    Layout("llama-factory", {"conversations": llava(f"<image>{Q}"),
        "chosen": {"from": "gpt", "value": CHOSEN},
        "rejected": {"from": "gpt", "value": REJECTED}}, image_key="images"),
    Layout("llama-factory, messages", {"messages": chat(f"<image>{Q}"),
        "chosen": {"role": "assistant", "content": CHOSEN},
        "rejected": {"role": "assistant", "content": REJECTED}}, image_key="images"),
    Layout("mdpo", {"prompt": f"{SYSTEM} USER: <image>\n{Q} ASSISTANT:", **ANSWERS},
           image_key="img_path"),
    Layout("conversation that ends on the chosen answer", {
        "conversations": llava(f"<image>\n{Q}", CHOSEN), "rejected": REJECTED}),
    Layout("question, answer, rejected", {"question": Q, "answer": CHOSEN, "rejected": REJECTED}),
)  # fmt: skip
