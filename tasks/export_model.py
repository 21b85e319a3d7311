"""A trained model as a folder that transformers opens: weights, tokenizer, processor, template."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoImageProcessor

from mbpo_core.models.loading import DTYPES
from storage.manifest import FileInfo, Manifest
from storage.outgoing import Advance, copy_checked
from storage.reading import check_file

MODEL = "model/"
"""Folder of a checkpoint's files where adapters, if there were any, are merged."""
_PROCESSORS = {"qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor"}
_PREPROCESSOR = "preprocessor_config.json"
_WEIGHTS = ".safetensors"
_INDEX = ".safetensors.index.json"


def model_files(manifest: Manifest) -> list[FileInfo]:
    """Return the files of a checkpoint that make the model. Raises ValueError if there are none."""
    found = [file for file in manifest.files if file.path.startswith(MODEL)]
    if not found:
        raise ValueError(
            f"{manifest.ref.short} holds tables and no checkpoint; export those with `--as "
            "datasets`, or a checkpoint with `mbpo export train`"
        )
    return found


def write_model(
    files: list[FileInfo], folder: Path, target: Path, dtype: str | None, advance: Advance
) -> None:
    """Write a checkpoint's model into a folder.

    Args:
        files: of the checkpoint; each is compared with its sha256.
        folder: where they lie.
        target: an existing folder.
        dtype: of the weights, one of `DTYPES`; None leaves them as training wrote them.
        advance: hears of the bytes done.

    Raises:
        DamagedArtifact: a file is not what was written.
    """
    for file in files:
        source, copied = folder / file.path, target / file.path.removeprefix(MODEL)
        if dtype is not None and file.path.endswith(_WEIGHTS):
            check_file(source, file.sha256)
            cast_weights(source, copied, DTYPES[dtype])
            advance(file.bytes)
        else:
            copy_checked(source, copied, file.sha256, advance)
    if dtype is not None:
        _rewrite(target / "config.json", lambda config: _with_dtype(config, dtype))
        for index in target.glob(f"*{_INDEX}"):
            _rewrite(index, lambda value: _with_sizes(value, target))
    _write_processor(target)


def cast_weights(source: Path, target: Path, dtype: torch.dtype) -> None:
    """Write a safetensors file with its floating-point tensors in another type."""
    with safe_open(source, framework="pt") as weights:
        metadata = weights.metadata()
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    cast = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    save_file(cast, target, metadata=metadata)


def _write_processor(folder: Path) -> None:
    """Name what training leaves to defaults, and the class that `AutoProcessor` is to take."""
    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    processor.save_pretrained(folder)
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    _rewrite(folder / _PREPROCESSOR, lambda value: value | {"processor_class": _PROCESSORS[kind]})


def _with_dtype(config: Any, dtype: str) -> Any:
    if not isinstance(config, dict):
        return config
    return {
        name: dtype if name in ("dtype", "torch_dtype") and value is not None
        else _with_dtype(value, dtype)
        for name, value in config.items()
    }  # fmt: skip


def _with_sizes(index: dict[str, Any], folder: Path) -> dict[str, Any]:
    total = 0
    for shard in sorted(set(index["weight_map"].values())):
        with safe_open(folder / shard, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                total += weights.get_tensor(name).nbytes
    return index | {"metadata": index.get("metadata", {}) | {"total_size": total}}


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    changed = change(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(changed, indent=2, sort_keys=True) + "\n", encoding="utf-8")
