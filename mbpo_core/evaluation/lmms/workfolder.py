"""Our own tasks on a machine: a folder of generated YAMLs that say where questions and images lie.

Nothing about places is in the repository or in an environment variable; a generated YAML includes
the packaged one and adds its data set and its image root.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mbpo_core.evaluation.lmms import questions
from mbpo_core.evaluation.lmms.results import OWN_TASKS
from mbpo_core.testbed.scenes import TYPICAL_SHARE

PACKAGED: Final = Path(__file__).with_name("tasks")
"""Folder of the YAMLs that come with the package."""
EMBEDDED: Final = "mbpo_embedded"


@dataclass(frozen=True)
class Data:
    """Where the questions of one of our tasks come from; the embedded world needs none."""

    questions: Path
    """The benchmark's own question file."""
    images: Path | None = None
    """Folder that image names are relative to; Object HalBench's file may hold the pictures."""
    annotations: Path | None = None
    """AMBER's annotations.json; default: beside the questions or one folder up."""


def expanded(tasks: list[str]) -> list[str]:
    """Put both flavours in place of `mbpo_embedded`; everything else stays as it is."""
    flavours = [f"{EMBEDDED}_{flavour}" for flavour in TYPICAL_SHARE]
    return [name for task in tasks for name in (flavours if task == EMBEDDED else [task])]


def base_task(name: str) -> str | None:
    """Return the packaged task behind a name, or None for a task of lmms-eval's own."""
    return next((own for own in OWN_TASKS if name == own or name in expanded([own])), None)


def prepare(name: str, folder: Path, *, data: Data | None = None, scenes: int = 20) -> Path:
    """Write a task's questions and YAML, and of the embedded world its pictures too.

    Args:
        name: one of our tasks, the embedded world with its flavour (`mbpo_embedded_counter`).
        folder: the work folder, made if missing.
        data: question file and images; not for the embedded world.
        scenes: of the embedded world: test scenes, seven questions each.

    Returns:
        The YAML's path: `<name>.yaml`, with `<name>.jsonl` beside it.

    Raises:
        FileNotFoundError: a question file or image folder that is not there.
        ValueError: not one of our tasks; no data where some are needed; a file of another form; an
            image folder that has none of the images.
    """
    base = base_task(name)
    if base is None or name == EMBEDDED:
        raise ValueError(f"{name} is none of {', '.join(expanded(list(OWN_TASKS)))}")
    folder.mkdir(parents=True, exist_ok=True)
    documents, images = _documents(base, name, folder, data, scenes)
    questions.write_documents(folder / f"{name}.jsonl", documents)
    config = {
        "include": str(PACKAGED / base / f"{base}.yaml"),
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str((folder / f"{name}.jsonl").absolute())}},
        "lmms_eval_specific_kwargs": {"default": {"image_root": str(images.absolute())}},
    }
    path = folder / f"{name}.yaml"
    # JSON is YAML, and needs no library here.
    path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return path


def _documents(
    base: str, name: str, folder: Path, data: Data | None, scenes: int
) -> tuple[list[questions.Document], Path]:
    if base == EMBEDDED:
        images = folder / "images"
        flavour = next(f for f in TYPICAL_SHARE if name == f"{EMBEDDED}_{f}")
        return questions.embedded_documents(flavour, scenes, images), images
    if data is None:
        raise ValueError(f"{name} needs its question file and its image folder")
    if base == "object_halbench":
        documents = questions.object_halbench_documents(data.questions, folder / f"{name}-images")
    elif base == "mmhal_bench":
        documents = questions.mmhal_documents(data.questions)
    else:
        documents = questions.amber_documents(data.questions, _annotations(data))
    return documents, _image_root(name, documents, data.images)


def _image_root(name: str, documents: list[questions.Document], images: Path | None) -> Path:
    """Return the image folder, having seen that it is the right one."""
    root = images or Path.cwd()
    if not root.is_dir():
        raise FileNotFoundError(f"no image folder: {root}")
    if not any((root / found.image).is_file() for found in documents):
        raise ValueError(f"{root} has no image of {name}; expected {documents[0].image} and others")
    return root


def _annotations(data: Data) -> Path:
    if data.annotations is not None:
        return data.annotations
    folders = (data.questions.parent, data.questions.parent.parent)
    found = [folder / "annotations.json" for folder in folders]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"no annotations.json beside {data.questions} or one folder up")
    return path
