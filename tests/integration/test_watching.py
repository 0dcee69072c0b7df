"""Several viewers of one session: one types, the others look on."""

from __future__ import annotations

import threading

import pytest
from terminals.client import AttachError, SessionLost, TakenOver, Terminal
from terminals.protocol.backoff import Backoff
from terminals.protocol.client import Resized
from terminals.tickets import Ticket, issue

from tests.support.stack import TOKEN, until

QUICK = Backoff(base=0.01, cap=0.1)


def entry(stack, session: str) -> dict:
    return next(item for item in stack.admin("sessions")["items"] if item["id"] == session)


def test_watchers_see_everything_and_nobody_is_put_out(stack):
    worker = stack.terminal()
    worker.open()
    watchers = [stack.terminal(session=worker.session, watch=True) for _ in range(3)]
    assert [watcher.open().mode for watcher in watchers] == ["read"] * 3
    worker.send(b"echo [$((6 * 7))]\n")
    worker.expect(rb"\[42\]")
    for watcher in watchers:
        watcher.expect(rb"\[42\]")
    assert (entry(stack, worker.session)["attached"], entry(stack, worker.session)["watchers"]) == (True, 3)
    assert worker.stats.losses == 0
    for watcher in watchers:
        watcher.close()
    until(lambda: entry(stack, worker.session)["watchers"] == 0, "the watchers gone")


def test_a_watcher_cannot_type_resize_or_end_it(stack):
    worker = stack.terminal(cols=91, rows=31)
    worker.open()
    watcher = stack.terminal(session=worker.session, watch=True, cols=20, rows=5)
    watcher.open()
    watcher.send(b"touch typed-by-a-watcher\n")
    watcher.resize(10, 3)
    watcher.pump(0.1)
    watcher.close(kill=True)
    worker.send(b"ls; stty size; echo done-$((1 + 1))\n")
    shown = worker.expect(rb"done-2")
    assert b"31 91" in shown
    assert b"watcher" not in shown
    assert entry(stack, worker.session)["live"]


def test_watchers_are_told_the_size_and_each_other_one_after_the_output_before_it(stack):
    worker = stack.terminal(cols=91, rows=31)
    worker.open()
    seen: list[object] = []
    watcher = stack.terminal(session=worker.session, watch=True, on_event=seen.append)
    older = stack.terminal(session=worker.session, watch=True, versions=(2, 1), on_event=seen.append)
    assert watcher.open().size == (91, 31)
    older.open()
    worker.send(b"echo before-$((1 + 1)); read; echo after-$((1 + 1))\n")
    worker.expect(rb"before-2")
    worker.resize(100, 40)
    worker.send(b"\n")
    worker.expect(rb"after-2")
    assert b"before-2" in (shown := watcher.expect(rb"after-2"))
    assert [event for event in seen if isinstance(event, Resized)] == [Resized(100, 40)]
    assert shown.count(b"after-2") == 1
    older.expect(rb"after-2")
    # The one who types next brings a size along; who comes to look on later finds it.
    other = stack.terminal(session=worker.session, cols=60, rows=20)
    other.open()
    until(lambda: watcher.read(0.05) == b"" and Resized(60, 20) in seen, "the size of who types now")
    assert stack.terminal(session=worker.session, watch=True).open().size == (60, 20)
    stack.replace_manager()
    assert stack.terminal(session=worker.session, watch=True).open().size == (60, 20)


def test_watching_starts_no_session(stack):
    with pytest.raises(SessionLost):
        stack.terminal(session="session_1754931600123_abcdefghi", watch=True).open()


def test_a_slow_watcher_holds_nobody_up_and_is_shown_the_screen(stack):
    worker = stack.terminal()
    worker.open()
    slow = stack.terminal(session=worker.session, watch=True)
    slow.open()
    # Far more than sockets and ring hold; the watcher reads none of it meanwhile.
    worker.send(b"seq 1 3000000; echo finished-$((1 + 1))\n")
    shown = worker.expect(rb"finished-2")
    numbers = [line for line in shown.split(b"\r\n") if line.isdigit()]
    assert numbers == [str(n).encode() for n in range(1, 3000001)]
    until(lambda: slow.pump(0.05) or slow.screen is not None, "the screen being shown")

    def up_to_date() -> bool:
        worker.pump(0.01)  # the prompt may still be on its way to either
        slow.pump(0.05)
        return slow.received == worker.received

    until(up_to_date, "the watcher being up to date")
    assert slow.stats.skipped > 1 << 20
    assert slow.stats.losses == 0
    assert b"finished-2" in slow.screen + slow.read()


def test_watchers_follow_a_move(stack):
    worker = stack.terminal(backoff=QUICK)
    worker.open()
    watcher = stack.terminal(session=worker.session, watch=True, backoff=QUICK)
    watcher.open()
    stack.start_generation("g2", weight=100)
    stop = threading.Event()

    def live() -> None:
        while not stop.is_set():
            worker.pump(0.01)
            watcher.pump(0.01)

    thread = threading.Thread(target=live)
    thread.start()
    tally = stack.admin("move", to="g2", share=100, batch=5, interval=0.05, deadline=20)
    assert (tally["moved"], tally["severed"]) == (1, 0)
    until(lambda: entry(stack, worker.session)["watchers"] == 1, "the watcher being back")
    stop.set()
    thread.join()
    worker.send(b"echo [$((6 * 7))]\n")
    watcher.expect(rb"\[42\]")
    assert {worker.attached.generation, watcher.attached.generation} == {"g2"}
    assert watcher.stats.loops == 0


def test_taking_over_leaves_watchers_where_they_are(stack):
    first = stack.terminal()
    first.open()
    watcher = stack.terminal(session=first.session, watch=True)
    watcher.open()
    second = stack.terminal(session=first.session)
    second.open()
    with pytest.raises(TakenOver):
        while True:
            first.pump(1.0)
    second.send(b"echo [$((6 * 7))]\n")
    watcher.expect(rb"\[42\]")


def test_a_read_only_ticket_only_watches(stack):
    owner = Terminal(stack.url(), ticket=issue(TOKEN.encode(), Ticket("ada")))
    owner.open()
    guest = Ticket("ada", owner.session, read_only=True)
    watcher = Terminal(stack.url(), ticket=issue(TOKEN.encode(), guest), session=owner.session)
    assert watcher.open().mode == "read"  # it had asked to type
    watcher.send(b"echo not-$((1 + 1))\n")
    watcher.cut()
    assert watcher.open().mode == "read"  # the renewed ticket grants no more than the first
    owner.send(b"echo [$((6 * 7))]\n")
    assert b"not-2" not in owner.expect(rb"\[42\]")
    watcher.expect(rb"\[42\]")


def test_a_client_of_version_1_is_served_as_ever(stack):
    terminal = stack.terminal(versions=(1,))
    terminal.open()
    terminal.send(b"echo [$((6 * 7))]\n")
    terminal.expect(rb"\[42\]")
    with pytest.raises(AttachError, match="too old for watching"):
        stack.terminal(session=terminal.session, watch=True, versions=(1,)).open()


def test_a_client_of_a_version_to_come_finds_one_in_common(stack):
    terminal = stack.terminal(versions=(9, 3, 2))
    terminal.open()
    terminal.send(b"echo [$((6 * 7))]\n")
    terminal.expect(rb"\[42\]")
