"""Run lmms-eval on a machine whose torch has no CUDA: `python -m ...lmms.start <its arguments>`.

The torchvision that package indexes serve is built for CUDA. Beside a torch for the CPU its library
cannot be loaded, two operators stay undeclared, and `import torchvision` fails where it describes
them. Image processors need neither of the two, so declaring them is enough: a call still fails.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from typing import Final

import torch

OPERATORS: Final = ("nms", "qnms")
_SIGNATURE: Final = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[torch.library.Library] = []
"""A declaration lives as long as its library object."""


def make_torchvision_importable() -> bool:
    """Import torchvision; where that fails for want of the two operators, declare them first.

    Returns:
        Whether they had to be declared.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: it fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return False
    # What the failed attempt left half imported would be taken for whole.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in OPERATORS:
        library.define(f"{operator}{_SIGNATURE}")
    _libraries.append(library)
    importlib.import_module("torchvision")
    return True


def main() -> None:
    """Hand over to lmms-eval with the arguments of this process."""
    make_torchvision_importable()
    runpy.run_module("lmms_eval", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
