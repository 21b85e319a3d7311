"""Which published layout of preference data a record has, by its keys alone.

`preferences` reads all of them without asking for a name; this tells a person what was found.
"""

from collections.abc import Mapping
from typing import Any, Final

from mbpo_core.data.messages import CONVERSATION_KEYS
from mbpo_core.data.texts import without_template

LAYOUTS: Final = {
    "rlhf-v": "`text` holding `question`, `chosen`, `rejected`",
    "rlaif-v": "`question`, `chosen`, `rejected`",
    "bpo": "`prompt`, `completions` with scores",
    "povid": "`conversations`, `rejected_conversations` (CSR too)",
    "trl": "`chosen`, `rejected` as texts or messages, and `prompt` unless messages imply it",
    "llamafactory": "`conversations` or `messages`, with `chosen` and `rejected`",
    "mdpo": "`prompt` inside of a chat template (or with `img_path`), `chosen`, `rejected`",
}
"""Names of the layouts, and the keys beside the image that each is known by."""
_LISTS: Final = (list, tuple)


def layout_of(record: Any) -> str | None:
    """Return the name of a record's layout; None where it has no rejected side, or is no record.

    A key whose value is null counts as absent. Whether the record can be *read*, `read_turns` says.
    """
    if not isinstance(record, Mapping):
        return None
    keys = {key for key, value in record.items() if value is not None}
    talk = keys & set(CONVERSATION_KEYS)
    if "text" in keys and not keys & {"prompt", "question", "chosen", "rejected"} and not talk:
        return "rlhf-v"
    if {"prompt", "completions"} <= keys:
        return "bpo"
    if "rejected_conversations" in keys:
        return "povid"
    if "rejected" not in keys:
        return None
    if talk:
        return "llamafactory"
    return _with_prompt(record, keys)


def _with_prompt(record: Mapping[str, Any], keys: set[str]) -> str | None:
    prompt = record.get("prompt")
    if isinstance(prompt, str):
        in_template = without_template(prompt) != prompt
        return "mdpo" if in_template or "img_path" in keys else "trl"
    if prompt is not None:
        return "trl"
    if "question" in keys:
        return "rlaif-v"
    return "trl" if isinstance(record.get("chosen"), _LISTS) else None
