"""What a browser does with the web service's API and terminals: cookies, Origin, a page's path."""

from __future__ import annotations

import json
import secrets
import ssl
import time
from http.client import HTTPConnection, HTTPSConnection
from http.cookies import Morsel, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from terminals.protocol import messages
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.stack import PATIENCE

OURS = {"X-Terminals": "page"}


class Visitor:
    """One browser. ``page``: the address of the page that it has opened, which ends with a slash; ``ca``: a
    file of the certificates that it trusts."""

    def __init__(self, page: str, *, ca: str | None = None) -> None:
        self.page = page
        self._tls = ssl.create_default_context(cafile=ca) if page.startswith("https:") else None
        self.cookie: Morsel[str] | None = None
        self.headers: dict[str, str] = {}
        """Of the last answer."""
        parts = urlsplit(page)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 80, parts.path
        self.origin = f"{parts.scheme}://{parts.netloc}"

    def ask(self, method: str, path: str, body: object = None, /, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer. ``headers`` are those of the page, unless others are given."""
        sent = headers or OURS
        sent = {name.replace("_", "-"): value for name, value in sent.items()}
        if self.cookie is not None:
            sent["Cookie"] = self.shown
        link = (
            HTTPConnection(self._host, self._port, timeout=PATIENCE)
            if self._tls is None
            else HTTPSConnection(self._host, self._port, timeout=PATIENCE, context=self._tls)
        )
        try:
            link.request(method, self._path + path, None if body is None else json.dumps(body), sent)
            answer = link.getresponse()
            self.headers = dict(answer.getheaders())
            for morsel in SimpleCookie(answer.headers.get("Set-Cookie", "")).values():
                self.cookie = morsel
            content = answer.read()
            return answer.status, json.loads(content) if content[:1] in (b"{", b"[") else content
        finally:
            link.close()

    @property
    def shown(self) -> str:
        """The Cookie header."""
        assert self.cookie is not None
        return f"{self.cookie.key}={self.cookie.value}"

    def sign_in(self, credential: str) -> dict[str, Any]:
        """Come in."""
        status, who = self.ask("POST", "api/sign-in", {"credential": credential})
        assert status == 200, who
        return who

    def terminal(self, profile: str = "system", *, origin: str | None = "own", **attach: Any) -> Wire:
        """A terminal at the page's own port, in whatever state it comes to."""
        address = f"ws{self.page.removeprefix('http')}ws/{profile}"
        cookies = {} if self.cookie is None else {"Cookie": self.shown}
        page = self.origin if origin == "own" else origin
        link = connect(address, origin=page, additional_headers=cookies, ssl=self._tls, legacy=True)  # type: ignore[arg-type]
        return Wire(link, attach)


class Wire:
    """A WebSocket on which nobody presents anything but a cookie."""

    def __init__(self, link: ClientConnection, attach: dict[str, Any]) -> None:
        self.link = link
        self.say("hello", versions=[3, 2, 1], client=secrets.token_hex(8), **attach.pop("credentials", {}))
        self.welcome = self.want("welcome", "error")
        if self.welcome["type"] == "welcome":
            self.say("attach", channel=0, cols=80, rows=24, **attach)
            self.attached = self.want("attached", "error", "retry-later")
            self.session = self.attached.get("session")

    def say(self, kind: str, **fields: Any) -> None:
        """Send a text message."""
        self.link.send(messages.encode_text(kind, **fields), text=True)

    def type(self, data: bytes) -> None:
        """Send input, the first there is."""
        self.link.send(messages.encode_data(0, 0, data))

    def want(self, *kinds: str) -> dict[str, Any]:
        """The next text message of one of these types."""
        while True:
            message = self.link.recv(timeout=PATIENCE)
            if isinstance(message, str) and (fields := json.loads(message))["type"] in kinds:
                return fields

    def shown(self, text: bytes) -> bool:
        """Wait until ``text`` is among the output."""
        output, end = b"", time.monotonic() + PATIENCE
        while text not in output:
            assert time.monotonic() < end, output
            message = self.link.recv(timeout=PATIENCE)
            if isinstance(message, bytes):
                output += messages.decode_binary(message).payload
        return True

    def ended(self) -> int | None:
        """Wait for the end of the connection, and give its code."""
        try:
            while True:
                self.link.recv(timeout=PATIENCE)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
