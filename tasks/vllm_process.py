"""vLLM in a process of its own, with an interpreter and a device of its own."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from typing import Any

from mbpo_core.models import vllm_engine

_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}


class VllmProcess:
    """Runs `mbpo_core/models/vllm_engine.py`; ends when it is closed or this process ends."""

    def __init__(self, python: str, model: dict[str, Any], device: str) -> None:
        """Start it and load the model; `model` are arguments of `vllm.LLM`.

        Raises RuntimeError with vLLM's own words if it cannot.
        """
        self._process = subprocess.Popen(
            # -P: `vllm` is a package of that environment, never a folder beside the program.
            [python, "-P", vllm_engine.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            env=_environment(device),
        )  # fmt: skip
        try:
            self._ask({"model": model})
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def draw(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """Draw; see `vllm_engine.Engine.draw`. Raises RuntimeError with vLLM's own words."""
        return self._ask(request)

    def close(self) -> None:
        """End it and wait for its end."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # it is gone already
                    stream.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"vLLM ended without an answer (exit status {self._process.wait()})")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"vLLM: {answer['error']}")
        return answer["rows"]


def _environment(device: str) -> dict[str, str]:
    """Return the environment of the process: it sees one GPU, that of the policy."""
    environment = os.environ | _QUIET
    if device.startswith("cuda"):
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        number = int(device.partition(":")[2] or 0)
        environment["CUDA_VISIBLE_DEVICES"] = visible[number] if visible else str(number)
    return environment
