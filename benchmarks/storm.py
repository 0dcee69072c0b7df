"""A reconnection storm: every worker, or the session manager, goes under thousands of live sessions.

python -m benchmarks.storm --sessions 2000 --storms 10
python -m benchmarks.storm --sessions 2000 --storms 3 --of manager
python -m benchmarks.storm --sessions 2000 --storms 3 --of replacement

Each session's client has typed a line that is still on its way when they are killed, or replaced.
A storm is over when every client is attached again and has every byte. All on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from terminals.protocol import STABLE_AFTER, messages
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import CircuitBreaker
from terminals.protocol.messages import FrameType
from terminals.protocol.resume import Receiver, Sender
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.support.stack import TOKEN, Stack, until

PATIENCE = 180.0
"""Seconds after which a storm that is not over is a failure."""
OPENING = 50
"""Clients that connect at once for the first time; only coming back is to be a storm."""
PROGRAM = ["sh", "-c", "stty -echo; echo ready; exec cat"]


@dataclass
class Client:
    """One session's client. ``stream`` is what came, ``expected`` what has to come."""

    url: str
    session: str | None = None
    epoch: str | None = None
    stream: bytearray = field(default_factory=bytearray)
    expected: bytearray = field(default_factory=lambda: bytearray(b"ready\r\n"))
    attached_at: float = 0.0
    waited: float = 0.0
    """Seconds this client's own backoff has held it back since it was lost."""
    skipped: int = 0
    failed: int = 0
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    _receiver: Receiver = field(default_factory=Receiver)
    _sender: Sender = field(default_factory=Sender)
    _link: ClientConnection | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that was typed has come back."""
        return len(self.stream) >= len(self.expected)

    async def run(self) -> None:
        """Stay attached until cancelled."""
        backoff, attempt = Backoff(), 0
        while True:
            started = time.monotonic()
            try:
                if self.breaker.allow(started):
                    await self._serve()
            except (OSError, WebSocketException, TimeoutError):
                pass
            self._link = None
            now = time.monotonic()
            if self.attached_at > started:
                attempt, self.waited = 0, 0.0
                if now - self.attached_at >= STABLE_AFTER:
                    self.breaker.success()
                else:
                    self.breaker.failure(now)
            else:
                self.failed += 1
                self.breaker.failure(now)
            delay = max(backoff.delay(attempt), self.breaker.retry_after(now))
            attempt += 1
            self.waited += delay
            await asyncio.sleep(delay)

    async def type(self, line: str) -> None:
        """Type a line; it comes back once."""
        self.expected += line.encode() + b"\r\n"
        data = line.encode() + b"\n"
        at = self._sender.push(data)
        if self._link is not None:
            # When this fails it is pending, and sent again after the attach.
            with contextlib.suppress(WebSocketException):
                await self._link.send(messages.encode_data(0, at, data))

    async def _serve(self) -> None:
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "open_timeout": 30}
        async with connect(self.url, max_size=1 << 20, **options) as link:
            await link.send(
                messages.encode_text("hello", versions=[1], token=TOKEN, client=f"c{id(self)}").decode()
            )
            resume = None
            if self.epoch is not None:
                resume = {"output": self._receiver.received, "epoch": self.epoch}
            await link.send(
                messages.encode_text("attach", channel=0, session=self.session, resume=resume).decode()
            )
            async for message in link:
                if isinstance(message, bytes):
                    await self._binary(link, message)
                elif (fields := json.loads(message))["type"] == "attached":
                    await self._attached(link, fields)
                elif fields["type"] == "error":
                    raise ConnectionError(fields["message"])

    async def _attached(self, link: ClientConnection, fields: dict[str, Any]) -> None:
        self.session, self.epoch = fields["session"], fields["epoch"]
        self.skipped += fields["skipped"]
        self._sender.ack(fields["input"])
        at, pending = self._sender.pending()
        if pending:
            await link.send(messages.encode_data(0, at, pending))
        self._link = link
        self.attached_at = time.monotonic()

    async def _binary(self, link: ClientConnection, message: bytes) -> None:
        frame = messages.decode_binary(message)
        if frame.type is FrameType.ACK:
            self._sender.ack(frame.seq)
            return
        self.stream += self._receiver.accept(frame.seq, frame.payload)
        await link.send(messages.encode_ack(0, self._receiver.received))


@dataclass(frozen=True)
class Storm:
    """Seconds from the kill until attached again, over all sessions, and what of it was backoff."""

    back_p50: float
    back_p99: float
    backoff_p99: float
    complete: float
    """Seconds until every byte was there."""
    failed_attempts: int
    manager_bytes: int


@dataclass(frozen=True)
class Figures:
    """What was seen over all storms; ``wrong`` counts sessions whose stream is not exact."""

    sessions: int
    opened_seconds: float
    storms: list[Storm]
    wrong: int
    skipped: int
    loops: int
    live: int


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def _all(clients: list[Client], condition: Any, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while missing := sum(1 for client in clients if not condition(client)):
        if time.monotonic() > end:
            raise TimeoutError(f"{missing} of {len(clients)} sessions: {what} did not come true")
        await asyncio.sleep(0.02)


def _kill_workers(stack: Stack, workers: int) -> None:
    for worker in range(workers):
        stack.processes[f"w{worker}"].kill()
    for worker in range(workers):
        stack.processes.pop(f"w{worker}").wait()
        stack.start("worker", "g1", name=f"w{worker}")


def _kill_manager(stack: Stack, workers: int) -> None:
    stack.kill("manager")
    stack.start_manager()


def _replace_manager(stack: Stack, workers: int) -> None:
    stack.replace_manager()


END = {"workers": _kill_workers, "manager": _kill_manager, "replacement": _replace_manager}
"""What goes."""


async def _storms(stack: Stack, workers: int, sessions: int, storms: int, report: Any, of: str) -> Figures:
    url = stack.url()
    clients = [Client(url) for _ in range(sessions)]
    tasks = []
    began = time.monotonic()
    for at in range(0, sessions, OPENING):
        tasks += [asyncio.create_task(client.run()) for client in clients[at : at + OPENING]]
        await _all(clients[at : at + OPENING], lambda client: client.complete, "the first prompt")
    opened = time.monotonic() - began
    report(f"{sessions} sessions opened in {opened:.1f} s")
    seen = []
    for number in range(storms):
        # An attach that is lost before it is stable would rightly count towards a loop.
        newest = max(client.attached_at for client in clients)
        await asyncio.sleep(max(0.0, newest + STABLE_AFTER + 0.5 - time.monotonic()))
        for client in clients:
            await client.type(f"line {number}")
        killed = time.monotonic()
        await asyncio.to_thread(END[of], stack, workers)
        failed = sum(client.failed for client in clients)
        await _all(clients, lambda client: client.attached_at > killed, "being attached again")  # noqa: B023
        back = [client.attached_at - killed for client in clients]
        waited = [client.waited for client in clients]
        await _all(clients, lambda client: client.complete, "every byte")
        complete = time.monotonic() - killed
        pss = _pss(stack.status()["manager"]["pid"])
        seen.append(
            Storm(
                percentile(back, 0.5),
                percentile(back, 0.99),
                percentile(waited, 0.99),
                complete,
                sum(client.failed for client in clients) - failed,
                pss,
            )
        )
        last = seen[-1]
        report(
            f"storm {number + 1}: back p50 {last.back_p50:.2f} s, p99 {last.back_p99:.2f} s"
            f" (backoff alone p99 {last.backoff_p99:.2f} s), all bytes after {complete:.2f} s,"
            f" manager {pss / 1e6:.1f} MB"
        )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    status = stack.status()
    return Figures(
        sessions,
        opened,
        seen,
        wrong=sum(1 for client in clients if client.stream != client.expected),
        skipped=sum(client.skipped for client in clients),
        loops=sum(entry["loops"] for entry in status["generations"]),
        live=status["sessions"]["live"],
    )


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


def run(sessions: int, storms: int, *, workers: int = 2, report: Any = print, of: str = "workers") -> Figures:
    """Open ``sessions``, have what is named by ``of`` go ``storms`` times, and say what happened.

    Raises:
        TimeoutError: a session did not come back, or not all its bytes.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    profile = {"command": PROGRAM}
    stack = Stack(profiles={"system": profile, "claude": profile}, ring_bytes=1 << 16, max_sessions=sessions)
    try:
        for worker in range(workers):
            stack.start("worker", "g1", name=f"w{worker}")
        until(lambda: stack.generation("g1").get("workers") == workers, "the workers")
        stack.admin("weights", weights={"g1": 100})
        return uvloop.run(_storms(stack, workers, sessions, storms, report, of))
    finally:
        stack.close()


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--storms", type=int, default=10)
    parser.add_argument("--of", choices=END, default="workers")
    options = parser.parse_args()
    figures = run(options.sessions, options.storms, of=options.of)
    print(
        f"{figures.live} of {figures.sessions} sessions live; wrong streams {figures.wrong},"
        f" bytes skipped {figures.skipped}, reconnection loops {figures.loops}"
    )


if __name__ == "__main__":
    main()
