"""``terminals send`` in a shell, and whoever is at its terminal."""

from __future__ import annotations

import filecmp
import shlex
import sys
from pathlib import Path

import pytest
from terminals.client import Terminal, TransferRefused
from terminals.protocol.transfer import TransferError

from tests.support.files import enter, material
from tests.support.stack import running, until

SHELL = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]
SEND = shlex.join([sys.executable, "-m", "terminals", "send"])


@pytest.fixture(scope="module")
def stack():
    files = {"upload": True, "download": True, "max_bytes": 32 << 20}
    with running(
        profiles={"system": {"command": SHELL, "files": files}, "claude": {"command": SHELL}},
        breaker_threshold=1000,
    ) as stack:
        yield stack


@pytest.fixture
def terminal(stack, tmp_path):
    with enter(stack, tmp_path) as terminal:
        yield terminal


def offered(terminal: Terminal, name: str):
    """What was offered by that name."""
    found = lambda: [each for each in terminal.files.offers.values() if each.name == name]  # noqa: E731
    return until(lambda: terminal.pump(0.1) or found(), f"{name} is offered")[0]


def send(terminal: Terminal, *paths: Path) -> None:
    words = shlex.join(map(str, paths))
    terminal.send(f"{SEND} {words} 2>&1; echo status-$?-\n".encode())


def test_a_file_arrives_and_its_sender_hears_of_it(terminal, tmp_path):
    source = material(tmp_path / "a report.pdf", (1 << 20) + 5)
    send(terminal, source)
    got = terminal.files.download(offered(terminal, "a report.pdf"), tmp_path / "got")
    terminal.wait_for(got, 60)
    assert (tmp_path / "got").read_bytes() == source.read_bytes()
    shown = terminal.expect(rb"status-(\d+)-")
    assert shown.endswith(b"status-0-")
    assert b"a report.pdf: sent" in shown


def test_a_file_of_no_bytes_arrives(terminal, tmp_path):
    send(terminal, material(tmp_path / "empty", 0))
    terminal.wait_for(terminal.files.download(offered(terminal, "empty"), tmp_path / "got"), 60)
    terminal.expect(rb"status-0-")
    assert (tmp_path / "got").read_bytes() == b""


def test_one_that_is_not_wanted_is_said_so(terminal, tmp_path):
    send(terminal, material(tmp_path / "x", 5))
    terminal.files.cancel(offered(terminal, "x").transfer)
    assert b"does not want it" in terminal.expect(rb"status-1-")


def test_one_that_is_interrupted_is_withdrawn(terminal, tmp_path):
    send(terminal, material(tmp_path / "x", 5))
    offer = offered(terminal, "x")
    terminal.send(b"\x03")
    until(lambda: terminal.pump(0.1) or offer.transfer not in terminal.files.offers, "it is withdrawn")
    with pytest.raises(TransferRefused, match=TransferError.GONE):
        terminal.wait_for(terminal.files.download(offer, tmp_path / "got"), 60)


@pytest.mark.parametrize(
    ("path", "why"),
    [("no-such-file", b"No such file"), ("/dev/null", b"not a file"), (".", b"not a file")],
)
def test_what_cannot_be_read_is_a_clear_error(terminal, path, why):
    send(terminal, Path(path))
    assert why in terminal.expect(rb"status-1-")


def test_one_that_is_too_large_is_a_clear_error(terminal, tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate((32 << 20) + 1)
    send(terminal, tmp_path / "large")
    assert b"a file may have 33554432 bytes here" in terminal.expect(rb"status-1-")


def test_where_it_is_off_there_is_nothing_to_send_to(stack, tmp_path):
    with stack.terminal("claude") as terminal:
        send(terminal, material(tmp_path / "x", 5))
        assert b"no shell of a terminal from which files" in terminal.expect(rb"status-1-")


def test_another_sessions_key_opens_nothing(stack, terminal, tmp_path):
    with stack.terminal() as other:
        source = material(tmp_path / "x", 5)
        other.send(f"TERMINAL_SESSION={terminal.session} {SEND} {source} 2>&1; echo status-$?-\n".encode())
        assert b"this is no shell of a session that runs" in other.expect(rb"status-1-")
    terminal.pump(0.1)
    assert not terminal.files.offers


def test_watchers_are_offered_nothing(stack, terminal, tmp_path):
    watcher = stack.terminal(session=terminal.session, watch=True)
    watcher.open()
    send(terminal, material(tmp_path / "x", 5))
    offered(terminal, "x")
    watcher.expect(rb"waits for a yes")
    assert not watcher.files.offers
    terminal.send(b"\x03")
    watcher.close()


@pytest.mark.slow("the same of an upload is in the first tier")
def test_it_goes_on_through_killed_workers_and_managers(stack, terminal, tmp_path):
    source = material(tmp_path / "x", 24 << 20)
    send(terminal, source)
    got = terminal.files.download(offered(terminal, "x"), tmp_path / "got")

    def kill_worker() -> None:
        stack.kill("worker-g1")
        stack.start("worker", "g1")

    def kill_manager() -> None:
        stack.kill("manager")
        stack.start_manager()

    for number, end in enumerate((kill_worker, kill_manager), 1):
        share = got.bytes * number // 3
        until(lambda share=share: terminal.pump(0.05) or got.done >= share, f"{share} bytes")
        assert not got.over, "it was faster than what was to disturb it"
        end()
    terminal.wait_for(got, 120)
    assert filecmp.cmp(source, tmp_path / "got", shallow=False)
    terminal.expect(rb"status-0-")
