"""What a browser does with the web service's API and terminals: cookies, Origin, a page's path."""

from __future__ import annotations

import json
import secrets
import ssl
from http.client import HTTPConnection, HTTPSConnection
from http.cookies import Morsel, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from terminals.client.link import Link

from tests.support.raw import Raw
from tests.support.stack import PATIENCE

OURS = {"X-Terminals": "page"}


class Visitor:
    """One browser. ``page``: the address of the page that it has opened, which ends with a slash; ``ca``: a
    file of the certificates that it trusts."""

    def __init__(self, page: str, *, ca: str | None = None) -> None:
        self.page = page
        self._ca = ca
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
            # By the message's own headers: HAProxy writes their names in lower case.
            as_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(content) if as_json else content
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

    def terminal(
        self,
        profile: str = "system",
        *,
        origin: str | None = "own",
        credentials: dict[str, Any] | None = None,
        **attach: Any,
    ) -> Wire:
        """A terminal at the page's own port, in whatever state it comes to."""
        address = f"ws{self.page.removeprefix('http')}ws/{profile}"
        headers = {} if self.cookie is None else {"Cookie": self.shown}
        if page := self.origin if origin == "own" else origin:
            headers["Origin"] = page
        return Wire(Link(address, PATIENCE, self._ca, headers), credentials or {}, attach)


class Wire(Raw):
    """A connection on which nobody presents anything but a cookie, unless there are ``credentials``."""

    def __init__(self, link: Link, credentials: dict[str, Any], attach: dict[str, Any]) -> None:
        self._begin(link)
        self.text("hello", versions=[3, 2, 1], client=secrets.token_hex(8), **credentials)
        self.welcome = self.want("welcome", "error")
        if self.welcome["type"] == "welcome":
            self.attach(**attach)
            self.attached = self.want("attached", "error", "retry-later")
            self.session = self.attached.get("session")
