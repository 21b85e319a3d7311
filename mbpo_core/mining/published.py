"""Open a published model (detector, segmenter, image-text) as transformers has it."""

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from mbpo_core.models.loading import model_folder, require_safetensors
from mbpo_core.models.preprocessing import check_stored


def open_published(
    name_or_path: str,
    classes: Mapping[str, type[PreTrainedModel]],
    *,
    revision: str | None = None,
    device: str = "cpu",
) -> tuple[PreTrainedModel, Path]:
    """The model in eval mode and float32 on `device`, and its folder.

    `classes` maps the accepted `model_type`s to classes. Code from a checkpoint is never run.
    Errors: FileNotFoundError for a missing folder or without *.safetensors (pickled weights can
    run code and are no part of a model's fingerprint), ValueError for another kind of model or an
    unpinned hub id.
    """
    folder = model_folder(name_or_path, revision)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no config.json in {folder}")
    require_safetensors(folder)
    found = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    if found not in classes:
        raise ValueError(f"{folder} holds a {found!r} model, expected {' or '.join(classes)}")
    model = classes[found].from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    return model.to(torch.device(device)).eval(), folder


def as_picture(image: Tensor) -> Image.Image:
    """Uint8 `[3, H, W]` as the image processors of transformers read it.

    Errors: ValueError for another dtype or shape.
    """
    check_stored(image)
    return Image.fromarray(image.cpu().permute(1, 2, 0).contiguous().numpy())
