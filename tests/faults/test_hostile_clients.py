"""Clients that mean harm, most of them without a credential: what they cost, and who else notices."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.protocol import messages

from tests.support.frames import frame, opening
from tests.support.raw import Raw
from tests.support.stack import TOKEN, Stack, until

MEGABYTE = 1 << 20
TEXT, CONTINUED, CLOSE, PING = 1, 0, 8, 9


def opened(stack: Stack, *headers: str) -> socket.socket:
    """A connection on which the opening handshake was asked for."""
    port = stack.status()["listeners"]["system"]
    sock = socket.create_connection(("127.0.0.1", port), timeout=20)
    sock.sendall(opening(*(headers or (f"Host: 127.0.0.1:{port}",))))
    return sock


def answer(sock: socket.socket) -> bytes:
    """What comes until the server waits, or has closed the connection."""
    got = b""
    sock.settimeout(5)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while b"\r\n\r\n" not in got and (data := sock.recv(65536)):
            got += data
    return got


def greeted(sock: socket.socket) -> socket.socket:
    """With a credential shown, and the welcome not read."""
    hello = messages.encode_text("hello", versions=[2], client="hostile", token=TOKEN)
    sock.sendall(frame(TEXT, hello))
    return sock


def memory(stack: Stack) -> int:
    """Bytes of the worker that are in memory."""
    status = Path(f"/proc/{stack.processes['worker-g1'].pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10


def flood(sock: socket.socket, data: bytes, most: int) -> int:
    """Send the same again and again until nobody takes it for a second, or so much is sent."""
    sent = 0
    sock.settimeout(1)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while sent < most:
            sock.sendall(data)
            sent += len(data)
    return sent


@pytest.fixture
def honest(stack) -> Iterator[None]:
    """Somebody at work, who is served as before."""
    with stack.terminal() as terminal:
        terminal.send(b"echo [$((6 * 7))]\n")
        terminal.expect(rb"\[42\]")
        yield
        terminal.send(b"echo [$((7 * 7))]\n")
        terminal.expect(rb"\[49\]")
        assert terminal.stats.losses == 0
    assert "Traceback" not in stack.log("worker-g1")


def _until_shown(sock: socket.socket, what: bytes) -> bytes:
    """What has come by the time that it contains this, or the connection has ended."""
    got, end = b"", time.monotonic() + 60
    while what not in got and time.monotonic() < end and (data := sock.recv(65536)):
        got += data
    return got


FLOODS = {
    "pings": (False, frame(PING, bytes(125)) * 500, 60 * MEGABYTE),
    "fragments": (False, frame(CONTINUED, fin=False) * 1000, 6 * MEGABYTE),
    "questions": (True, frame(TEXT, b'{"type":"ping","t":%d}' % 10**300) * 200, 60 * MEGABYTE),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_without_reading_costs_little(stack, honest, kind):
    known, data, most = FLOODS[kind]
    sock = opened(stack)
    if known:
        greeted(sock)
    if kind == "fragments":
        sock.sendall(frame(TEXT, fin=False))
    before = memory(stack)
    sent = flood(sock, data, most)
    assert sent > MEGABYTE, "it was stopped too early to say anything"
    grown = memory(stack) - before
    # What one read brings is parsed at once: many small frames are large for a moment.
    assert grown < 12 * MEGABYTE, f"{grown >> 20} MiB for {sent >> 20} MiB"
    sock.close()


def test_whoever_was_not_read_from_is_when_it_reads_again(stack):
    sock = opened(stack)
    assert answer(sock).startswith(b"HTTP/1.1 101")
    sent = flood(sock, frame(PING, bytes(125)) * 500, 60 * MEGABYTE)
    assert sent < 60 * MEGABYTE, "nobody stopped reading: this shows nothing"
    sock.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        while sock.recv(1 << 20):
            pass
    sock.settimeout(20)
    # The flood may have been cut in the middle of a frame: a new connection is as good as any.
    sock.close()
    raw = Raw(stack.url(), "after")
    raw.attach()
    raw.want("attached")
    raw.text("ping", t=1.5)
    assert raw.want("pong")["t"] == 1.5
    raw.close()


def test_what_was_sent_in_pieces_is_one_message(stack):
    hello = messages.encode_text("hello", versions=[2], client="slow", token=TOKEN)
    sock = opened(stack)
    assert answer(sock).startswith(b"HTTP/1.1 101")
    sock.sendall(frame(TEXT, hello[:10], fin=False))
    sock.sendall(frame(CONTINUED, b"", fin=False) + frame(PING) + frame(CONTINUED, hello[10:-1], fin=False))
    sock.sendall(frame(CONTINUED, hello[-1:]))
    assert b'"welcome"' in _until_shown(sock, b'"welcome"')
    sock.close()


@pytest.mark.parametrize(
    "headers",
    [
        ("Host: a", "Host: b"),
        ("Host: 127.0.0.1", "Origin: http://a", "Origin: http://b"),
    ],
    ids=["Host", "Origin"],
)
def test_a_header_that_may_be_there_once_is_refused_with_400(stack, honest, headers):
    assert answer(opened(stack, *headers)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"type":"hello\xff"}', 1007),
        ('{"type":"hello"}'.encode("utf-16"), 1007),
        (b"[" * 100000, 1008),
        (b'{"type":"ping","t":"text"}', 1008),
    ],
    ids=["not UTF-8", "UTF-16", "nested", "no number"],
)
def test_a_message_that_breaks_a_rule_ends_its_connection_by_the_code_for_that(stack, honest, payload, code):
    sock = opened(stack)
    assert answer(sock).startswith(b"HTTP/1.1 101")
    greeted(sock)
    sock.sendall(frame(TEXT, payload))
    said = struct.pack("!H", code)
    closed = _until_shown(sock, said).rpartition(bytes([0x80 | CLOSE]))[2]
    assert closed[1:3] == said
    sock.close()


@pytest.mark.parametrize(
    "words",
    [pytest.param(b"", marks=pytest.mark.slow("waits for the same limit")), b"GET / HTTP/1.1\r\nHost: a\r\n"],
    ids=["nothing", "half a head"],
)
def test_the_page_s_server_waits_for_no_request_for_long(stack, words):
    stack.start_web("g1")
    port = stack.status()["listeners"]["web"]
    folder = Path(f"/proc/{stack.processes['web-g1'].pid}/fd")
    kept = socket.create_connection(("127.0.0.1", port), timeout=20)
    kept.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r")
    before = len(list(folder.iterdir()))
    silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(200)]
    for sock in silent:
        sock.sendall(words)
    until(lambda: len(list(folder.iterdir())) >= before + 200, "all of them having come")
    kept.sendall(b"\n")
    assert answer(kept).startswith(b"HTTP/1.1 200")
    until(lambda: len(list(folder.iterdir())) < before + 10, "the end of all of them", 60)
    # One that has asked for something may stay a while.
    kept.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer(kept).startswith(b"HTTP/1.1 200")
    for sock in [kept, *silent]:
        sock.close()
    assert "Traceback" not in stack.log("web-g1")
