"""Signing in, roles, links that are given away, and terminals at the page's own port."""

from __future__ import annotations

import json
import socket
import time
from functools import partial
from http.client import HTTPConnection

import jwt
import pytest
from terminals import tickets
from terminals.access import Access
from terminals.client import Terminal
from terminals.control.answers import Front
from terminals.manager import links
from terminals.protocol.messages import CloseCode
from terminals.tickets import Ticket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.stack import TOKEN, Stack, until
from tests.support.visitor import OURS, Visitor

KEY = TOKEN.encode()


def with_web(stack: Stack) -> Stack:
    stack.start_generation("g1", weight=100)
    stack.start_web("g1")
    return stack


@pytest.fixture(scope="module")
def stack():
    stack = with_web(Stack(stable_seconds=0))
    yield stack
    stack.close()


@pytest.fixture
def own():
    """A stack of the test's own, which it may kill parts of."""
    stack = with_web(Stack(stable_seconds=0))
    yield stack
    stack.close()


def visitor(stack: Stack, user: str = "", *, path: str = "", role: str = "user", **ticket: object) -> Visitor:
    """Somebody who has signed in: with a ticket of that user, or with the token."""
    found = Visitor(stack.url("web") + path)
    credential = tickets.issue(KEY, Ticket(user, role=role, **ticket)) if user else TOKEN
    found.sign_in(credential)
    return found


def by_link(stack: Stack, owner: Visitor, session: str, **asked: object) -> tuple[Visitor, str]:
    """A guest who has come by a link to a session, and the link's id."""
    status, made = owner.ask("POST", "api/links", {"session": session, **asked})
    assert status == 200, made
    guest = Visitor(stack.url("web"))
    guest.sign_in(made["ticket"])
    return guest, made["link"]["id"]


# --- signing in ------------------------------------------------------------------------------


def test_a_sign_in_leaves_a_cookie_that_no_script_and_no_other_site_gets(stack):
    someone = Visitor(stack.url("web"))
    assert someone.ask("GET", "api/info")[0] == 401
    assert someone.ask("GET", "api/visitor") == (200, {"visitor": None, "provider": None})
    who = someone.sign_in(TOKEN)
    assert someone.ask("GET", "api/visitor") == (200, {"visitor": who, "provider": None})
    assert (who["user"], who["role"]) == ("", "operator")
    cookie = someone.cookie
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["secure"]) == ("Strict", "/", "")
    assert 3600 <= int(cookie["max-age"]) <= 86400
    assert TOKEN not in cookie.value
    assert someone.ask("GET", "api/info")[1]["visitor"]["role"] == "operator"
    assert someone.ask("POST", "api/sign-out")[0] == 200
    assert someone.cookie["max-age"] == "0"
    someone.cookie = None
    assert someone.ask("GET", "api/info")[0] == 401


def test_what_is_presented_has_to_be_good_and_guessing_is_slowed_down(own):
    someone = Visitor(own.url("web"))
    for body in (None, [], {}, {"credential": ""}, {"credential": 5}):
        assert someone.ask("POST", "api/sign-in", body)[0] == 400
    old = tickets.issue(b"another", Ticket("ada"))
    refused = someone.ask("POST", "api/sign-in", {"credential": old})
    assert refused == (401, {"error": "the ticket is not valid", "sign_in": "api/sign-in"})
    cookie = Access(KEY, Front()).sign_in(Access(KEY, Front()).identify(TOKEN, None), seconds=60)
    assert someone.ask("POST", "api/sign-in", {"credential": cookie})[0] == 401, "a cookie is no ticket"
    assert someone.ask("POST", "api/sign-in", {"credential": "guess"})[1]["error"] == "wrong token"
    assert someone.cookie is None
    for guess in range(10):
        someone.ask("POST", "api/sign-in", {"credential": f"guess{guess}"})
    assert someone.ask("POST", "api/sign-in", {"credential": TOKEN})[0] == 429
    assert int(someone.headers["Retry-After"]) >= 1
    log = own.log("web-g1")
    assert not [text for text in (TOKEN, old, cookie, "guess") if text in log]


def test_a_proxy_may_ask_for_a_password_of_its_own(stack):
    someone = visitor(stack, "ada")
    assert someone.ask("GET", "api/info", Authorization="Basic YWRhOnB3")[0] == 200
    assert someone.ask("GET", "api/info", Authorization="Bearer wrong")[0] == 401


@pytest.mark.parametrize("body", [b"[" * 50_000, b"{", b"\xff", b"x" * 100_000])
def test_what_cannot_be_read_is_one_line(stack, body):
    port = int(stack.url("web").split(":")[2].rstrip("/"))
    link = HTTPConnection("127.0.0.1", port, timeout=60)
    link.request("POST", "/api/sign-in", body, {**OURS, "Content-Type": "application/json; charset=nonsense"})
    answer = link.getresponse()
    assert answer.status in (400, 413)
    assert set(json.loads(answer.read())) == {"error"}
    link.close()


def test_a_ticket_is_no_cookie_and_a_cookie_no_ticket(stack):
    someone = visitor(stack, "ada")
    taken = someone.cookie.value
    someone.cookie.set(someone.cookie.key, *[tickets.issue(KEY, Ticket("ada"))] * 2)
    assert someone.ask("GET", "api/info")[0] == 401
    wire = Visitor(stack.url("web")).terminal(credentials={"ticket": taken})
    assert wire.welcome["code"] == "unauthorized"


def test_only_our_page_changes_anything_in_a_visitors_name(stack):
    someone = visitor(stack, "pam")
    session = someone.terminal().session
    elsewhere = "http://127.0.0.1:1"  # another port of the same host gets the cookie, too
    for method, path in (
        ("DELETE", f"api/sessions/{session}"),
        ("POST", "api/sign-out"),
        ("POST", "api/links"),
    ):
        for headers in ({"Accept": "*/*"}, {"X_Terminals": "page", "Origin": elsewhere}):
            assert someone.ask(method, path, **headers)[0] == 403
    assert someone.ask("POST", "api/sign-in", {"credential": TOKEN}, Accept="*/*")[0] == 403
    listed = someone.ask("GET", "api/sessions")[1]["sessions"]
    assert [entry["id"] for entry in listed if entry["live"]] == [session]
    assert someone.ask("DELETE", f"api/sessions/{session}", Origin=someone.origin, **OURS)[0] == 200


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://h:4110", "h:4110", True),
        ("http://H:4110", "h:4110", True),
        ("https://h", "h:443", True),
        ("http://h:80", "h", True),
        ("https://h:4110", "h:4110", True),  # a proxy that does not say so speaks TLS
        ("http://h", "h:4110", False),
        ("http://h:4111", "h:4110", False),
        ("https://h", "h:80", False),
        ("http://evil", "h", False),
        ("null", "null", False),
        ("null", "", False),
        ("", "", False),
        (None, "h", False),
        ("https://allowed.example", "h:4110", False),  # what may be embedded comes by ticket
    ],
)
def test_which_pages_may_use_a_cookie(origin, host, same):
    access = Access(KEY, Front(allowed_origins=("https://allowed.example",)))
    assert access.same_page(origin, host, secure=False) is same
    by_tls = same and origin.startswith("https:")
    assert access.same_page(origin, host, secure=True) is by_tls


def test_behind_tls_the_cookie_is_for_tls_only():
    front = Front(trusted_proxies=("10.0.0.0/8",))
    access = Access(KEY, front)
    assert access.secure("10.0.0.2", "https")
    assert not access.secure("10.0.0.2", "http")
    assert not access.secure("203.0.113.9", "https"), "anybody can say so"
    assert Access(KEY, Front(tls=True)).secure("203.0.113.9", None)
    secure, plain = access.cookie_name(secure=True), access.cookie_name(secure=False)
    assert secure == f"__Host-{plain}"
    both = [f"a=1; {plain}=plain", f"{secure}=secure"]
    assert access.cookie(both, secure=True) == "secure"
    assert access.cookie(both, secure=False) == "plain"
    assert access.cookie(both[:1], secure=True) is None, "anybody can have set it"
    assert access.cookie(["", "nonsense", "=;=;"], secure=False) is None
    assert Access(b"another environment", front).cookie_name(secure=False) != plain


def test_a_trusted_proxy_that_speaks_tls_makes_the_cookie_secure(own):
    own.settings["trusted_proxies"] = ["127.0.0.1"]
    own.replace_manager()
    until(lambda: own.generation("g1").get("web"), "the web process coming back")
    someone = Visitor(own.url("web"))
    headers = {**OURS, "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
    assert someone.ask("POST", "api/sign-in", {"credential": TOKEN}, **headers)[0] == 200
    assert someone.cookie.key.startswith("__Host-")
    assert (someone.cookie["secure"], someone.cookie["path"]) == (True, "/")
    assert "198.51.100.7" in own.log("web-g1")


def test_who_stays_is_given_the_next_cookie_and_a_revoked_user_is_out(stack):
    access = Access(KEY, Front())
    someone = visitor(stack, "cyd")
    assert someone.ask("GET", "api/info")[0] == 200
    assert "Set-Cookie" not in someone.headers
    first = someone.cookie.value
    # One that has little time left, of the same sign-in.
    late = access.sign_in(access.identify(None, None, first), seconds=60)
    someone.cookie.set(someone.cookie.key, late, late)
    assert someone.ask("GET", "api/sessions")[0] == 200
    assert tickets.read(KEY, someone.cookie.value, audience=tickets.COOKIE).ends > time.time() + 3600
    born = {access.identify(None, None, text).born for text in (first, someone.cookie.value)}
    assert len(born) == 1, "what was revoked stays revoked"
    wire = someone.terminal()
    assert visitor(stack).ask("DELETE", "api/tickets/cyd")[0] == 200
    assert wire.closed() == CloseCode.UNAUTHORIZED
    until(lambda: someone.ask("GET", "api/info")[0] == 401, "the web process hearing of it")
    assert someone.terminal().welcome["code"] == "unauthorized"
    assert visitor(stack, "cyd").ask("GET", "api/info")[0] == 200, "who signs in anew is let in"


# --- terminals at the page's port ----------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "terminals/"])
def test_everything_is_to_be_had_at_one_port_and_below_one_path(stack, path):
    someone = visitor(stack, "ada", path=path)
    info = someone.ask("GET", "api/info")[1]
    assert info["one_port"] is True
    wire = someone.terminal()
    wire.type(0, b"echo here-$((40 + 2))\n")
    assert wire.shown(b"here-42")
    assert wire.attached["generation"] == "g1"
    status, page = someone.ask("GET", "")
    assert status == 200
    assert b'"/' not in page.split(b"<body>")[0], "an address that begins at the root of the host"
    assert someone.ask("GET", "health/ready")[0] == 200
    wire.link.close()


def test_the_page_needs_its_slash(stack):
    someone = Visitor(stack.url("web"))
    assert someone.ask("GET", "terminals")[0] == 308
    assert someone.headers["Location"] == "./terminals/"


def test_a_token_and_a_ticket_are_good_there_too(stack):
    address = f"ws{stack.url('web').removeprefix('http')}ws/system"
    with Terminal(address, token=TOKEN) as terminal:
        terminal.send(b"echo $((6 * 7))\n")
        terminal.expect(rb"42")
        terminal.cut()
        assert terminal.open().status == "resumed"
    with Terminal(address, ticket=tickets.issue(KEY, Ticket("ada"))) as terminal:
        assert terminal.attached.status == "created"


@pytest.mark.parametrize("origin", ["http://127.0.0.1:1", None])
def test_another_page_of_this_host_gets_no_terminal_by_a_cookie(stack, origin):
    assert visitor(stack).terminal(origin=origin).welcome["code"] == "unauthorized"


def test_what_is_no_terminal_is_refused(stack):
    someone = Visitor(stack.url("web"))
    assert someone.ask("GET", "ws/system") == (426, {"error": "this is a WebSocket's address"})
    assert someone.headers["Upgrade"] == "websocket"
    for name in ("web", "nothing", "..%2fsystem"):
        with pytest.raises(InvalidStatus, match="404"):
            connect(f"ws{someone.page.removeprefix('http')}ws/{name}")
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws{someone.page.removeprefix('http')}ws/system", origin="http://evil.example")


def test_a_connection_that_a_proxy_has_used_before_becomes_a_terminal(stack):
    port = int(stack.url("web").split(":")[2].rstrip("/"))
    link = HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(2):
        link.request("GET", "/health/live")
        assert link.getresponse().read()
    head = (
        "GET /ws/system HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    link.sock.sendall(head.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += link.sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    link.close()


def test_heads_of_any_length_and_connections_that_end_at_once_hurt_nobody(stack):
    port = int(stack.url("web").split(":")[2].rstrip("/"))
    upgrade = b"GET /ws/system HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    for more in (b"X-A: " + b"a" * 8000 + b"\r\n") * 12, b"", b"X-B: \xff\r\n":
        for cut in (True, False):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
                sock.sendall(upgrade + more + b"\r\n")
                if not cut:
                    assert sock.recv(100).startswith(b"HTTP/1.1 4")
    wire = visitor(stack, "ada").terminal()
    assert wire.attached["type"] == "attached"
    wire.link.close()


# --- roles ----------------------------------------------------------------------------------------


def test_what_each_role_sees_and_may(own):
    operator, ada = visitor(own), visitor(own, "ada")
    bob, eve = visitor(own, "bob"), visitor(own, "eve", role="viewer")
    hers, his = ada.terminal(), bob.terminal()
    load = own.terminal(program="load")
    load.open()

    def listed(someone: Visitor, query: str = "") -> set[str]:
        return {entry["id"] for entry in someone.ask("GET", f"api/sessions{query}")[1]["sessions"]}

    assert listed(operator) == listed(eve) == {hers.session, his.session}
    assert listed(operator, "?programs=1") == {hers.session, his.session, load.session}
    assert listed(ada) == listed(ada, "?programs=1") == {hers.session}

    name = {"title": "mine"}
    assert ada.ask("PATCH", f"api/sessions/{hers.session}", name)[0] == 200
    assert ada.ask("PATCH", f"api/sessions/{his.session}", name)[0] == 404
    assert ada.ask("DELETE", f"api/sessions/{his.session}")[0] == 404
    for method, path in (
        ("PATCH", f"api/sessions/{his.session}"),
        ("DELETE", f"api/sessions/{his.session}"),
        ("POST", "api/links"),
        ("GET", "api/links"),
    ):
        assert eve.ask(method, path, name)[0] == 403
    for someone in (ada, eve):
        for method, path in (
            ("GET", "api/status"),
            ("GET", "metrics"),
            ("POST", "api/tickets"),
            ("DELETE", "api/tickets/bob"),
        ):
            assert someone.ask(method, path, {"user": "x"})[0] == 403

    watched = eve.terminal(session=his.session)
    assert watched.attached["mode"] == "read"
    watched.type(0, b"touch intruder\n")
    assert eve.terminal().attached["code"] == "unknown-session", "a viewer begins nothing"
    assert ada.terminal(session=his.session, mode="read").attached["code"] == "unknown-session"
    assert operator.terminal(session=his.session).attached["status"] == "resumed"
    assert his.closed() == CloseCode.TAKEN_OVER
    assert operator.ask("DELETE", f"api/sessions/{hers.session}")[0] == 200
    assert not (own.root / "intruder").exists()
    load.close(kill=True)


def test_an_operator_with_a_name_has_sessions_of_their_own(stack):
    olga = visitor(stack, "olga", role="operator")
    wire = olga.terminal()
    users = {entry["id"]: entry["user"] for entry in olga.ask("GET", "api/sessions")[1]["sessions"]}
    assert users[wire.session] == "olga"
    assert olga.ask("GET", "api/status")[0] == 200
    wire.link.close()


@pytest.mark.parametrize(
    "body",
    [
        {"user": "~load"},
        {"user": "ada", "role": "guest"},
        {"user": "ada", "role": "king"},
        {"role": "viewer"},
        {"user": ""},
    ],
)
def test_tickets_are_for_people_and_for_roles_that_there_are(stack, body):
    assert visitor(stack).ask("POST", "api/tickets", body)[0] == 400


def test_a_ticket_of_the_api_carries_its_role(stack):
    status, made = visitor(stack).ask("POST", "api/tickets", {"user": "vera", "role": "viewer"})
    assert status == 200
    who = Visitor(stack.url("web")).sign_in(made["ticket"])
    assert (who["user"], who["role"], who["read_only"]) == ("vera", "viewer", True)


@pytest.mark.parametrize("role", ["user", "operator"])
def test_whoever_looks_on_cannot_become_somebody_who_types(stack, role):
    ada = visitor(stack, "ada")
    hers = ada.terminal()
    limits = {"role": role, "session": hers.session}
    watcher = visitor(stack, "ada", read_only=True, **limits)
    for method, path, body in (
        ("POST", "api/links", {"session": hers.session, "read_only": False}),
        ("PATCH", f"api/sessions/{hers.session}", {"title": "x"}),
        ("DELETE", f"api/sessions/{hers.session}", None),
        ("POST", "api/tickets", {"user": "eve", "role": "operator"}),
    ):
        assert watcher.ask(method, path, body)[0] == 403, path
    one = visitor(stack, "ada", **limits)
    assert one.ask("POST", "api/tickets", {"user": "eve"})[0] == 403
    assert one.ask("GET", "api/status")[0] == 403
    assert one.ask("POST", "api/sign-out")[0] == watcher.ask("POST", "api/sign-out")[0] == 200
    hers.link.close()


def test_a_link_is_good_no_longer_than_who_gave_it_away(stack):
    hers = visitor(stack, "ada").terminal()
    end = int(time.time()) + 60
    ada = visitor(stack, "ada", until=end)
    assert ada.ask("POST", "api/links", {"session": hers.session, "minutes": 600})[1]["link"]["until"] <= end
    hers.link.close()


# --- links ----------------------------------------------------------------------------------------


def test_a_link_opens_one_session_to_look_on(stack):
    ada = visitor(stack, "alma")
    hers, other = ada.terminal(), ada.terminal()
    guest, link = by_link(stack, ada, hers.session, minutes=5)
    info = guest.ask("GET", "api/info")[1]["visitor"]
    assert (info["role"], info["session"], info["read_only"]) == ("guest", hers.session, True)
    assert 0 < info["until"] - time.time() <= 300
    assert [entry["id"] for entry in guest.ask("GET", "api/sessions")[1]["sessions"]] == [hers.session]
    for method, path in (
        ("POST", "api/links"),
        ("GET", "api/links"),
        ("DELETE", f"api/sessions/{hers.session}"),
    ):
        assert guest.ask(method, path, {})[0] == 403
    watching = guest.terminal(session=hers.session)
    assert watching.attached["mode"] == "read"
    hers.type(0, b"echo seen-$((40 + 2))\n")
    assert watching.shown(b"seen-42")
    assert guest.terminal(session=other.session).attached["code"] == "unknown-session"
    assert guest.terminal().attached["session"] == hers.session, "where none is named, it is that one"
    (listed,) = ada.ask("GET", "api/links")[1]["links"]
    assert (listed["id"], listed["by"], listed["read_only"]) == (link, "alma", True)
    for wire in (hers, other, watching):
        wire.link.close()


def test_a_link_to_type_lets_a_guest_work(stack):
    ada = visitor(stack, "ann")
    hers = ada.terminal()
    guest, _ = by_link(stack, ada, hers.session, read_only=False)
    wire = guest.terminal(session=hers.session)
    assert wire.attached["mode"] == "write"
    assert hers.closed() == CloseCode.TAKEN_OVER
    wire.type(0, b"echo typed-$((40 + 2))\n")
    assert wire.shown(b"typed-42")
    wire.link.close()


def test_a_link_is_revoked_by_its_owner_and_by_an_operator_only(stack):
    ada, bob, operator = visitor(stack, "amy"), visitor(stack, "bob"), visitor(stack)
    hers = ada.terminal()
    for revoker in (ada, operator):
        guest, link = by_link(stack, ada, hers.session)
        wire = guest.terminal(session=hers.session)
        assert bob.ask("DELETE", f"api/links/{link}")[0] == 404
        assert link not in {entry["id"] for entry in bob.ask("GET", "api/links")[1]["links"]}
        assert link in {entry["id"] for entry in operator.ask("GET", "api/links")[1]["links"]}
        assert revoker.ask("DELETE", f"api/links/{link}")[0] == 200
        assert wire.closed() == CloseCode.UNAUTHORIZED
        assert revoker.ask("DELETE", f"api/links/{link}")[0] == 404
        until(lambda guest=guest: guest.ask("GET", "api/info")[0] == 401, "the web process hearing of it")
        assert guest.terminal(session=hers.session).welcome["code"] == "unauthorized"
    assert ada.terminal(session=hers.session).attached["status"] == "resumed"


def test_a_link_ends_by_itself_and_puts_its_guests_out(stack):
    ada = visitor(stack, "ada")
    hers = ada.terminal()
    status, made = ada.ask("POST", "api/links", {"session": hers.session, "minutes": 0.1})
    assert status == 200
    guest = Visitor(stack.url("web"))
    guest.sign_in(made["ticket"])
    by_cookie = guest.terminal(session=hers.session)
    by_ticket = Visitor(stack.url("web")).terminal(
        credentials={"ticket": made["ticket"]}, session=hers.session
    )
    assert by_ticket.attached["type"] == by_cookie.attached["type"] == "attached"
    renewed = by_ticket.welcome["ticket"]
    assert by_cookie.closed() == by_ticket.closed() == CloseCode.UNAUTHORIZED
    assert time.time() >= made["link"]["until"]
    assert guest.ask("GET", "api/info")[0] == 401
    for ticket in (made["ticket"], renewed):
        wire = Visitor(stack.url("web")).terminal(credentials={"ticket": ticket})
        assert wire.welcome["code"] == "unauthorized"
    assert made["link"]["id"] not in {entry["id"] for entry in ada.ask("GET", "api/links")[1]["links"]}
    hers.link.close()


def test_with_a_user_all_links_of_theirs_are_revoked(stack):
    ada, operator = visitor(stack, "anna"), visitor(stack)
    hers = ada.terminal()
    guest, _ = by_link(stack, ada, hers.session)
    wire = guest.terminal(session=hers.session)
    assert operator.ask("DELETE", "api/tickets/anna")[0] == 200
    assert wire.closed() == hers.closed() == CloseCode.UNAUTHORIZED
    assert [link for link in operator.ask("GET", "api/links")[1]["links"] if link["by"] == "anna"] == []


def test_who_came_with_the_token_can_be_put_out_without_another_token(own):
    operator, other = visitor(own), visitor(own)
    wire = operator.terminal()
    assert other.ask("DELETE", f"api/tickets/{tickets.NAMELESS}")[0] == 200
    assert wire.closed() == CloseCode.UNAUTHORIZED
    until(lambda: operator.ask("GET", "api/info")[0] == 401, "the web process hearing of it")
    assert own.terminal().open().status == "created", "the token itself is as good as before"
    assert visitor(own).ask("GET", "api/info")[0] == 200


def test_links_push_nobody_elses_revocation_out(own):
    ada = visitor(own, "ada")
    hers = ada.terminal()
    for _ in range(3):
        _, link = by_link(own, ada, hers.session)
        assert ada.ask("DELETE", f"api/links/{link}")[0] == 200
    assert not (own.root / "state" / "revoked.json").exists()


def test_links_are_limited_by_user(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "MOST_EACH", 2)
    monkeypatch.setattr(links, "MOST", 3)
    table = links.Links(tmp_path / "links.json")
    add = partial(table.add, "s", read_only=True, seconds=60)
    mine = [add(by="ada").id for _ in range(2)]
    with pytest.raises(ValueError, match="some end by themselves"):
        add(by="ada")
    add(by="bob")
    with pytest.raises(ValueError, match="some end by themselves"):
        add(by="cyd")
    assert list(table.revoke([mine[0]])) == [tickets.guest(mine[0])]
    for gone in (mine[0], "nothing"):
        with pytest.raises(ValueError, match="no link"):
            table.revoke([gone])
    again = links.Links(tmp_path / "links.json")
    assert again.revocations().keys() == {tickets.guest(mine[0])}
    assert again.by("ada") == [mine[1]]
    assert mine[1] in [link.id for link in again.good(lambda session: True)]
    assert mine[0] not in [link.id for link in again.good(lambda session: True)]
    assert again.good(lambda session: False) == []


def test_a_guests_ticket_is_none_to_a_build_that_knows_no_guests():
    ticket = tickets.issue(KEY, Ticket("~link-1", "s", role="guest"))
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(ticket, tickets._key(KEY), algorithms=["HS256"], audience="terminals")
    assert tickets.read(KEY, ticket).role == "guest"
    claims = {"sub": "eve", "exp": int(time.time()) + 60, "life": 60, "born": 1}
    for strange in (
        {"aud": "terminals", "role": "guest"},
        {"aud": "terminals-link"},
        {"aud": "terminals", "role": "king"},
    ):
        text = jwt.encode({**claims, **strange}, tickets._key(KEY), "HS256")
        with pytest.raises(tickets.BadTicket):
            tickets.read(KEY, text)


def test_links_and_their_revocations_outlive_the_session_manager(own):
    ada = visitor(own, "ada")
    hers = ada.terminal()
    _, kept = by_link(own, ada, hers.session)
    gone, revoked = by_link(own, ada, hers.session)
    assert ada.ask("DELETE", f"api/links/{revoked}")[0] == 200
    own.kill("manager")
    own.start_manager()
    until(
        lambda: own.generation("g1").get("web") and own.generation("g1").get("workers"),
        "everybody coming back",
    )
    listed = until(lambda: ada.ask("GET", "api/links")[1].get("links"), "the links")
    assert [entry["id"] for entry in listed] == [kept]
    until(lambda: gone.ask("GET", "api/info")[0] == 401, "the revocation being known again")


def test_a_link_to_what_is_not_there_or_ends_is_none(stack):
    ada = visitor(stack, "abe")
    hers, his = ada.terminal(), visitor(stack, "bob").terminal()
    wrong = [
        ({"session": "nonsense"}, 400),
        ({"session": his.session}, 404),
        ({"session": hers.session, "minutes": 0}, 400),
        ({"session": hers.session, "minutes": "soon"}, 400),
        ({"session": hers.session, "minutes": 1e9}, 400),
        ({"session": hers.session, "minutes": 1e400}, 400),
        ({}, 400),
        ([], 400),
    ]
    for body, status in wrong:
        assert ada.ask("POST", "api/links", body)[0] == status, body
    guest, _ = by_link(stack, ada, hers.session)
    ada.ask("DELETE", f"api/sessions/{hers.session}")
    until(lambda: ada.ask("GET", "api/links")[1]["links"] == [], "the link going with its session")
    assert ada.ask("POST", "api/links", {"session": hers.session})[0] == 400, "it has ended"
    again = guest.terminal(session=hers.session).attached
    assert again["type"] == "attached" or again["code"] == "unknown-session"
    live = {entry["id"]: entry["live"] for entry in stack.admin("sessions")["items"]}
    assert not live[hers.session], "a guest begins no session, not even under that name"


def test_what_the_manager_keeps_of_links_is_looked_at(own):
    ada = visitor(own, "ada")
    by_link(own, ada, ada.terminal().session)
    path = own.root / "state" / "links.json"
    assert [link["by"] for link in json.loads(path.read_text()).values()] == ["ada"]
    assert "ticket" not in path.read_text()
