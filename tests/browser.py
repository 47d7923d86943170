"""Chromium without a window, spoken to by the WebDriver protocol (W3C) through chromedriver."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_LOCAL = ("127.0.0.1", "localhost")


class Browser:
    """One window."""

    def __init__(self, url: str) -> None:
        self._url = url

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            raise RuntimeError(error.read().decode()[:1000]) from error

    def open(self, url: str) -> None:
        self.call("POST", "/url", {"url": url})

    def run(self, script: str, *values: Any) -> Any:
        """What a script returns."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(values)})

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """The first true value of a condition."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{what}: not within {seconds:g} s")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element, scrolled to the middle of the window."""
        script = """const found = document.querySelector(arguments[0]);
            found.scrollIntoView({block: 'center', behavior: 'instant'});
            const box = found.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]"""
        left, top, width, height = self.run(script, selector)
        return left, top, width, height

    def press(self, places: Sequence[tuple[float, float]]) -> None:
        """Presses the mouse at the first place, moves it over the others and lets it go."""
        moves = [{"type": "pointerMove", "duration": 40, "x": round(x), "y": round(y)} for x, y in places]
        steps = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self.call("POST", "/actions", {"actions": [mouse]})

    def click(self, selector: str) -> None:
        left, top, width, height = self.box(selector)
        self.press([(left + width / 2, top + height / 2)])

    def give_file(self, selector: str, path: Path) -> None:
        """Chooses a file for an input of that type."""
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        self.call("POST", f"/element/{next(iter(found.values()))}/value", {"text": str(path)})

    def picture(self, path: Path) -> None:
        """The whole page as PNG."""
        body = {"cmd": "Page.captureScreenshot", "params": {"format": "png", "captureBeyondViewport": True}}
        path.write_bytes(base64.b64decode(self.call("POST", "/goog/cdp/execute", body)["data"]))

    def errors(self) -> list[str]:
        """What the console shows as errors."""
        return [
            line["message"] for line in self.call("POST", "/se/log", {"type": "browser"}) if line["level"] == "SEVERE"
        ]

    def requests_elsewhere(self) -> list[str]:
        """Addresses outside of this machine that the page asked for."""
        events = [
            json.loads(line["message"])["message"] for line in self.call("POST", "/se/log", {"type": "performance"})
        ]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        asked += [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
        parts = [(url, urlsplit(url)) for url in asked]
        return [url for url, part in parts if part.scheme.startswith(("http", "ws")) and part.hostname not in _LOCAL]


@contextmanager
def browser(profile: Path, *, width: int = 1280, height: int = 1000, phone: bool = False) -> Iterator[Browser]:
    """A window with a new, empty profile; a ``phone`` has that width and height, and a finger."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        window = Browser(f"http://127.0.0.1:{port}")
        window.wait(lambda: _answers(window), "chromedriver")
        words = [*_OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        options: dict[str, Any] = {"args": words, "binary": CHROMIUM}
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2}}
        logs = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        started = window.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        session = Browser(f"{window._url}/session/{started['sessionId']}")
        try:
            yield session
        finally:
            session.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()


def _answers(window: Browser) -> bool:
    try:
        return bool(window.call("GET", "/status")["ready"])
    except (URLError, OSError):
        return False
