"""What another Python interpreter has: lmms-eval and what it needs, and which mbpo_core."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mbpo_core

PACKAGE: Final = Path(mbpo_core.__file__).resolve().parent
"""Our own package, as this process imported it."""
_QUESTIONS: Final = """
import importlib.metadata, importlib.util, json
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
found = importlib.util.find_spec("mbpo_core")
print(json.dumps({
    "lmms_eval": version("lmms-eval") or version("lmms_eval"),
    "decord": importlib.util.find_spec("decord") is not None,
    "filelock": version("filelock"),
    "mbpo_core": found.origin if found else None,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """What an interpreter can import."""

    lmms_eval: str | None
    """Version of the package; None without it. (Results only name the commit of whatever git
    checkout lmms-eval was started in.)"""
    decord: bool
    """Whether `decord` is there, which both Qwen wrappers import and the package does not ask for.
    """
    filelock: str | None
    """Version of the package: lmms-eval 0.7.3 reaches into a module that filelock 4 has not."""
    mbpo_core: Path | None
    """Folder of the `mbpo_core` that it finds by itself."""

    def missing(self) -> str | None:
        """Say what to install, or None where all is there."""
        names = [] if self.lmms_eval else ["lmms-eval"]
        names += [] if self.decord else ["decord"]
        old_enough = (self.filelock or "").partition(".")[0] in ("", *"0123")
        names += [] if old_enough and self.lmms_eval else ["'filelock<4'"]
        return f"pip install {' '.join(names)}" if names else None

    def import_path(self) -> Path | None:
        """Return the folder that has to go into PYTHONPATH so that our tasks find this mbpo_core.

        Raises:
            ValueError: mbpo is installed beside other packages, which would come along.
        """
        if self.mbpo_core == PACKAGE:
            return None
        if PACKAGE.parent.name in ("site-packages", "dist-packages"):
            raise ValueError("that interpreter has no mbpo of this version: install mbpo into it")
        return PACKAGE.parent


def inspect(python: str) -> Interpreter:
    """Ask an interpreter what it has.

    Raises:
        FileNotFoundError: no such program.
        ValueError: it is no Python 3.11 or newer, or does not answer.
    """
    try:
        # -P: a folder that happens to be the current one does not count as installed.
        done = subprocess.run(
            [python, "-P", "-c", _QUESTIONS], capture_output=True, text=True, timeout=120
        )
    except (FileNotFoundError, PermissionError):
        raise FileNotFoundError(f"no Python interpreter: {python}") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"{python} did not answer within 120 seconds") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{python} is no usable Python (3.11 or newer): {last}")
    try:
        found = json.loads(done.stdout)
        origin = found["mbpo_core"]
        folder = Path(origin).resolve().parent if origin else None
        return Interpreter(found["lmms_eval"], found["decord"], found["filelock"], folder)
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{python} gave an unexpected answer: {done.stdout[:200]!r}") from None
