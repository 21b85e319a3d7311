"""Sentences of the cards: how an export is opened, and what its columns mean."""

from __future__ import annotations

from typing import Any

from tasks import export_llamafactory, export_trl
from tasks.export_pairs import Pairs

ABOUT_PAIRS = (
    "Questions about images, each with a better (`chosen`) and a worse (`rejected`) response, as "
    "the stage `pair` of mbpo (arXiv 2506.08022) joined them. Both responses stand with the clean "
    "image, also where the worse one was generated from an altered image: so they are trained on."
)
_USE = {
    "datasets": """```python
from datasets import load_dataset

rows = load_dataset("FOLDER", split="train")  # the main table; images are decoded
other = load_dataset("FOLDER", "TABLE", split="train")
```""",
    "trl": """```python
from datasets import load_dataset
from trl import DPOTrainer

pairs = load_dataset("FOLDER", split="train")
trainer = DPOTrainer(model, train_dataset=pairs, processing_class=processor)
```""",
    "llamafactory": f"""```yaml
# settings of LLaMA-Factory
stage: dpo
dataset_dir: FOLDER
media_dir: FOLDER
dataset: {export_llamafactory.NAME}
```""",
}
_TRL_COLUMNS = {
    "prompt": "one message of the user: the place of the image, then the question",
    "chosen": "one message of the assistant: the better response",
    "rejected": "one message of the assistant: the worse response",
    "images": "the clean image, a PNG; both responses stand with it",
    "group_id": "of the group in the store",
    "source": "where the worse response comes from: `negative` (generated from the altered image), "
    "`clean`, `injected` or `dataset`",
}
_LLAMAFACTORY_COLUMNS = {
    "conversations": "one message of `human`: `<image>`, a line break, the question",
    "chosen": "one message of `gpt`: the better response",
    "rejected": "one message of `gpt`: the worse response",
    "images": "name of the clean image's PNG in this folder; both responses stand with it",
    "id": "of the group in the store",
}
_NEGATIVE = (
    "the image that a miner altered, under which the *chosen* response is the worse one (for "
    "losses on images, as mDPO's); empty where a pair has none. No trainer named here reads it."
)


def use_of(kind: str) -> str:
    """Return as Markdown how an export of this format is opened."""
    return _USE[kind]


def pair_table(kind: str, pairs: Pairs) -> dict[str, Any]:
    """Return what a card says of the pairs: how many, which groups are none, the columns."""
    columns = _TRL_COLUMNS if kind == "trl" else _LLAMAFACTORY_COLUMNS
    if pairs.with_negatives:
        columns = columns | {export_trl.NEGATIVE: _NEGATIVE}
    features = export_trl.features(pairs.with_negatives).arrow_schema
    types = {name: str(features.field(name).type) for name in features.names}
    return {
        "name": export_trl.NAME,
        "rows": len(pairs.groups),
        "reasons": pairs.left_out,
        "reasons_said": "Groups of the store that are no pair here",
        "columns": [
            {"name": name, "type": types[name] if kind == "trl" else "JSON", "meaning": said}
            for name, said in columns.items()
        ],
    }
