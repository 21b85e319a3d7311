"""Run a module until its starter is gone: `python -m deployments.guard MODULE ARGUMENTS...`.

The starter holds the other end of standard input. When it dies, even by SIGKILL, the pipe closes
and the module is asked to end; so a one-shot run cannot leave a server or a runner behind.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_when_input_closes(descriptor: int) -> None:
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Watch standard input in the background and run the named module as a program."""
    # The module and its children get an empty input instead, so that nobody else reads the pipe.
    pipe = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    threading.Thread(target=_end_when_input_closes, args=(pipe,), daemon=True).start()
    module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
