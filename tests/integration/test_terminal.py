"""Terminals end to end: real manager, workers, shells and client."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from terminals.client import AttachError, SessionLost, TakenOver, Terminal, Unauthorized
from terminals.control.asking import ControlError
from terminals.protocol.backoff import Backoff
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support.stack import TOKEN, until

QUICK = Backoff(base=0.01, cap=0.1)


def ask(terminal: Terminal, expression: str) -> bytes:
    """Let the shell compute something, so that an echo of the input cannot pass for the answer."""
    terminal.send(f"echo [$(({expression}))]\n".encode())
    return terminal.expect(rb"\[(\d+)\]").rpartition(b"[")[2][:-1]


def test_created_then_resumed_with_positions(stack):
    terminal = stack.terminal()
    first = terminal.open()
    assert (first.status, first.output, first.input) == ("created", 0, 0)
    assert ask(terminal, "40 + 2") == b"42"
    received = terminal.received
    terminal.cut()
    second = terminal.open()
    assert second.status == "resumed"
    assert second.session == first.session
    assert second.output == received
    assert second.skipped == 0
    assert ask(terminal, "6 * 7") == b"42"


def test_legacy_id_is_migrated_and_found_again(stack):
    legacy = "session-1754931600123-abc"
    with stack.terminal(session=legacy) as first:
        assert first.attached.status == "migrated"
        first.send(b"mark=7\n")
        first.close()
        with stack.terminal(session=legacy) as second:
            assert second.attached.status == "migrated"
            assert ask(second, "mark + 1") == b"8"


def test_garbage_id_is_refused(stack):
    with pytest.raises(AttachError, match="bad-session-id"):
        stack.terminal(session="../../etc/passwd").open()


def test_wrong_token_is_refused(stack):
    with pytest.raises(Unauthorized):
        Terminal(stack.url(), token="wrong").open()


def test_page_of_another_host_is_refused(stack):
    with pytest.raises(InvalidStatus, match="403"), connect(stack.url(), origin="http://evil.example"):
        pass


def test_page_of_the_same_host_is_served(stack):
    with connect(stack.url(), origin="http://127.0.0.1:4110") as ws:
        ws.send(json.dumps({"type": "hello", "versions": [1], "token": TOKEN, "client": "c"}))
        assert json.loads(ws.recv())["type"] == "welcome"


def test_second_client_takes_over_and_the_first_does_not_fight(stack):
    first = stack.terminal()
    first.open()
    second = stack.terminal(session=first.session)
    assert second.open().status == "resumed"
    with pytest.raises(TakenOver):
        while True:
            first.pump(1.0)
    assert ask(second, "1 + 1") == b"2"


def test_unknown_session_cannot_be_resumed(stack):
    terminal = stack.terminal(forget_after=0)
    terminal.open()
    terminal.cut()
    stack.kill("holder")
    stack.kill("manager")
    for path in (stack.root / "state" / "sessions").iterdir():
        path.unlink()
    stack.start_holder()
    stack.start_manager()
    terminal.url = stack.url()
    with pytest.raises(SessionLost):
        terminal.open()


def test_exit_status_reaches_the_client(stack):
    terminal = stack.terminal()
    terminal.open()
    terminal.send(b"exit 3\n")
    until(lambda: terminal.read(0.1) is not None and terminal.exit_status is not None, "exit")
    assert terminal.exit_status == 3


def test_exit_status_after_a_cut(stack):
    terminal = stack.terminal()
    terminal.open()
    terminal.send(b"echo last words; exit 4\n")
    terminal.expect(rb"\nlast words")
    terminal.cut()
    until(lambda: terminal.read(0.1) is not None and terminal.exit_status is not None, "exit")
    assert terminal.exit_status == 4


def test_missing_program_is_said_in_the_terminal(stack):
    terminal = stack.terminal("claude")
    terminal.open()
    text = terminal.expect(rb"to another one")
    assert b"no-such-assistant: No such file or directory" in text
    assert b"profiles.claude.command" in text
    until(lambda: terminal.read(0.1) is not None and terminal.exit_status is not None, "exit")
    assert terminal.exit_status == 127


def test_shell_without_viewer_keeps_running_and_its_output(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    terminal.send(b"for i in $(seq 1000); do echo line $i; done; echo finished-$((1+1))\n")
    # What is cut off may take with it what the other side has not read yet.
    until(lambda: terminal.pump(0.01) or terminal.unacknowledged == 0, "the command taken")
    terminal.cut()
    until(
        lambda: [s for s in stack.admin("sessions")["items"] if s["output"] > 8000],
        "the shell printing with nobody attached",
    )
    text = terminal.expect(rb"finished-2")
    assert [int(line[5:]) for line in text.split(b"\r\n") if line.startswith(b"line ")] == list(
        range(1, 1001)
    )


def test_connections_wait_for_a_worker_that_restarts(stack):
    stack.kill("worker-g1")
    terminal = stack.terminal()
    opened = threading.Thread(target=terminal.open)
    opened.start()
    stack.start("worker", "g1")
    opened.join(10)
    assert ask(terminal, "2 + 2") == b"4"


def test_move_takes_live_sessions_to_the_new_generation(stack):
    terminals = [stack.terminal() for _ in range(6)]
    for terminal in terminals:
        terminal.open()
    stop = threading.Event()

    def live() -> None:
        while not stop.is_set():
            for terminal in terminals:
                terminal.pump(0.01)

    thread = threading.Thread(target=live)
    thread.start()
    stack.start_generation("g2")
    stack.admin("weights", weights={"g1": 50, "g2": 50})
    half = stack.admin("move", to="g2", share=50, batch=2, interval=0.05, deadline=20)
    assert (half["moved"], half["severed"], half["remaining"]) == (3, 0, 0)
    assert stack.generation("g2")["attached"] == 3
    stack.admin("weights", weights={"g2": 100})
    rest = stack.admin("move", to="g2", share=100, batch=2, interval=0.05, deadline=20)
    assert rest["moved"] == 3
    assert stack.generation("g1")["attached"] == 0
    stop.set()
    thread.join()
    for terminal in terminals:
        assert ask(terminal, "1 + 2") == b"3"
        assert terminal.attached.generation == "g2"
        assert terminal.attached.origin == "g1"
        assert terminal.stats.loops == 0
        assert terminal.stats.planned == 1


def test_session_stays_with_its_generation_whatever_accepts_the_connection(calm_stack):
    terminal = calm_stack.terminal(backoff=QUICK)
    terminal.open()
    calm_stack.start_generation("g2")
    calm_stack.admin("weights", weights={"g1": 1, "g2": 99})
    for _ in range(5):
        terminal.cut()
        assert ask(terminal, "3 + 4") == b"7"
        assert terminal.attached.generation == "g1"


def test_move_gives_up_at_the_deadline_and_counts_who_is_missing(stack):
    terminal = stack.terminal()
    terminal.open()
    stack.start_generation("g2")
    stack.admin("weights", weights={"g2": 100})
    tally = stack.admin("move", to="g2", share=100, batch=5, interval=0.05, deadline=0.5)
    assert (tally["moved"], tally["severed"]) == (0, 1)
    assert ask(terminal, "1 + 1") == b"2"  # severed is a lost connection, never a lost session
    assert terminal.attached.generation == "g2"


def test_stale_fence_is_refused_by_the_manager(stack):
    stack.admin("weights", weights={"g1": 100}, fence=5)
    with pytest.raises(ControlError, match="stale fence 4"):
        stack.admin("weights", weights={"g1": 100}, fence=4)


def test_retired_generation_stops_by_itself_and_its_clients_come_back_elsewhere(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    stack.start_generation("g2", weight=100)
    stack.admin("retire", generation="g1", after=0.1)
    process = stack.processes["worker-g1"]
    until(lambda: terminal.pump(0.05) or process.poll() is not None, "the worker stopping")
    assert process.returncode == 0
    assert ask(terminal, "2 + 3") == b"5"
    assert terminal.attached.generation == "g2"


def test_a_retired_process_that_is_started_again_only_waits_to_be_taken_away(stack, monkeypatch):
    stack.start_generation("g2", weight=100)
    stack.admin("retire", generation="g1", after=0)
    until(lambda: stack.generation("g1")["state"] == "retired", "the end of g1")
    monkeypatch.setenv("TERMINALS_LINGER", "1")
    name = stack.start("worker", "g1", name="again")
    command = Path(f"/proc/{stack.processes[name].pid}/comm")
    until(lambda: command.read_text() == "sleep\n", "the process waiting")
    assert "waiting to be taken away" in stack.log(name)


def test_loop_opens_the_breaker_on_both_sides(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    session = terminal.session
    for _ in range(3):
        # Lost right after the attach, and not of our own choosing: the worker dies.
        terminal.open()
        stack.kill("worker-g1")
        until(lambda: not terminal.pump(0.05) and not terminal.connected, "the loss being noticed")
        stack.start("worker", "g1")
        until(lambda: stack.generation("g1")["workers"], "worker back")
        if terminal.stats.loops:
            break
    assert terminal.stats.loops == 1
    assert not terminal.breaker.allow(time.monotonic())
    assert stack.generation("g1")["loops"] == 1
    assert stack.generation("g1")["breaker_opened"] >= 1
    other = stack.terminal(session=session, backoff=QUICK)
    with pytest.raises(TimeoutError, match="right after attaching"):
        other.open(timeout=1.0)


@pytest.mark.parametrize(
    "frames",
    [
        [b"\x01\x00"],
        ["{"],
        ["[]"],
        ['{"type":1}'],
        ['{"type":"attach","channel":0}'],
        [b"\x09" + bytes(12)],
        ['{"type":"hello","versions":"1","token":"x","client":"c"}'],
        ["x" * 100_000],
    ],
)
def test_malformed_messages_end_that_connection_only(stack, frames):
    witness = stack.terminal()
    witness.open()
    with connect(stack.url()) as ws:
        for frame in frames:
            ws.send(frame)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                ws.recv(timeout=10)
    assert closed.value.rcvd.code == 1008
    assert ask(witness, "5 + 5") == b"10"
    assert witness.stats.losses == 0


def test_ended_scrollback_outlives_the_holder_with_a_mark(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    terminal.send(b"echo remember-$((3*3))\n")
    terminal.expect(rb"remember-9")
    stack.lose_all_shells()
    terminal.url = stack.url()
    text = b""
    while terminal.exit_status is None:
        text += terminal.read(5.0)
    assert b"this shell has ended" in text


def test_shell_is_free_of_the_servers_environment(stack):
    os.environ["TERMINALS_TEST_MARK"] = "1"
    terminal = stack.terminal()
    terminal.open()
    terminal.send(b"yes | head -1 >/dev/null; echo status-$((PIPESTATUS[0]))-; env | grep -c ^PYTHONPATH=\n")
    text = terminal.expect(rb"status-(\d+)-")
    assert b"status-141-" in text  # SIGPIPE works: Python's ignoring of it is not inherited


def test_many_attaches_at_once_are_all_answered(stack):
    failed: list[BaseException] = []

    def open_and_close() -> None:
        try:
            for _ in range(5):
                terminal = stack.terminal()
                terminal.open(timeout=8)
                terminal.close(kill=True)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=open_and_close) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert stack.generation("g1")["attaches"] == 60
    until(lambda: stack.generation("g1")["connections"] == 0, "all connections being given back")
