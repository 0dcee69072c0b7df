"""Thousands of bad inputs to a live worker and a live manager, while somebody works."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
from typing import Any

from terminals.control import CONTROL_VERSION, framing
from terminals.control.asking import ControlError
from terminals.control.asking import connect as connect_control
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.support.control import say
from tests.support.processes import open_files
from tests.support.stack import TOKEN, until
from tests.support.tiers import examples

JUNK: list[Any] = [None, -1, 0, 1e308, float("inf"), "", "x" * 300, [], {}, [[]], True, 2**70, "\0"]
HELLO = {"type": "hello", "versions": [1], "token": TOKEN, "client": "fuzz"}
ATTACH = {"type": "attach", "channel": 0, "session": None, "cols": 80, "rows": 24, "resume": None}
CONTROL: list[dict[str, Any]] = [
    {"type": "attach", "session": None, "profile": "system", "client": "f", "user": "", "only": None,
     "address": "x", "cols": 80, "rows": 24, "resume": None, "routable": False, "since": 0.0},
    {"type": "detach", "handle": 1, "planned": False},
    {"type": "resize", "handle": 1, "cols": 80, "rows": 24},
    {"type": "end", "handle": 1},
    {"type": "closed"},
    {"type": "handoff", "to": "missing", "listener": "system", "address": "x"},
    {"type": "status"},
    {"type": "sessions"},
    {"type": "metrics"},
    {"type": "kill", "session": "session_1754931600123_abcdefghi"},
    {"type": "rename", "session": "x", "title": "y"},
    {"type": "wait", "generation": "missing", "workers": 1, "seconds": 0.01},
    {"type": "weights", "weights": {"missing": 1}},
    {"type": "move", "to": "missing", "share": 1, "batch": 1, "interval": 0.1, "deadline": 0.1},
    {"type": "retire", "generation": "missing", "after": 1},
    {"type": "cancel-retire", "generation": "missing"},
    {"type": "stop", "generation": "missing", "seconds": 0.01},
]  # fmt: skip


TEXTS = ["{", "[]", "nonsense", '{"type":1}', '{"type":"attach"}', "x" * 2**18]


def damaged(rng: random.Random, message: dict[str, Any]) -> dict[str, Any]:
    """A copy with one to three fields missing, wrong or unheard of. The type stays, mostly."""
    copy = dict(message)
    for _ in range(rng.randint(1, 3)):
        field = rng.choice([*copy, "unheard-of"])
        if field == "type" and rng.random() < 0.9:
            continue
        if rng.random() < 0.3:
            copy.pop(field, None)
        else:
            copy[field] = rng.choice(JUNK)
    return copy


def test_the_network(stack):
    rng = random.Random(7)
    port = stack.status()["listeners"]["system"]
    before = healthy(stack)
    with stack.terminal() as good:
        work(good, 0)
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", port)) as raw, contextlib.suppress(OSError):
                start = rng.choice([b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX: " + b"y" * 20000])
                raw.sendall(start + rng.randbytes(rng.randint(1, 400)))
        work(good, 1)
        url, quick = stack.url(), {"compression": None, "close_timeout": 0.05}
        for number in range(examples(1500)):
            with (
                contextlib.suppress(WebSocketException, OSError),
                connect(url, **quick) as link,
            ):
                if rng.random() < 0.8:
                    link.send(json.dumps(HELLO))
                    link.recv(timeout=10)
                match rng.randrange(5):
                    case 0:
                        link.socket.sendall(rng.randbytes(rng.randint(1, 200)))
                    case 1:
                        link.send(json.dumps(damaged(rng, rng.choice([HELLO, ATTACH]) | {"token": TOKEN})))
                    case 2:
                        link.send(rng.randbytes(rng.randint(0, 60)))
                    case 3:
                        kind, channel = rng.randint(0, 3), rng.choice([0, 1, 256, 2**32 - 1])
                        link.send(struct.pack("!BIQ", kind, channel, rng.getrandbits(64)) + b"data")
                    case 4:
                        link.send(
                            rng.choice(
                                ["{", "[]", "nonsense", '{"type":1}', '{"type":"attach"}', "x" * 2**18]
                            )
                        )
                with contextlib.suppress(TimeoutError):
                    link.recv(timeout=0.002)
            if number % 100 == 0:
                work(good, number)
        work(good, 2)
    assert healthy(stack) == before
    for name in ("manager", "worker-g1"):
        assert "Traceback" not in stack.log(name)


def test_the_control_socket(stack):
    rng = random.Random(11)
    before = healthy(stack)
    strays = open_files(before[0]).count("/dev/null")
    hello = {"type": "hello", "version": CONTROL_VERSION, "role": "worker", "generation": "nowhere",
             "build": "b", "pid": 1}  # fmt: skip
    with stack.terminal() as good:
        for number in range(400):
            with connect_control(stack.socket) as control, contextlib.suppress(OSError, framing.BadPacket):
                control.settimeout(0.002)
                if rng.random() < 0.7:
                    say(control, hello)
                for _ in range(5):
                    fds = (os.open("/dev/null", os.O_RDONLY),) if rng.random() < 0.2 else ()
                    try:
                        match rng.randrange(4):
                            case 0:
                                framing.send(control, rng.randbytes(rng.randint(1, 100)), fds)
                            case 1:
                                kind = rng.choice([b"I", b"A"])
                                head = struct.pack("=cIQ", kind, rng.getrandbits(32), rng.getrandbits(64))
                                framing.send(control, head + rng.randbytes(9), fds)
                            case _:
                                message = damaged(rng, rng.choice([hello, *CONTROL]))
                                say(control, message, fds)
                    finally:
                        for fd in fds:
                            os.close(fd)
                with contextlib.suppress(TimeoutError):
                    framing.receive(control)
            if number % 100 == 0:
                work(good, number)
        work(good, 1)
    assert healthy(stack) == before
    for name in ("manager", "worker-g1"):
        assert "Traceback" not in stack.log(name)
    # Descriptors that came with bad packets were closed.
    manager = stack.status()["manager"]["pid"]
    until(lambda: open_files(manager).count("/dev/null") <= strays, "stray descriptors closed")


def work(terminal: Any, number: int) -> None:
    terminal.send(f"echo [$(({number} + 70000))]\n".encode())
    terminal.expect(rf"\[{number + 70000}\]".encode())


def healthy(stack: Any) -> tuple[int, int]:
    """The ids of the manager and of the worker, which have to be the same in the end, and answer."""
    assert stack.processes["worker-g1"].poll() is None
    with contextlib.suppress(ControlError):
        return stack.status()["manager"]["pid"], stack.generation("g1")["workers"]
    raise AssertionError("the manager does not answer")
