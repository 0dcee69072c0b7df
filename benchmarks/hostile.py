"""A worker under a thousand connections that mean harm, and an honest one beside them.

python -m benchmarks.hostile --connections 1000 --seconds 20

Pings that are never read, fragments without an end, floods of small frames, floods of attaches, half a
handshake: a fifth each, from a process of their own. Shown are the worker's memory and an honest client's
echo, first alone, then beside them. All on loopback; ends by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from terminals.control.memory import proportional_set_size
from terminals.protocol import messages

from tests.support.frames import frame, opening
from tests.support.stack import TOKEN, Stack

ECHOES = 400
MEMORY_MB = 50
TIMES = 10.0
CONTINUED, TEXT, PING = 0, 1, 9


HELLO = frame(TEXT, messages.encode_text("hello", versions=[3], client="hostile", token=TOKEN))
ATTACHES = b"".join(
    frame(TEXT, messages.encode_text("attach", channel=channel, session="no id")) for channel in range(50)
)
KINDS = {
    "pings unread": (b"", frame(PING, bytes(125)) * 100),
    "fragments without an end": (frame(TEXT, b"{", fin=False), frame(CONTINUED, b" ", fin=False) * 500),
    "small frames": (HELLO, frame(TEXT, b'{"type":"ping","t":1}') * 200),
    "attaches": (HELLO, ATTACHES),
    "half a handshake": (None, b""),
}


class Attacker:
    """One connection, opened again whenever it has ended."""

    def __init__(self, port: int, kind: str, poll: selectors.BaseSelector) -> None:
        self._port, self._poll = port, poll
        self._first, self._again = KINDS[kind]
        self._open()

    def _open(self) -> None:
        self._sock = socket.socket()
        self._sock.setblocking(False)
        self._sock.connect_ex(("127.0.0.1", self._port))
        half = self._first is None
        self._data = opening(f"Host: 127.0.0.1:{self._port}")[: 40 if half else None] + (self._first or b"")
        self._poll.register(self._sock, selectors.EVENT_WRITE, self)

    def send(self) -> int:
        """Send what the other side takes; never read."""
        try:
            if not self._data:
                raise ConnectionError("it was ended")
            sent = self._sock.send(self._data)
        except BlockingIOError:
            return 0
        except OSError:
            self._poll.unregister(self._sock)
            self._sock.close()
            with contextlib.suppress(OSError):
                self._open()
            return 0
        self._data = self._data[sent:] or self._again
        if not self._data:  # it holds what it has, until somebody ends it
            self._poll.modify(self._sock, selectors.EVENT_READ, self)
        return sent


def attack(port: int, kinds: list[str], connections: int, seconds: float) -> None:
    """Be hostile for so long; prints how many bytes that were."""
    with selectors.DefaultSelector() as poll:
        for number in range(connections):
            Attacker(port, kinds[number % len(kinds)], poll)
        print("here", flush=True)
        sent, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in poll.select(0.1):
                sent += key.data.send()
        print(sent, flush=True)


def echoes(stack: Stack, count: int) -> list[float]:
    """Milliseconds from a key to its echo."""
    found = []
    with stack.terminal() as terminal:
        terminal.expect(rb"ready")
        for _ in range(count):
            began = time.perf_counter()
            terminal.send(b"x")
            terminal.expect(rb"x")
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(0.005)
    return found


def percentile(values: list[float], share: float) -> float:
    """Of sorted values the one at that share."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextlib.contextmanager
def attacked(
    port: int, kinds: list[str], connections: int, seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """A process that is hostile meanwhile."""
    words = [sys.executable, "-m", "benchmarks.hostile", "--attack", str(port)]
    words += ["--connections", str(connections), "--seconds", str(seconds)]
    words += [word for kind in kinds for word in ("--kind", kind)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "here"
        yield process
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measure, print, and end with 1 where a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="Only these [default: all].")
    parser.add_argument("--attack", type=int, metavar="PORT", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.attack:
        attack(chosen.attack, chosen.kind, chosen.connections, chosen.seconds)
        return
    program = ["sh", "-c", "stty raw -echo; echo ready; exec cat"]
    profile = {"command": program}
    with contextlib.closing(Stack(profiles={"system": profile, "claude": profile})) as stack:
        stack.start_generation("g1", weight=100)
        pid = stack.processes["worker-g1"].pid
        port = stack.status()["listeners"]["system"]
        alone = echoes(stack, ECHOES)
        idle = proportional_set_size(pid)
        kinds = chosen.kind or list(KINDS)
        with attacked(port, kinds, chosen.connections, chosen.seconds) as process:
            time.sleep(2)  # all of them are at it
            beside, most = [], 0
            while process.poll() is None and len(beside) < ECHOES:
                beside += echoes(stack, 20)
                most = max(most, proportional_set_size(pid))
        result = {
            "connections": chosen.connections,
            "echo_ms": {
                "alone": {"p50": statistics.median(alone), "p99": percentile(alone, 0.99)},
                "beside": {
                    "p50": statistics.median(beside),
                    "p99": percentile(beside, 0.99),
                    "n": len(beside),
                },
            },
            "echo_p99_times": percentile(beside, 0.99) / percentile(alone, 0.99),
            "worker_mb": {"idle": idle / 1e6, "grown": (most - idle) / 1e6},
            "tracebacks": stack.log("worker-g1").count("Traceback"),
        }
    print(json.dumps(result, indent=2))
    kept = result["echo_p99_times"] < TIMES and most - idle < MEMORY_MB * 1e6
    sys.exit(0 if kept and not result["tracebacks"] else 1)


if __name__ == "__main__":
    main()
