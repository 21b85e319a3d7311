"""Commands that run training on several ranks: what can be said of them before anything is run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mbpo_core.config import Recipe
from tasks.runtime import Runtime

CONFIG_OPTION = "--config_file"
SHARDING = ("FSDP", "DEEPSPEED", "MEGATRON_LM")
"""Kinds of distribution of accelerate that leave a rank with pieces of the gradients."""


def check_launcher(recipe: Recipe, runtime: Runtime) -> None:
    """Refuse a launcher that would fail when training begins, hours from now.

    Raises:
        FileNotFoundError: where its program or its configuration file does not exist.
        ValueError: where the configuration is not one of accelerate's, or does not go with the
            recipe.
    """
    if not runtime.train_launcher:
        return
    command(runtime.train_launcher)
    kind = _kind(runtime.train_launcher)
    if kind in SHARDING and recipe.train.stream_norm_every:
        raise ValueError(
            f"train.stream_norm_every must be 0 with {kind}, whose gradients are sharded over "
            f"ranks, got {recipe.train.stream_norm_every}: --set train.stream_norm_every=0"
        )


def command(words: Sequence[str]) -> list[str]:
    """Return the words with the path of the program: the one beside this Python comes first."""
    beside = Path(sys.executable).parent / words[0]  # a path of its own stays what it is
    found = str(beside) if beside.is_file() else shutil.which(words[0])
    if found is None:
        raise FileNotFoundError(f"the launcher's program {words[0]!r} was not found")
    return [found, *words[1:]]


def _kind(words: Sequence[str]) -> str | None:
    """Return the `distributed_type` of the configuration file; None where none is named."""
    given = [word for word in words if word.startswith(f"{CONFIG_OPTION}=")]
    if given:
        path = given[-1].partition("=")[2]
    elif CONFIG_OPTION in words[:-1]:
        path = words[words.index(CONFIG_OPTION) + 1]
    else:
        return None
    # Slow to import, and no other stage needs it.
    from accelerate.commands.config.config_args import load_config_from_file

    if not Path(path).is_file():
        raise FileNotFoundError(f"the launcher's configuration file {path} does not exist")
    config = load_config_from_file(path)
    fsdp = config.fsdp_config.get("fsdp_version", 1)
    if config.distributed_type == "FSDP" and int(fsdp) != 2:
        raise ValueError(f"{path}: fsdp_version must be 2, got {fsdp}")
    return str(config.distributed_type.value)
