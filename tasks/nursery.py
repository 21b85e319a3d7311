"""Where workers on the CPU come from: one process imports what they need, each is a fork of it.

Importing torch and transformers costs seconds of a core, a fork costs milliseconds. The nursery has
one thread and touches no device, so that its forks start clean. It ends with its parent; a fork
ends with the pipe that it reads its requests from.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

_MESSAGE_BYTES = 4096


class Forked:
    """A fork of the nursery, with the part of `subprocess.Popen` that the pool uses."""

    def __init__(self, nursery: Nursery, pid: int, stdin: TextIO, stdout: TextIO) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._ask("poll")

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        code = self._ask("wait")
        assert code is not None
        return code

    def kill(self) -> None:
        """End it; its id is its own until its exit code was asked for."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _ask(self, how: str) -> int | None:
        if self.returncode is None:
            try:
                self.returncode = self._nursery.ask({how: self.pid})
            except ConnectionError:  # the nursery was killed: nobody knows better, so it ends too
                self.kill()
                self.returncode = -signal.SIGKILL
        return self.returncode


class Nursery:
    """The parent's side: starts the nursery when the first fork is wanted."""

    def __init__(self, module: str, environment: dict[str, str], log: Path) -> None:
        self._module = module
        self._environment = environment
        self.log = log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, argument: str, log: int) -> Forked:
        """Return a new process that runs `module.main(argument)`.

        `log` is the descriptor that takes what it says on standard error.
        """
        (request, stdin), (stdout, answer) = os.pipe(), os.pipe()
        try:
            pid = self.ask({"fork": argument}, (request, answer, log))
        except BaseException:
            os.close(stdin)
            os.close(stdout)
            raise
        finally:
            os.close(request)
            os.close(answer)
        assert pid is not None
        return Forked(self, pid, os.fdopen(stdin, "w"), os.fdopen(stdout))

    def ask(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> int | None:
        """Send one request and return the number that answers it; raises ConnectionError."""
        with self._lock:
            if "fork" in message:
                self._start()
            if self._control is None:
                raise ConnectionError("the nursery is gone")
            try:
                socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)
                answer = self._control.recv(_MESSAGE_BYTES)
            except ConnectionError:
                answer = b""
            if not answer:
                self._stop()
                raise ConnectionError(f"the nursery ended, see {self.log}")
        return json.loads(answer)

    def close(self) -> None:
        """End the nursery; forks that still live are not touched."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._stop()
        self._control, there = socket.socketpair()
        with there, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self._module, str(there.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                pass_fds=(there.fileno(),),
            )

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _serve(control: socket.socket, module: Any) -> None:
    """Answer until the parent goes."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 3)
        if not message:
            return
        ((verb, value),) = json.loads(message).items()
        if verb == "fork":
            answer: int | None = _fork(control, module, value, descriptors)
        else:
            pid, status = os.waitpid(value, os.WNOHANG if verb == "poll" else 0)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        control.sendall(json.dumps(answer).encode())


def _fork(control: socket.socket, module: Any, argument: str, descriptors: list[int]) -> int:
    pid = os.fork()
    if not pid:
        _be_the_child(control, module, argument, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _be_the_child(
    control: socket.socket, module: Any, argument: str, descriptors: list[int]
) -> None:
    code = 1
    try:
        control.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for standard, descriptor in enumerate(descriptors):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        module.main(argument)
        code = 0
    except BaseException:  # whatever it is, the nursery's loop must not go on in its fork
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Import the module and fork on request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    module = importlib.import_module(sys.argv[1])
    gc.freeze()  # a collection in a fork would copy every page that it looks at
    _serve(socket.socket(fileno=int(sys.argv[2])), module)


if __name__ == "__main__":
    main()
