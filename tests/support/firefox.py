"""Debian's Firefox, driven by WebDriver BiDi over its own WebSocket.

Playwright drives it by the same protocol, but not without commands that this Firefox does not know.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.support.stack import PATIENCE

PROGRAM = shutil.which("firefox-esr")
KEYS = {"Enter": "\ue007", "Shift": "\ue008", "Control": "\ue009", "Alt": "\ue00a"}
KEYS |= {"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}
PREFERENCES = {
    "webgl.disabled": True,  # drawn with elements, whose text can be read
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


class Firefox:
    """A window of it, with a profile of its own."""

    def __init__(self) -> None:
        assert PROGRAM is not None
        self._folder = Path(tempfile.mkdtemp(prefix="firefox-"))
        lines = (f'user_pref("{name}", {json.dumps(value)});\n' for name, value in PREFERENCES.items())
        (self._folder / "user.js").write_text("".join(lines))
        command = [PROGRAM, "--headless", "--no-remote", "--remote-debugging-port=0"]
        self._log = self._folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--profile", str(self._folder), "about:blank"], stdout=log, stderr=log
            )
        self._numbers = itertools.count(1)
        self._link = connect(f"{self._address()}/session", max_size=None, compression=None, legacy=True)
        self._ask("session.new", capabilities={})
        self._context = self._ask("browsingContext.getTree")["contexts"][0]["context"]
        viewport = {"width": 1100, "height": 640}
        self._ask("browsingContext.setViewport", context=self._context, viewport=viewport)

    def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def reload(self) -> None:
        """As with the button for it."""
        self._ask("browsingContext.reload", context=self._context, wait="complete")

    def js(self, expression: str) -> Any:
        """The value of an expression of the page, as JSON has it."""
        answer = self._ask(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"].get("value", "null"))

    def type(self, text: str) -> None:
        """Press a key for each character."""
        self._press(
            [(kind, KEYS["Enter"] if key == "\n" else key) for key in text for kind in ("Down", "Up")]
        )

    def press(self, chord: str) -> None:
        """Press a key, with others held: ``Alt+Shift+D``."""
        keys = [KEYS.get(name, name) for name in chord.split("+")]
        self._press([("Down", key) for key in keys] + [("Up", key) for key in reversed(keys)])

    def close(self) -> None:
        """Have it gone."""
        self._link.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _press(self, keys: list[tuple[str, str]]) -> None:
        actions = [{"type": f"key{kind}", "value": key} for kind, key in keys]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._ask("input.performActions", context=self._context, actions=[source])

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._link.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._link.recv(timeout=PATIENCE))
            if answer.get("id") != number:
                continue  # an event
            assert answer["type"] == "success", answer
            result: dict[str, Any] = answer["result"]
            return result

    def _address(self) -> str:
        end = time.monotonic() + PATIENCE
        while True:
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", self._log.read_text()):
                return found[1]
            assert self._process.poll() is None and time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)
