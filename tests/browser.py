"""A headless Chromium, driven by its DevTools protocol over two pipes; no other package."""

from __future__ import annotations

import base64
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

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def executable() -> str:
    """$CHROMIUM, or what is on the path; the test is skipped where there is none."""
    found = next(
        (path for name in (os.environ.get("CHROMIUM", ""), *NAMES) if name and (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium is installed (CHROMIUM names one)")
    return found


class Page:
    """One tab."""

    def __init__(self, there: int, back: int) -> None:
        self._there, self._back = there, back
        self._rest, self._count, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do something and give its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._there, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self.events.append(answer)

    def _read(self, timeout: float = 60.0) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], timeout)
            assert ready, "the browser does not answer"
            self._rest += os.read(self._back, 1 << 20)
        text, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(text))

    def show(self, path: Path, width: int, dark: bool, height: int = 900) -> None:
        """Load a file, in a window of this width."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + 60
        while self.value("document.readyState") != "complete":
            assert time.monotonic() < end
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """What JavaScript gives."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the left button, in steps."""
        self._mouse("mousePressed", start, 1)
        for k in range(1, 6):
            at = tuple(a + (b - a) * k / 5 for a, b in zip(start, end, strict=True))
            self._mouse("mouseMoved", at, 1)  # type: ignore[arg-type]
        self._mouse("mouseReleased", end, 0)

    def _mouse(self, kind: str, at: tuple[float, float], buttons: int) -> None:
        button = {"button": "left", "buttons": buttons, "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], **button)

    def screenshot(self, output: Path, whole: bool = True) -> None:
        """Write a PNG of the page."""
        image = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        output.write_bytes(base64.b64decode(image))

    @property
    def errors(self) -> list[str]:
        """What the console and the loading of files complained of."""
        said = []
        for event in self.events:
            method, given = event.get("method"), event.get("params", {})
            bad = method == "Runtime.exceptionThrown" or method == "Network.loadingFailed"
            bad |= method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning")
            bad |= method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning")
            if bad and "GPU stall" not in json.dumps(given):  # of reading pixels back, which a screenshot does
                said.append(json.dumps(given)[:500])
        return said

    @property
    def requests(self) -> list[str]:
        """What was fetched."""
        sent = [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in sent if not url.startswith("data:")]


@contextmanager
def opened() -> Iterator[Page]:
    """A browser with one tab."""
    command = [executable(), "--headless", "--no-sandbox", "--remote-debugging-pipe", "--use-angle=swiftshader"]
    command += ["--enable-unsafe-swiftshader", "--hide-scrollbars", "--disable-dev-shm-usage", "--no-first-run"]
    read_by_browser, there = os.pipe()
    back, written_by_browser = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol is on descriptors 3 and 4, which a shell puts in place.
        script = f'exec "$@" 3<&{read_by_browser} 4>&{written_by_browser}'
        browser = subprocess.Popen(
            ["bash", "-c", script, "browser", *command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=[read_by_browser, written_by_browser],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_by_browser)
        os.close(written_by_browser)
        try:
            yield Page(there, back)
        finally:
            os.close(there)
            os.close(back)
            try:
                browser.wait(10)
            except subprocess.TimeoutExpired:
                browser.kill()
                browser.wait()
