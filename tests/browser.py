"""A real browser for tests: Chromium without a window, spoken to over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
"""None where there is none; on Debian: apt-get install chromium."""

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """One open page. What its scripts throw or log as an error is kept in `errors`."""

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._numbers, self._buffer = read, write, itertools.count(1), b""
        self._session: str | None = None
        self.errors: list[str] = []
        self._loaded = False
        self._home: tuple[str, ...] = ("file:", "data:", "about:")
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol; its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, file: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Loads a file as a device of that width (CSS pixels) and taste shows it."""
        self.visit(file.absolute().as_uri(), width, height, dark)

    def visit(self, url: str, width: int, height: int = 900, dark: bool = False, home: str | None = None) -> None:
        """Loads a page from an address; what it asks of any other than `home` is an error."""
        self._home = ("file:", "data:", "about:") if home is None else (home, "data:")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._next()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        reply = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def picture(self, whole: bool = False) -> bytes:
        """PNG of what is to be seen, or of the whole page."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + 60
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            more = os.read(self._read, 1 << 16) if ready else b""
            assert more, "the browser does not answer"
            self._buffer += more
        text, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(self._home):
            self.errors.append(f"asks the network for {params['request']['url']}")


@contextmanager
def browser() -> Iterator[Page]:
    """Starts Chromium, and ends it."""
    assert CHROMIUM is not None
    there, write = os.pipe()  # the browser reads on 3 and writes on 4
    read, back = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = f'exec "$@" --user-data-dir="{profile}" 3<&{there} 4>&{back}'
        process = subprocess.Popen(
            ["bash", "-c", command, "chromium", CHROMIUM, *_FLAGS],
            pass_fds=(there, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        try:
            yield Page(read, write)
        finally:
            os.close(write)
            os.close(read)
            process.terminate()
            process.wait(30)
