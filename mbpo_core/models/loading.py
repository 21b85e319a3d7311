"""Open a checkpoint as a policy, name its content, write one."""

import hashlib
import json
import re
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
)

from mbpo_core.models.preprocessing import ImageConfig
from mbpo_core.models.qwen_vl import QwenVL, unwrapped

ARCHITECTURES = {
    "qwen2_vl": Qwen2VLForConditionalGeneration,
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EXPECTED = "config.json, *.safetensors, tokenizer files and preprocessor_config.json"
CONTENT_PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.jinja",
    "*.json",
    "merges.txt",
    "vocab.txt",
)
NOT_CONTENT = ("trainer_state.json",)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def load_policy(
    name_or_path: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    attn: str | None = None,
    max_length: int | None = None,
) -> QwenVL:
    """Open a local folder, or a hub id at a pinned commit, in eval mode.

    `attn` is a transformers attention back end ("sdpa", "flash_attention_2", "eager"); None leaves
    the choice to transformers. Code from a checkpoint is never run, and weights are read from
    safetensors alone: pickled ones can run code.
    Errors: FileNotFoundError for a missing folder or file, ValueError for another architecture, an
    unpinned hub id, an unknown dtype, or a tokenizer that does not fit the model.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    folder = model_folder(name_or_path, revision)
    model_class = _architecture(folder)
    tokenizer = _tokenizer(folder)
    options = {} if attn is None else {"attn_implementation": attn}
    require_safetensors(folder)
    model = model_class.from_pretrained(
        folder, dtype=DTYPES[dtype], use_safetensors=True, **options
    )
    model.to(torch.device(device)).eval()
    return QwenVL(model, tokenizer, ImageConfig.from_folder(folder), max_length=max_length)


def model_folder(name_or_path: str, revision: str | None = None) -> Path:
    """Folder of a model: itself if it is one, else the hub's snapshot at a pinned commit.

    Errors: FileNotFoundError and ValueError as for `load_policy`.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{folder} is a folder: a revision belongs to a hub id only")
        return folder
    if revision is None or not _HUB_ID.fullmatch(name_or_path):
        hint = "; a hub id needs its revision" if _HUB_ID.fullmatch(name_or_path) else ""
        raise FileNotFoundError(f"model folder not found: {folder}; expected {EXPECTED}{hint}")
    _require_commit(name_or_path, revision)
    return Path(snapshot_download(name_or_path, revision=revision))


def require_safetensors(folder: Path) -> None:
    """Raise FileNotFoundError for a folder whose weights, if any, are pickled.

    An index is looked into too: transformers would follow it to shards of any kind.
    """
    named = {
        shard
        for index in folder.glob("*.safetensors.index.json")
        for shard in json.loads(index.read_text())["weight_map"].values()
    }
    pickled = any(not shard.endswith(".safetensors") for shard in named)
    if pickled or not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"no *.safetensors in {folder}; pickled weights are not loaded")


def model_fingerprint(name_or_path: str, revision: str | None = None) -> str:
    """What identifies a model: sha256 over a folder's content, or "id@commit" for a hub id.

    Of a folder count weights, configurations, tokenizer and preprocessor, each by name and bytes;
    where it lies does not. A hub commit cannot change, so nothing is downloaded for it.
    Errors: as for `load_policy`.
    """
    if revision is not None and not Path(name_or_path).is_dir():
        _require_commit(name_or_path, revision)
        return f"{name_or_path}@{revision}"
    folder = model_folder(name_or_path, revision)
    found = {path for pattern in CONTENT_PATTERNS for path in folder.glob(pattern)}
    files = sorted(path for path in found if path.name not in NOT_CONTENT)
    if not files:
        raise FileNotFoundError(f"no model in {folder}; expected {EXPECTED}")
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{path.name}\0{content}\n".encode())
    return total.hexdigest()


def save_policy(policy: QwenVL, folder: Path) -> None:
    """Write model, tokenizer and preprocessor so that `load_policy` opens the folder.

    Errors: ValueError if the model carries adapters: merge them first, or the folder would hold
    weights under the names of the adapted layers.
    """
    base = unwrapped(policy.model)
    if base is not policy.model:
        raise ValueError(f"cannot save a wrapped model ({type(policy.model).__name__}): merge it")
    base.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    policy.image_config.save(folder)


def _require_commit(name: str, revision: str) -> None:
    if not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"{name} must be pinned to a commit of 40 hexadecimal digits, got {revision!r} "
            f"(branches and tags move)"
        )


def _architecture(folder: Path) -> type:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no config.json in {folder}; expected {EXPECTED}")
    found = json.loads(path.read_text()).get("model_type")
    if found not in ARCHITECTURES:
        raise ValueError(f"{folder} holds a {found!r} model, expected {' or '.join(ARCHITECTURES)}")
    return ARCHITECTURES[found]


def _tokenizer(folder: Path) -> AutoTokenizer:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise FileNotFoundError(f"no tokenizer in {folder}; expected tokenizer.json or vocab.json")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    separate = folder / "chat_template.json"
    if tokenizer.chat_template is None and separate.is_file():
        tokenizer.chat_template = json.loads(separate.read_text())["chat_template"]
    if tokenizer.chat_template is None:
        raise FileNotFoundError(f"no chat template in {folder}; expected chat_template.jinja")
    return tokenizer
