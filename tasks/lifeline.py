"""A rank ends with whoever started it: no process is left behind that holds a GPU.

The worker of the stage starts a launcher, the launcher starts the ranks in sessions of their own.
Killed, neither can tell them. But standard input of a rank is a pipe whose other end only the
worker holds, and its parent is the launcher.
"""

from __future__ import annotations

import os
import select
import stat
import subprocess
import threading
import time

SECONDS = 1.0
"""Between two looks at the parent."""
ORPHANED = 3
"""Exit code of a rank that nobody waits for."""


def end_with_parents() -> None:
    """End this process when its parent is gone, or whoever holds the pipe on standard input."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def let_go_of_ranks(launcher: subprocess.Popen[str]) -> None:
    """Close the launcher's standard input when it has ended, however: ranks left behind end too.

    One that was still importing when its launcher was killed has another parent by the time it
    looks, and cannot know.
    """

    def close() -> None:
        launcher.wait()
        if launcher.stdin is not None:
            launcher.stdin.close()

    threading.Thread(target=close, daemon=True).start()


def _watch(parent: int) -> None:
    piped = _is_pipe(0)
    while os.getppid() == parent:
        if not piped:  # a launcher on another machine gives its ranks no pipe of ours
            time.sleep(SECONDS)
        elif select.select([0], [], [], SECONDS)[0] and not os.read(0, 1):
            break
    os._exit(ORPHANED)


def _is_pipe(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:  # closed
        return False
