"""Signing in by a real provider of OpenID Connect."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest

from tests.support.ports import free_ports
from tests.support.provider import CLIENT, SECRET, Person, Provider
from tests.support.stack import TOKEN, Stack, until

ACCOUNTS = {
    "ada": {"groups": ["staff", "admins"], "email": "ada@example.com", "email_verified": True},
    "bob": {"groups": ["staff"]},
    "eve": {"groups": ["guests"]},
    "~operators": {"groups": ["staff"]},
}


class Environment:
    """Services and provider. The page is at two addresses: at the port, and below the base path."""

    def __init__(self, folder: Any, **oidc: Any) -> None:
        self.folder = folder
        ports = free_ports(3)
        self.pages = [f"http://127.0.0.1:{ports[2]}/terminals/", f"http://127.0.0.1:{ports[2]}/"]
        self.provider = Provider(folder, self.pages, ACCOUNTS)
        (folder / "secret").write_text(f"{SECRET}\n")
        self.oidc = {
            "issuer": self.provider.issuer,
            "client_id": CLIENT,
            "client_secret_file": str(folder / "secret"),
            "public_urls": self.pages,
            "label": "the test's provider",
            "roles": {"operator": ["admins"], "user": ["staff"]},
            **oidc,
        }
        listeners = {
            name: {"host": "127.0.0.1", "port": port}
            for name, port in zip(("system", "claude", "web"), ports, strict=True)
        }
        self.stack = Stack(stable_seconds=0, listeners=listeners, oidc=self.oidc)
        self.stack.start_generation("g1", weight=100)
        self.stack.start_web("g1")

    def person(self, page: int = 0) -> Person:
        return Person(self.pages[page])

    def web_says(self, text: str) -> bool:
        return text in self.stack.log("web-g1")

    def close(self) -> None:
        self.stack.close()
        self.provider.close()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    environment = Environment(tmp_path_factory.mktemp("openid"))
    yield environment
    environment.close()


def test_a_sign_in_by_the_provider(there):
    person = there.person()
    answer = person.ask("GET", "api/visitor").json()
    assert answer == {"visitor": None, "provider": {"label": "the test's provider"}}
    assert person.sign_in("ada") == ""
    who = person.who()
    assert (who["user"], who["role"], who["session"]) == ("oidc:ada", "operator", None)
