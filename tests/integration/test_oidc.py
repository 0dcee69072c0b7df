"""Signing in by a real provider of OpenID Connect."""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
import requests
from terminals.access import FAILURES
from terminals.protocol.messages import CloseCode

from tests.support.ports import free_ports
from tests.support.provider import CLIENT, SECRET, Person, Provider, private_key
from tests.support.stack import PATIENCE, TOKEN, Stack, until
from tests.support.visitor import OURS, Visitor

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
    location = person.begin()
    asked = parse_qs(urlsplit(location).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["response_type"] == ["code"]
    callback = person.at_provider(location, "bob")
    assert person.back(callback) == ""
    who = person.who()
    assert who is not None
    assert (who["user"], who["role"], who["session"]) == ("oidc:bob", "user", None)
    assert 0 <= time.time() + 12 * 3600 - who["until"] < 600
    given = {name: morsel for line in person.cookies for name, morsel in SimpleCookie(line).items()}
    here, gone, by = (given[name] for name in sorted(given, key=len))
    assert (here.key + "-oidc", here.key + "-oidc-by") == (gone.key, by.key)
    assert (here["samesite"], here["httponly"], here["path"]) == ("Strict", True, "/")
    assert (by["samesite"], by["httponly"]) == ("Strict", True)
    assert gone["max-age"] == "0"
    # They are a user as any other: with sessions of their own, and put out when they are revoked.
    visitor = Visitor(there.pages[0])
    visitor.cookie = here
    with contextlib.closing(visitor.terminal()) as wire:
        assert wire.attached["status"] == "created"
        (session,) = visitor.ask("GET", "api/sessions")[1]["sessions"]
        assert session["user"] == "oidc:bob"
        there.stack.admin("revoke", user="oidc:bob")
        until(lambda: person.who() is None, "the revocation known")
        assert wire.closed() == CloseCode.UNAUTHORIZED
    # Once is enough for a code, and for the cookie that came back with it.
    assert person.back(callback) == "sign-in=stale"
    assert person.who() is None


def test_whoever_has_not_begun_a_sign_in_does_not_finish_it(there):
    person, other = there.person(), there.person()
    state = parse_qs(urlsplit(person.begin()).query)["state"][0]
    back = f"{person.page}oidc/callback?error=access_denied&iss={there.provider.issuer}&state="
    assert other.back(back + state) == "sign-in=stale"  # with no cookie
    other.begin()
    assert other.back(back + state) == "sign-in=stale"  # with one of its own
    for wrong in ("", state[:-1], state + "x", f"{state}&state={state}", "%ff", "%00"):
        assert person.back(back + wrong) == "sign-in=stale"
    # Its own is as good as before: nobody else has taken it away.
    assert person.back(back + state) == "sign-in=denied"
    assert person.back(back + state) == "sign-in=stale"


def test_what_a_browser_comes_back_with_is_not_shown_and_leads_nowhere(there):
    hostile = "%3Cscript%3Ealert(1)%3C/script%3E%0d%0aSet-Cookie:%20a=b"
    for query, reason in {
        f"error={hostile}&error_description={hostile}": "invalid",
        f"error=server_error&error_description={hostile}&next=https://evil.example.com/": "unreachable",
        f"iss={hostile}&code=x": "invalid",
        "": "invalid",
        "code=": "invalid",
        f"code={hostile}&iss={there.provider.issuer}": "invalid",
    }.items():
        person = there.person()
        state = parse_qs(urlsplit(person.begin()).query)["state"][0]
        if "iss=" not in query:
            query += f"&iss={there.provider.issuer}"
        assert person.back(f"{person.page}oidc/callback?{query}&state={state}") == f"sign-in={reason}"
        assert not any("a=b" in cookie for cookie in person.cookies)
    assert all(line.isprintable() for line in there.stack.log("web-g1").splitlines())


def test_only_our_own_page_begins_a_sign_in_and_only_where_the_provider_sends_people_back_to(there):
    person = there.person()
    asked = {"params": {"page": person.page}, "timeout": 60}
    assert requests.post(f"{person.page}api/oidc", **asked).status_code == 403
    for origin in ("https://evil.example.com", "null"):
        headers = {**OURS, "Origin": origin}
        assert requests.post(f"{person.page}api/oidc", headers=headers, **asked).status_code == 403
    for page in ("", "https://evil.example.com/", person.page[:-1], f"{person.page}x/", person.page.upper()):
        answer = person.ask("POST", "api/oidc", params={"page": page})
        assert (answer.status_code, answer.json()) == (
            409,
            {"error": f"sign in at {' or '.join(there.pages)}"},
        )
        assert not answer.cookies
    assert person.ask("GET", "api/oidc").status_code in (401, 404, 405)


@pytest.mark.slow("each goes the whole way to the provider and back")
class TestAtTheProvider:
    @pytest.mark.parametrize(
        ("login", "role"), [("ada", "operator"), ("bob", "user"), ("~operators", "user"), ("eve", None)]
    )
    def test_the_role_is_what_the_provider_s_groups_say(self, there, login, role):
        person = there.person()
        said = person.sign_in(login)
        who = person.who()
        if role is None:
            assert (said, who) == ("sign-in=stranger", None)
        else:
            assert (said, who["user"], who["role"]) == ("", f"oidc:{login}", role)

    def test_at_the_port_s_own_root_as_below_the_base_path(self, there):
        person = there.person(1)
        assert person.sign_in("ada") == ""
        assert person.who()["user"] == "oidc:ada"

    def test_somebody_may_change_their_mind(self, there):
        person = there.person()
        login = person.http.get(person.begin(), timeout=PATIENCE)
        abort = re.search(r'href="([^"]+/abort)"', login.text)
        assert abort, login.text
        answer = person.http.get(urljoin(login.url, abort[1]), allow_redirects=False, timeout=PATIENCE)
        while not answer.headers["Location"].startswith(person.page):
            answer = person.http.get(answer.headers["Location"], allow_redirects=False, timeout=PATIENCE)
        assert person.back(answer.headers["Location"]) == "sign-in=denied"

    def test_a_code_is_good_in_the_browser_that_asked_for_it_only(self, there):
        """Somebody else's, brought into a sign-in of one's own: the verifier is another."""
        person, thief = there.person(), there.person()
        code = parse_qs(urlsplit(person.at_provider(person.begin(), "ada")).query)["code"][0]
        state = parse_qs(urlsplit(thief.begin()).query)["state"][0]
        query = urlencode({"code": code, "state": state, "iss": there.provider.issuer})
        assert thief.back(f"{thief.page}oidc/callback?{query}") == "sign-in=stale"
        assert thief.who() is None

    def test_a_code_is_good_once(self, there):
        person = there.person()
        callback = person.at_provider(person.begin(), "ada")
        before = person.http.cookies.copy()
        assert person.back(callback) == ""
        person.http.cookies = before  # the browser comes back with all that it had
        assert person.back(callback) == "sign-in=stale"

    def test_the_web_process_may_be_another_when_somebody_comes_back(self, there):
        person = there.person()
        callback = person.at_provider(person.begin(), "ada")
        there.stack.kill("web-g1")
        there.stack.start_generation("g2")
        there.stack.start_web("g2")
        there.stack.admin("weights", weights={"g1": 0, "g2": 100})
        try:
            assert person.back(callback) == ""
            assert person.who()["user"] == "oidc:ada"
            assert "oidc:ada has signed in" in there.stack.log("web-g2")
        finally:
            there.stack.start_web("g1")
            there.stack.admin("weights", weights={"g1": 100, "g2": 0})

    def test_signing_out_here_leads_to_signing_out_there(self, there):
        person = there.person()
        person.sign_in("ada")
        leave = person.ask("POST", "api/sign-out").json()["leave"]
        assert person.who() is None
        form = person.http.get(leave, timeout=PATIENCE)
        action = re.search(r'action="([^"]+)"', form.text)
        xsrf = re.search(r'name="xsrf" value="([^"]+)"', form.text)
        assert action and xsrf, form.text
        data = {"xsrf": xsrf[1], "logout": "yes"}
        done = person.http.post(action[1], data=data, allow_redirects=False, timeout=PATIENCE)
        assert done.headers["Location"] == person.page
        assert person.ask("POST", "api/sign-out").json() == {"user": "", "leave": None}
        by_token = there.person()
        by_token.ask("POST", "api/sign-in", json={"credential": TOKEN})
        assert by_token.ask("POST", "api/sign-out").json()["leave"] is None


@pytest.mark.slow("a provider that goes and comes, and other settings")
class TestChanges:
    @pytest.fixture
    def own(self, tmp_path):
        environment = Environment(tmp_path)
        yield environment
        environment.close()

    def test_a_provider_that_is_not_there_is_said_and_one_that_is_back_is_used(self, own):
        person = own.person()
        own.provider.stop()
        answer = person.ask("POST", "api/oidc", params={"page": person.page})
        assert (answer.status_code, answer.json()["error"]) == (503, "unreachable")
        assert person.ask("GET", "health/ready").status_code == 200
        own.provider.start()
        callback = person.at_provider(person.begin(), "ada")
        own.provider.stop()
        assert person.back(callback) == "sign-in=unreachable"
        # It may be signed out of all the same.
        assert person.ask("POST", "api/sign-out").status_code == 200
        own.provider.start()
        assert person.sign_in("ada") == ""

    def test_a_provider_may_have_other_keys(self, own):
        assert own.person().sign_in("ada") == ""
        own.provider.stop()
        own.provider.settings["jwks"] = {"keys": [private_key("second")]}
        own.provider.start()
        assert own.person().sign_in("bob") == ""
        # And no key of a name that is known is another without being another's.
        own.provider.stop()
        own.provider.settings["jwks"] = {"keys": [private_key("second")]}
        own.provider.start()
        assert own.person().sign_in("bob") == "sign-in=invalid"

    def test_settings_and_the_secret_are_in_force_when_they_are_changed(self, own):
        secret = own.folder / "secret"
        secret.write_text("another")
        assert own.person().sign_in("ada") == "sign-in=invalid"
        assert "invalid_client" in own.stack.log("web-g1")
        assert "another" not in own.stack.log("web-g1")
        secret.unlink()
        assert own.person().sign_in("ada") == "sign-in=invalid"
        public = {key: value for key, value in own.oidc.items() if key != "client_secret_file"}
        own.stack.settings["oidc"] = {
            **public,
            "client_id": "public",
            "user_prefix": "",
            "session_seconds": 600,
        }
        own.stack.replace_manager()
        until(lambda: own.stack.generation("g1").get("web"), "the web process back")
        person = own.person()
        assert person.sign_in("ada") == ""
        assert person.who()["user"] == "ada"
        assert person.who()["until"] <= time.time() + 600
        assert own.person().sign_in("~operators") == "sign-in=name"

    def test_whoever_tries_codes_is_not_heard_for_a_while(self, own):
        for _ in range(FAILURES):
            person = own.person()
            state = parse_qs(urlsplit(person.begin()).query)["state"][0]
            query = urlencode({"code": secrets.token_hex(16), "state": state, "iss": own.provider.issuer})
            assert person.back(f"{person.page}oidc/callback?{query}") == "sign-in=stale"
        answer = own.person().ask("POST", "api/oidc", params={"page": own.pages[0]})
        assert answer.status_code == 429
