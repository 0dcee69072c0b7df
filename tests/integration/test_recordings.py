"""Sessions are recorded to the byte, whoever is killed, and nobody is recorded without being told."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals import tickets
from terminals.client import Terminal
from terminals.tickets import Ticket

from tests.support.casts import Cast, cast_at, read_cast
from tests.support.raw import Raw
from tests.support.stack import TOKEN, PatientTerminal, Stack, running, runs, until
from tests.support.visitor import Visitor

BASH = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]
PROFILES = {"system": {"command": BASH, "record": True}, "claude": {"command": BASH}}


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Shells of ``system`` are recorded, those of ``claude`` on somebody's wish."""
    with running(
        profiles=PROFILES, ring_bytes=1 << 16, stable_seconds=0, recordings={"lost_seconds": 10}
    ) as stack:
        yield stack


def recorder(stack: Stack) -> int:
    """The process that records now; 0: there is none."""
    found = []
    children = Path(f"/proc/{stack.processes['manager'].pid}/task").glob("*/children")
    for pid in " ".join(path.read_text() for path in children).split():
        with contextlib.suppress(OSError):
            if b"terminals.recordings.recorder" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    assert len(found) <= 1  # one that has been killed has no command line
    return found[0] if found else 0


def recording_of(stack: Stack, terminal: Terminal) -> dict[str, Any]:
    found = [item for item in stack.admin("recordings")["items"] if item["session"] == terminal.session]
    assert len(found) == 1
    return found[0]


def file_of(stack: Stack, recording: dict[str, Any]) -> Path:
    return Path(stack.settings["state_dir"]) / "recordings" / f"{recording['id']}.cast"


def ended(stack: Stack, terminal: Terminal) -> Cast:
    """What was recorded of a session, once its end is."""
    until(lambda: recording_of(stack, terminal)["state"] == "ended", "the end being recorded")
    return cast_at(file_of(stack, recording_of(stack, terminal)))


def grows(stack: Stack, terminal: Terminal, text: bytearray) -> None:
    """Wait until more is recorded."""
    before = recording_of(stack, terminal)["bytes"]
    until(lambda: text.extend(terminal.read(0.02)) or recording_of(stack, terminal)["bytes"] > before, "more")


def replaced(stack: Stack, terminal: Terminal, text: bytearray, number: int) -> int:
    """Send a signal to a recorder that records, and wait until another one does; the process that it was."""
    grows(stack, terminal, text)
    pid: int = until(lambda: recorder(stack), "a recorder")
    os.kill(pid, number)
    until(lambda: text.extend(terminal.read(0.02)) or recorder(stack) not in (0, pid), "another recorder")
    grows(stack, terminal, text)
    return pid


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=pytest.mark.slow("a recorder starts, and is killed, twenty times"))]
)
def test_what_was_recorded_is_what_was_seen_through_killed_recorders_and_managers(stack, kills):
    """And one recorder that stands still, and another manager in the place of one that works."""
    terminal = stack.terminal()
    terminal.open()
    # Characters of three bytes, which no batch's end may cut, and much more than the 64 KiB of the ring.
    loop = 'i=0; until [ -e %s ]; do i=$((i+1)); echo "$i \u20ac\u20ac\u20ac\u20ac"; done; exit 7\n'
    terminal.send((f"stty -echo; {loop}" % (stack.root / "enough")).encode())
    text = bytearray(terminal.expect("[0-9] \u20ac".encode()))
    assert b"[this session is recorded]" in text
    killed = {replaced(stack, terminal, text, signal.SIGKILL) for _ in range(kills)}
    assert len(killed) == kills
    killed.add(replaced(stack, terminal, text, signal.SIGSTOP))
    stack.kill("manager")
    stack.start_manager()
    grows(stack, terminal, text)
    assert stack.replace_manager() == 0
    grows(stack, terminal, text)
    (stack.root / "enough").touch()
    until(lambda: text.extend(terminal.read(0.1)) or terminal.exit_status is not None, "the shell's end")
    text += terminal.read()
    cast = ended(stack, terminal)
    assert cast.text == text.decode(errors="replace")
    assert (cast.of("m"), cast.of("x")) == ([], ["7"])
    until(lambda: not any(map(runs, killed)), "all of them being gone")


@pytest.mark.slow("the rule is in the first tier with a real recorder, without shells")
def test_a_recorder_that_does_not_come_back_ends_sessions_where_that_is_the_rule():
    stack = Stack(profiles=PROFILES, stable_seconds=0, recordings={"when_lost": "end", "lost_seconds": 2})
    try:
        stack.start_generation("g1", weight=100)
        terminal, other = stack.terminal(), stack.terminal("claude")
        terminal.open()
        other.open()
        text = bytearray(terminal.expect(rb"is recorded\]"))

        def never_again() -> bool:
            if pid := recorder(stack):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            text.extend(terminal.read(0.02))
            return terminal.exit_status is not None

        until(never_again, "the session's end")
        text += terminal.read()
        assert b"[this session is not recorded any more: the recorder is gone: it is ended]" in text
        until(lambda: never_again() and "would not be: the recorder is gone" in refusal(stack), "a refusal")
        other.send(b"echo still-$((1+1))\n")
        other.expect(b"still-2")
        until(lambda: not refusal(stack), "sessions beginning again")
        other.close(kill=True)
    finally:
        stack.close()


def refusal(stack: Stack) -> str:
    """Why a session that has to be recorded does not begin; empty: it does."""
    raw = Raw(stack.url())
    try:
        raw.attach()
        return str(raw.want("attached", "error").get("message", ""))
    finally:
        raw.close()


def visitor(stack: Stack, user: str, role: str = "user") -> Visitor:
    found = Visitor(stack.url("web"))
    found.sign_in(tickets.issue(TOKEN.encode(), Ticket(user, role=role)))
    return found


def test_a_recording_is_its_owners_and_operators_to_see(stack):
    stack.start_web("g1")
    ada, bob, oona, vera = (
        visitor(stack, name, role)
        for name, role in (("ada", "user"), ("bob", "user"), ("oona", "operator"), ("vera", "viewer"))
    )
    must, may = (
        PatientTerminal(stack.url(profile), ticket=tickets.issue(TOKEN.encode(), Ticket("ada")))
        for profile in PROFILES
    )
    must.open()
    may.open()
    wish = f"api/sessions/{may.session}/recording"
    assert bob.ask("POST", wish)[0] == 404
    assert vera.ask("POST", wish)[0] == 403
    assert ada.ask("POST", wish) == (200, {"session": may.session, "recorded": True})
    assert ada.ask("POST", wish) == (400, {"error": f"{may.session} is recorded already"})
    may.expect(rb"recorded from now on\]")
    status, answer = ada.ask("DELETE", f"api/sessions/{must.session}/recording")
    assert (status, answer["error"][-39:]) == (400, ", as all sessions of the profile system")
    for terminal in (must, may):
        terminal.send(b"echo some-$((40+2))\n")
        terminal.expect(b"some-42")
    # A guest of a link has none, of whatever session.
    _, link = ada.ask("POST", "api/links", {"session": must.session, "read_only": False})
    guest = Visitor(stack.url("web"))
    guest.sign_in(link["ticket"])

    def seen(by: Visitor) -> set[str]:
        return {item["session"] for item in by.ask("GET", "api/recordings")[1]["recordings"]}

    assert seen(ada) == seen(oona) == {must.session, may.session}
    assert seen(bob) == set()
    assert vera.ask("GET", "api/recordings")[0] == guest.ask("GET", "api/recordings")[0] == 403
    first, second = (f"api/recordings/{recording_of(stack, terminal)['id']}" for terminal in (must, may))
    for by, status in ((bob, 404), (vera, 403), (guest, 403), (Visitor(stack.url("web")), 401)):
        assert by.ask("GET", first)[0] == status
        assert by.ask("DELETE", first)[0] == status
    for name in ("0" * 16, "..%2F..%2Ftoken", "x"):
        assert oona.ask("GET", f"api/recordings/{name}")[0] == 404
    assert oona.ask("DELETE", first)[0] == 400  # it goes on
    until(lambda: b"some-42" in ada.ask("GET", first)[1], "what it has so far")
    for by in (ada, oona):
        status, content = by.ask("GET", first)
        assert (status, by.headers["Content-Type"]) == (200, "application/x-asciicast")
        assert by.headers["Content-Disposition"] == f'attachment; filename="{must.session}.cast"'
        assert "some-42" in read_cast(content).text
    for terminal in (must, may):
        terminal.close(kill=True)
    until(
        lambda: recording_of(stack, must)["state"] == recording_of(stack, may)["state"] == "ended", "the ends"
    )
    assert ada.ask("DELETE", first)[0] == 403  # it had to be made
    assert ada.ask("DELETE", second)[0] == 200
    assert oona.ask("DELETE", first)[0] == 200
    assert seen(oona) == set()
