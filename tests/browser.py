"""Debian's Chromium without a window, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium")
START_SECONDS = 60.0
ANSWER_SECONDS = 60.0


class Browser:
    """One tab, and all that its pages said, threw and asked of any network."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._sent = 0
        self.said: list[str] = []
        """Errors and warnings of console, log and scripts."""
        self.asked: list[str] = []
        """Addresses of requests, but for the page's own file and what it carries itself."""

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; what happens meanwhile is noted."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(timeout=ANSWER_SECONDS))
            if told.get("id") == self._sent:
                assert "error" not in told, told
                return told["result"]
            self._note(told.get("method"), told.get("params", {}))

    def _note(self, method: str | None, told: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.said.append(json.dumps(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.said.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            address = told["request"]["url"]
            own = told.get("type") == "Document" and address.startswith("file:")
            if not own and not address.startswith(("data:", "blob:")):
                self.asked.append(address)

    def open(
        self, page: Path, width: int = 1280, height: int = 900, *, dark: bool = False,
        scale: float = 1,
    ) -> None:  # fmt: skip
        """Open a file at a size and in a theme, and wait until it is loaded."""
        self.said.clear()
        self.asked.clear()
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=width < 600)  # fmt: skip
        self.theme(dark)
        self.send("Page.navigate", url=page.absolute().as_uri())
        self.wait("document.readyState === 'complete'")

    def theme(self, dark: bool) -> None:
        """Let the page believe that its reader prefers a dark or a light one."""
        wanted = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[wanted])

    def run(self, script: str) -> Any:
        """Return the value of an expression; promises are waited for."""
        told = self.send("Runtime.evaluate", expression=script, returnByValue=True,
                         awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true; AssertionError after so many seconds."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"still not: {condition}; said: {self.said}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key."""
        codes = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowRight": 39, "End": 35, "Tab": 9}
        typed = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **(typed if kind == "keyDown" else {}),
            )

    def picture(self, path: Path) -> None:
        """Save what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own in `folder`; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium (apt-get install chromium)")
    process = subprocess.Popen(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--disable-background-networking", "--disable-component-update", "--no-first-run",
         "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}",
         "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with connect(_tab(folder, process), max_size=None) as socket:
            tab = Browser(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.send(f"{domain}.enable")
            yield tab
            tab.send("Browser.close")
        process.wait(10)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _tab(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address of the first tab, once Chromium has told its port."""
    import httpx

    told, end = folder / "DevToolsActivePort", time.monotonic() + START_SECONDS
    while not told.is_file() or told.read_text().count("\n") < 1:
        assert process.poll() is None, f"chromium ended with status {process.returncode}"
        assert time.monotonic() < end, "chromium did not start"
        time.sleep(0.05)
    port = told.read_text().split("\n")[0]
    while True:
        tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
        for tab in tabs:
            if tab["type"] == "page":
                return tab["webSocketDebuggerUrl"]
        assert time.monotonic() < end, "chromium opened no tab"
        time.sleep(0.05)
