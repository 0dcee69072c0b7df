"""Who may connect: tickets, pages, forwarded addresses, wrong credentials, looping newcomers."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals import tickets
from terminals.access import Access, FailureLimit
from terminals.client import AttachError, SessionLost, Terminal, Unauthorized
from terminals.control.answers import Front
from terminals.tickets import BadTicket, Ticket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.raw import Raw
from tests.support.stack import PATIENCE, TERMINALS, TOKEN, Stack, until

KEY = TOKEN.encode()


@pytest.fixture
def build() -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def make(**config: Any) -> Stack:
        made.append(Stack(**config))
        made[-1].start_generation("g1", weight=100)
        return made[-1]

    yield make
    for stack in made:
        stack.close()


def as_user(stack: Stack, user: str, **options: Any) -> Terminal:
    only = options.pop("only", None)
    return Terminal(stack.url(), ticket=tickets.issue(KEY, Ticket(user, only)), **options)


def test_a_ticket_opens_its_users_sessions_and_nobody_elses(stack):
    with as_user(stack, "ada") as mine, stack.terminal() as operators:
        assert mine.attached.status == "created"
        theirs = [
            as_user(stack, "eve", session=mine.session),
            as_user(stack, "ada", session=operators.session),
        ]
        assert [terminal.open().status for terminal in theirs] == ["created", "created"]
        with pytest.raises(SessionLost):
            as_user(stack, "eve", session=mine.session, watch=True).open()
        raw = Raw(stack.url(), "eve", ticket=tickets.issue(KEY, Ticket("eve")))
        raw.attach(session=mine.session, resume={"output": 0, "epoch": mine.attached.epoch})
        assert raw.want("error")["code"] == "unknown-session"
        raw.close()
        owner = {entry["id"]: entry["user"] for entry in stack.admin("sessions")["items"]}
        assert owner.pop(theirs[0].session) == "eve"
        assert owner.pop(theirs[1].session) == "ada"
        assert owner == {mine.session: "ada", operators.session: ""}
        for terminal in theirs:
            terminal.close(kill=True)
        # The token's holder may look after everybody.
        assert stack.terminal(session=mine.session).open().status == "resumed"


def test_a_ticket_is_renewed_so_that_its_holder_can_come_back(stack):
    terminal = as_user(stack, "ada")
    first = terminal.ticket
    terminal.open()
    assert terminal.ticket != first
    assert tickets.read(KEY, terminal.ticket).user == "ada"
    terminal.cut()
    assert terminal.open().status == "resumed"
    terminal.close(kill=True)


def test_a_ticket_is_renewed_while_its_holder_is_here(stack):
    """Whoever works for longer than a ticket lives can come back all the same."""
    life = 3
    terminal = Terminal(stack.url(), ticket=tickets.issue(KEY, Ticket("ada", life=life)))
    born = tickets.read(KEY, terminal.ticket).born
    terminal.open()
    older = Terminal(stack.url(), ticket=tickets.issue(KEY, Ticket("bob", life=life)), versions=(2, 1))
    older.open()
    at_first, told = terminal.ticket, older.ticket
    began = time.monotonic()
    until(lambda: terminal.read(0.05) is not None and terminal.ticket != at_first, "the next ticket")
    assert time.monotonic() - began < life
    second = terminal.ticket
    until(lambda: terminal.read(0.05) is not None and terminal.ticket != second, "and the one after it")
    older.read(0.05)
    assert older.ticket == told
    until(lambda: time.monotonic() - began > life + 1, "the end of the first")
    with pytest.raises(BadTicket, match="expired"):
        tickets.read(KEY, at_first)
    assert tickets.read(KEY, terminal.ticket).born == born
    terminal.cut()
    assert terminal.open().status == "resumed"
    terminal.close(kill=True)
    older.close()


@pytest.mark.slow("waits half a ticket's life")
def test_a_ticket_is_renewed_after_its_connection_was_handed_over(stack):
    stack.start_generation("g2")
    terminal = Terminal(stack.url(), ticket=tickets.issue(KEY, Ticket("ada", life=10)))
    terminal.open()
    # The session stays with g1: what is accepted by g2 is handed over.
    stack.admin("weights", weights={"g1": 1, "g2": 99})
    for _ in range(3):
        terminal.cut()
        assert terminal.open().generation == "g1"
    ticket = terminal.ticket
    until(lambda: terminal.read(0.05) is not None and terminal.ticket != ticket, "the next ticket")
    terminal.close(kill=True)


def test_a_users_tickets_are_revoked_and_only_theirs(stack):
    ada, bob, operator = as_user(stack, "ada"), as_user(stack, "bob"), stack.terminal()
    for terminal in (ada, bob, operator):
        terminal.open()
    unused = tickets.issue(KEY, Ticket("ada"))
    ctl = [*TERMINALS, "ctl", "--socket", stack.socket, "revoke", "ada"]
    assert json.loads(subprocess.run(ctl, capture_output=True, check=True).stdout)["before"] > 0
    with pytest.raises(Unauthorized, match="revoked"):
        until(
            lambda: ada.read(0.1) is None, "the end of what came with one of them"
        )  # a prompt may come first
    for ticket in (unused, ada.ticket):
        with pytest.raises(Unauthorized, match="revoked"):
            Terminal(stack.url(), ticket=ticket).open()
    # The next worker and the next manager know it, too, and so does the next start of the machine.
    stack.start_generation("g2", weight=100)
    with pytest.raises(Unauthorized, match="revoked"):
        Terminal(stack.url(), ticket=unused).open()
    stack.replace_manager()
    until(lambda: stack.status()["generations"][-1]["workers"], "the workers back")
    with pytest.raises(Unauthorized, match="revoked"):
        Terminal(stack.url(), ticket=unused).open()
    for terminal in (bob, operator):
        terminal.send(b"echo here-$((1 + 1))\n")
        terminal.expect(rb"here-2", PATIENCE)
    with as_user(stack, "ada", session=ada.session) as again:  # with one that was issued since
        assert again.attached.status == "resumed"
        assert again.session == ada.session


def test_the_api_revokes_tickets(stack):
    stack.start_web("g1")
    address = f"http://127.0.0.1:{stack.status()['listeners']['web']}/api/tickets/ada%20l"
    unused = tickets.issue(KEY, Ticket("ada l"))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(address, headers=headers, method="DELETE")
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["revoked"] == "ada l"
    with pytest.raises(Unauthorized, match="revoked"):
        Terminal(stack.url(), ticket=unused).open()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(address, method="DELETE"))
    long = urllib.request.Request(f"{address}{'x' * 64}", headers=headers, method="DELETE")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(long)
    done = subprocess.run(
        [*TERMINALS, "ctl", "--socket", stack.socket, "revoke", "x" * 65], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "1 to 64 printable characters" in done.stderr


def test_a_table_of_revocations_that_makes_no_sense_lets_nobody_in(stack):
    stack.kill("manager")
    path = Path(stack.settings["state_dir"]) / "revoked.json"
    path.write_text("{")
    config = str(stack.root / "manager.json")
    done = subprocess.run(
        [*TERMINALS, "manager", "--config", config], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 1
    assert "revoked.json" in done.stderr
    assert "remove it to have all tickets accepted again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_ticket_for_one_session_opens_only_that(stack):
    with stack.terminal() as operators, pytest.raises(SessionLost):
        as_user(stack, "ada", only="session_1754931600123_abcdefghi", session=operators.session).open()
    with as_user(stack, "ada", only="session_1754931600123_abcdefghi") as only:
        assert only.session == "session_1754931600123_abcdefghi"


def test_foreign_old_and_altered_tickets_are_refused(stack):
    import jwt

    old = jwt.encode({"aud": "terminals", "sub": "ada", "exp": 1}, tickets._key(KEY), "HS256")
    unsigned = jwt.encode({"aud": "terminals", "sub": "ada", "exp": 9**10}, None, "none")
    other = tickets.issue(b"another token", Ticket("ada"))
    good = tickets.issue(KEY, Ticket("ada"))
    altered = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    for text in (old, unsigned, other, altered, "", "a.b.c", "\N{SNOWMAN}"):
        with pytest.raises(BadTicket):
            tickets.read(KEY, text)
    with pytest.raises(Unauthorized, match="expired"):
        Terminal(stack.url(), ticket=old).open()
    for bad in ({"user": ""}, {"user": "a\nb"}, {"user": "x" * 65}):
        with pytest.raises(ValueError, match="user name"):
            tickets.issue(KEY, Ticket(**bad))


def test_the_api_issues_tickets_to_the_tokens_holder(stack):
    stack.start_web("g1")
    address = f"http://127.0.0.1:{stack.status()['listeners']['web']}/api/tickets"

    def ask(body: object, token: str = TOKEN) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    with Terminal(stack.url(), ticket=ask({"user": "ada"})["ticket"]) as terminal:
        assert terminal.attached.status == "created"
    for body in ({}, [], {"user": ""}, {"user": "ada", "seconds": 10**9}):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(body)
    for guess in [*range(10), *[9] * 10]:
        # The same one again is no guess.
        with pytest.raises(urllib.error.HTTPError, match="401" if guess < 9 else "4(01|29)"):
            ask({"user": "ada"}, f"wrong{guess}")
    with pytest.raises(urllib.error.HTTPError, match="429") as caught:
        ask({"user": "ada"}, "wrong")
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 60


def test_sessions_of_one_user_are_limited(build):
    stack = build(max_sessions_per_user=1)
    refused = pytest.raises(AttachError, match="1 sessions of ada are running")
    with as_user(stack, "ada"), as_user(stack, "bob"), refused:
        as_user(stack, "ada").open()
    with stack.terminal(program="load"), stack.terminal(program="load"):
        pass  # a program is no user


def test_only_pages_of_the_allowed_origins(build):
    stack = build(allowed_origins=["https://terminals.example:8443"])
    with connect(stack.url(), origin="https://terminals.example:8443"):
        pass
    for origin in ("https://terminals.example", "http://127.0.0.1", "null"):
        with pytest.raises(InvalidStatus, match="403"):
            connect(stack.url(), origin=origin)


def test_guessing_is_slowed_down(stack):
    for guess in [0] * 20 + [*range(10)]:
        with pytest.raises(Unauthorized):
            Terminal(stack.url(), token=f"guess{guess}").open()
    with pytest.raises(InvalidStatus, match="429") as caught:
        connect(stack.url())
    assert 1 <= int(caught.value.response.headers["Retry-After"]) <= 60
    assert "guess" not in stack.log("worker-g1")
    assert TOKEN not in stack.log("worker-g1") + stack.log("manager")


def test_failures_are_forgiven_one_by_one():
    limit = FailureLimit(burst=2, forgiven_seconds=10)
    for _ in range(100):
        limit.failed("a", "the same", 0)
    assert limit.wait("a", 0) == 0
    limit.failed("a", "another", 0)
    assert limit.wait("a", 0) == 10
    assert limit.wait("b", 0) == 0
    assert limit.wait("a", 10) == 0
    limit.failed("a", "a third", 10)
    assert limit.wait("a", 10) == 10
    assert limit.wait("a", 20) == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.2", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.2", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.2", ["198.51.100.1, 192.0.2.7, 10.0.0.3"], "192.0.2.7"),
        ("10.0.0.2", ["192.0.2.7", "10.0.0.3"], "192.0.2.7"),
        ("10.0.0.2", ["nonsense"], "10.0.0.2"),
        ("10.0.0.2", [], "10.0.0.2"),
        ("fd00::1", ["2001:db8::5"], "2001:db8::5"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(peer, forwarded, address):
    access = Access(KEY, Front(trusted_proxies=("10.0.0.0/8", "fd00::/8")))
    assert access.address(peer, forwarded) == address


def test_a_client_that_loops_with_new_sessions_is_stopped_and_others_are_not(build):
    stack = build(breaker_cooldown=60.0)
    resident = stack.terminal()
    resident.open()
    for _ in range(3):
        looping = stack.terminal()
        looping.open()
        looping._link.abort()
        until(lambda looping=looping: not attached(stack, looping.session), "the loss noticed")
    with connect(stack.url()) as link:
        link.send(json.dumps({"type": "hello", "versions": [1], "token": TOKEN, "client": "c"}))
        link.send(json.dumps({"type": "attach", "channel": 0, "session": None}))
        answers = [json.loads(link.recv()) for _ in range(2)]
    assert answers[1]["code"] == "breaker-open"
    assert 0 < answers[1]["retry_after"] <= 60.0
    # Sessions that are there can be attached to, from the same address.
    resident._link.abort()
    assert Terminal(stack.url(), token=TOKEN, session=resident.session).open().status == "resumed"
    # One that came back shows that this address is no loop: new ones are let in again.
    assert stack.terminal().open().status == "created"


def test_after_the_cooldown_one_new_session_is_tried(build):
    stack = build(breaker_cooldown=0.5, stable_seconds=0.6)
    for _ in range(3):
        looping = stack.terminal()
        looping.open()
        before_the_last = time.monotonic()
        looping._link.abort()
        until(lambda looping=looping: not attached(stack, looping.session), "the loss noticed")
    trial = stack.terminal()
    assert trial.open(timeout=60).status == "created"
    assert time.monotonic() - before_the_last >= 0.5
    # Once the trial is stable the address is like any other.
    second = stack.terminal()
    assert second.open().status == "created"


def attached(stack: Stack, session: str) -> bool:
    return next(item["attached"] for item in stack.admin("sessions")["items"] if item["id"] == session)


def lose(stack: Stack, **options: Any) -> str:
    """Attach and lose the connection at once; the session."""
    terminal = stack.terminal(**options)
    terminal.open()
    terminal._link.abort()
    until(lambda: not attached(stack, terminal.session), "the loss noticed")
    return terminal.session


def leave(stack: Stack, **options: Any) -> str:
    """Attach, once the breaker tries it, and leave with a goodbye; the session."""
    terminal = stack.terminal(**options)
    terminal.open(20)
    terminal.close()
    until(lambda: not attached(stack, terminal.session), "the end noticed")
    return terminal.session


@pytest.mark.parametrize("again", ["a session", "new ones"])
def test_a_trial_that_ends_as_planned_shuts_nobody_out(build, again):
    """It was neither a success, which takes a while, nor a failure; another trial must be let through."""
    stack = build(breaker_cooldown=0.3, stable_seconds=30)
    session = lose(stack)
    for _ in range(3):
        lose(stack, session=session if again == "a session" else None)
    for _ in range(3):
        leave(stack, session=session if again == "a session" else None)
