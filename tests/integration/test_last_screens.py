"""What is left of a session whose host is lost: its last screen, at another host."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from terminals import tickets
from terminals.client import Terminal
from terminals.cluster.lastscreens import ScreenCopy, unpacked
from terminals.protocol import client as conversation
from terminals.protocol.ids import new_session_id
from terminals.protocol.messages import LastScreen
from terminals.screens.emulator import Emulator
from terminals.tickets import Ticket

from tests.support.fleet import Fleet, fleet
from tests.support.stack import TOKEN, PatientTerminal, until

LOST = 3.0
KEY = TOKEN.encode()


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), "abc", lost_seconds=LOST, screens=1, doors=True) as hosts:
        yield hosts


@pytest.fixture
def hosts(three) -> Iterator[Fleet]:
    """Three that hear each other, and are as at first."""
    yield three
    three.heal()
    for name in three.names:
        for other in three.names.replace(name, ""):
            three.wait(name, other, "there")


def kept(hosts: Fleet, at: str, of: str) -> dict[str, tuple[ScreenCopy, bytes]]:
    """The screens that a host keeps of another, by session."""
    folder = hosts.stacks[at].root / "state" / "screens" / (of * 4)
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix == ".new":
            continue  # it is being written
        try:
            found[path.name] = unpacked(path.read_bytes())
        except FileNotFoundError:
            continue  # it has gone meanwhile
    return found


def copied(hosts: Fleet, session: str, words: bytes, *, of: str = "b", at: str = "c") -> None:
    until(lambda: words in kept(hosts, at, of).get(session, (None, b""))[1], f"a copy of the screen at {at}")


def begun(hosts: Fleet, words: str, **options: Any) -> tuple[Terminal, str]:
    """Somebody at b who has seen these words printed, and the session, whose screen is at c."""
    terminal = PatientTerminal(hosts.stacks["b"].url(), **{"token": TOKEN, **options})
    terminal.open()
    # What is typed is echoed, too, and is not what was printed.
    terminal.send(f"printf '%s\\n' '{words[0]}''{words[1:]}'\n".encode())
    terminal.expect(re.escape(words.encode()) + rb"\r\n")
    assert terminal.session is not None
    copied(hosts, terminal.session, words.encode())
    return terminal, terminal.session


def lost(terminal: Terminal, said: list[object]) -> LastScreen | None:
    """What a client is told of its session, as soon as it is told that the host is lost."""

    def told() -> list[conversation.HostLost]:
        terminal.pump(0.05)
        return [event for event in said if isinstance(event, conversation.HostLost)]

    return until(told, "the host is lost")[0].screen


def painted(screen: LastScreen | None) -> str:
    assert screen is not None
    emulator = Emulator(screen.cols, screen.rows)
    emulator.feed(screen.paint)
    text = emulator.snapshot().decode()
    emulator.close()
    return text


SLOW = pytest.mark.slow("a host that is lost and found again; that and whose it is are in the first tier")


@pytest.mark.parametrize("door", ["a", pytest.param("c", marks=SLOW)])
def test_whoever_asks_is_shown_the_last_screen_and_has_the_session_when_its_host_is_back(hosts, door):
    worker, session = begun(hosts, "last words", cols=91, rows=17)
    before = time.time()
    away(hosts)
    said: list[object] = []
    asking = hosts.stacks[door].terminal(session=session, watch=True, on_event=said.append)
    screen = lost(asking, said)
    assert screen is not None
    assert "last words" in painted(screen)
    assert (screen.cols, screen.rows) == (91, 17)
    assert before - 60 < screen.at < time.time()
    assert asking.breaker.retry_after(0.0) == 0, "nothing of it is the client's failure"
    hosts.heal()
    assert asking.open(60.0).session == session
    asking.close()
    worker.close(kill=True)


@SLOW
def test_who_has_seen_it_all_is_not_shown_it_and_goes_on_where_it_was(hosts):
    worker, session = begun(hosts, "seen by all")
    said: list[object] = []
    seen = hosts.stacks["c"].terminal(session=session, watch=True, on_event=said.append)
    seen.open()
    seen.expect(rb"seen by all\r\n")
    # All of it, the prompt after it, too.
    until(
        lambda: seen.pump(0.05) or copy_of(hosts, session).output == seen.received == printed(hosts, session),
        "all of it being seen and copied",
    )
    away(hosts)
    seen.cut()
    assert lost(seen, said) is None
    hosts.heal()
    assert seen.open(60.0).status == "resumed"
    assert [event for event in said if isinstance(event, conversation.Connected)][-1].missed == 0
    seen.close()
    worker.close(kill=True)


def test_nobody_else_is_shown_it(hosts):
    mine, session = begun(hosts, "a secret", ticket=tickets.issue(KEY, Ticket("ada")), token=None)
    away(hosts)
    shown = {}
    for who, ticket in {
        "her": Ticket("ada"),
        "another": Ticket("eve"),
        "her, for another session": Ticket("ada", new_session_id("bbbb").value),
        # Whether her link is revoked only the lost host would know.
        "a guest of hers": Ticket("~link-1", session, role="guest"),
    }.items():
        said: list[object] = []
        asking = Terminal(
            hosts.stacks["c"].url(),
            ticket=tickets.issue(KEY, ticket),
            session=session,
            watch=True,
            on_event=said.append,
        )
        screen = lost(asking, said)
        shown[who] = screen is not None and "a secret" in painted(screen)
        asking.close()
    assert shown == {
        "her": True,
        "another": False,
        "her, for another session": False,
        "a guest of hers": False,
    }
    hosts.heal()
    mine.close(kill=True)


@SLOW
def test_a_session_that_has_ended_leaves_none(hosts):
    worker, session = begun(hosts, "going soon")
    worker.close(kill=True)
    until(lambda: session not in kept(hosts, "c", "b"), "its screen is forgotten")


@SLOW
def test_another_host_keeps_them_while_the_next_is_lost_and_gives_them_back(hosts):
    worker, session = begun(hosts, "not lost")
    hosts.cut("c")
    hosts.wait("b", "c", "lost")
    copied(hosts, session, b"not lost", at="a")
    hosts.heal()
    for other in "ab":
        hosts.wait("c", other, "there")
    until(lambda: not kept(hosts, "c", "b"), "who keeps them no more has none")
    said: list[object] = []
    away(hosts)
    asking = hosts.stacks["c"].terminal(session=session, watch=True, on_event=said.append)
    assert "not lost" in painted(lost(asking, said))
    asking.close()
    hosts.heal()
    # A manager that begins looks where all do.
    for other in "ac":
        hosts.wait("b", other, "there")
    hosts.stacks["b"].replace_manager()
    copied(hosts, session, b"not lost")
    until(lambda: not kept(hosts, "a", "b"), "who keeps them no more has none")
    worker.close(kill=True)


@SLOW
def test_a_host_that_may_not_keep_them_says_so_and_the_shells_go_on(hosts):
    worker, session = begun(hosts, "no room")
    folder = hosts.stacks["c"].root / "state" / "screens" / "bbbb"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("in the way")  # as good as a disk that is full
    worker.send(b"echo still here\n")
    worker.expect(rb"\r\nstill here")
    log = hosts.stacks["b"]
    until(lambda: "copies of screens for another host: c answers 507" in log.log("manager"), "it is said")
    folder.unlink()
    copied(hosts, session, b"still here")
    until(lambda: "copies of screens for another host: works again" in log.log("manager"), "it is said")
    worker.close(kill=True)


@SLOW
def test_where_they_are_not_wanted_any_more_none_stay(hosts):
    worker, session = begun(hosts, "until now")
    stack = hosts.stacks["c"]
    wanted = stack.settings["peers"]
    stack.settings["peers"] = {**wanted, "screens": 0}
    stack.replace_manager()
    until(lambda: not (stack.root / "state" / "screens" / "bbbb").exists(), "none being there")
    log = hosts.stacks["b"]
    worker.send(b"echo more\n")
    until(lambda: "no screens are kept here" in log.log("manager"), "it is said")
    stack.settings["peers"] = wanted
    stack.replace_manager()
    copied(hosts, session, b"more")
    # Also of a shell that prints nothing more, and whose screen was there before.
    hosts.wait("b", "c", "there")
    for path in (stack.root / "state" / "screens" / "bbbb").iterdir():
        path.unlink()
    copied(hosts, session, b"more")
    worker.close(kill=True)


def copy_of(hosts: Fleet, session: str) -> ScreenCopy:
    until(lambda: session in kept(hosts, "c", "b"), "a copy")
    return kept(hosts, "c", "b")[session][0]


def printed(hosts: Fleet, session: str) -> int:
    items = hosts.stacks["b"].admin("sessions")["items"]
    return next(item["output"] for item in items if item["id"] == session)


def away(hosts: Fleet) -> None:
    """From now on neither the others reach b, nor do clients."""
    hosts.cut("b")
    hosts.doors["b"].cut()
    for other in "ac":
        hosts.wait(other, "b", "lost")
