"""People in live shells, whose connections are cut at random.

Every user has a shell that counts by itself and types commands into it. At random moments
its connection is reset, as a lost network does. Every user verifies that it received every
byte once, in order, and that every command ran once.

    locust -f loadtests/terminal.py --headless --users 20 --spawn-rate 20 --run-time 30s \\
        --url ws://127.0.0.1:4001/ --token-file run/token --samples samples.jsonl

Samples are JSON lines; ``rollout`` reads them while the run goes on. Fields: ``t`` Unix
seconds, ``user``, ``host``, ``kind`` (see :class:`Person`), ``ok``, ``ms``, ``generation`` and ``build``
(both "" where none serves: before the first does, and from being told to come back until the next one
does), ``planned``, and for ``verify`` the counts of :class:`loadtests.verify.Findings`.
"""

from __future__ import annotations

import json
import os
import random
import time
from argparse import ArgumentParser
from dataclasses import asdict
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Any

from locust import User, events, task
from locust.env import Environment
from locust.exception import StopUser
from terminals.client import ClientError, Event, Terminal
from terminals.protocol import STABLE_AFTER
from terminals.protocol.client import Connected, Failed, Loop, Lost

from loadtests import COMMAND_EVERY
from loadtests.verify import PLAIN_SHELL, PROMPT, READY, SETUP, Findings, Verifier

ANSWER_SECONDS = 30.0
VERIFY_EVERY = 1.0
FINAL_SECONDS = 30.0
AWAY_SECONDS = 20.0
"""Whoever is told to come back, and is not served again by then, has not been kept."""

_numbers = count()
_samples: Path | None = None
_of_workers: dict[str, Findings] = {}
"""What each has reported last, where this is their master."""


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--url", default=os.environ.get("TERMINAL_URL", "ws://127.0.0.1:4001/"))
    parser.add_argument("--token-file", default="", help="the token of --url")
    parser.add_argument("--ca", default=None, help="certificates to trust for wss:, not the system's")
    parser.add_argument(
        "--doors-file", default="", help="JSON list of host, url, token, ca: users are spread over them"
    )
    parser.add_argument("--samples", default="")
    parser.add_argument("--share", type=int, default=1, help="workers that the users are shared among")
    parser.add_argument("--cut-every", type=float, default=5.0, help="mean seconds between cuts, 0: never")


@events.test_start.add_listener
def _start(environment: Environment, **_: Any) -> None:
    global _samples
    if environment.parsed_options and environment.parsed_options.samples:
        _samples = Path(environment.parsed_options.samples)


@events.report_to_master.add_listener
def _report(client_id: str, data: dict[str, Any]) -> None:
    """What this worker's users have found so far."""
    data["found"] = asdict(Person.total)


@events.worker_report.add_listener
def _reported(client_id: str, data: dict[str, Any]) -> None:
    _of_workers[client_id] = Findings(**data["found"])
    Person.total = reduce(Findings.plus, _of_workers.values())


@events.quitting.add_listener
def _quit(environment: Environment, **_: Any) -> None:
    """No verified byte is no success: an empty run must not look like a good one."""
    if Person.total.verified == 0 or Person.total.lost or Person.total.doubled or Person.total.twice:
        environment.process_exit_code = 1


def _door(options: Any, number: int) -> dict[str, Any]:
    """Where a user works: each host has as many of them as any other, give or take one."""
    if options.doors_file:
        doors: list[dict[str, Any]] = json.loads(Path(options.doors_file).read_text())
        return doors[number % len(doors)]
    token = Path(options.token_file).read_text().strip()
    return {"host": "", "url": options.url, "token": token, "ca": options.ca}


class Person(User):
    """One person at one terminal.

    Sample kinds: ``connect`` and ``reconnect`` (``ms`` of the attempt; a reconnection is ``ok`` when
    it stayed for ``STABLE_AFTER``), ``attempt`` (a failed attempt), ``command`` (``ms`` until answered),
    ``loop``, ``verify``, ``final`` (the last verification of this user) and ``error``.
    """

    abstract = False
    total = Findings()

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options: Any = environment.parsed_options
        # Of all workers together: each has those that its own number, and then every so many, give.
        index = getattr(environment.runner, "worker_index", 0)
        self.number = next(_numbers) * options.share + index
        self.random = random.Random(self.number)  # noqa: S311 - a schedule, no secret
        self.cut_every: float = options.cut_every
        self.door = _door(options, self.number)
        self.terminal = Terminal(
            self.door["url"],
            token=self.door["token"],
            program="load",
            ca=self.door["ca"],
            on_event=self._event,
        )
        self.verifier = Verifier()
        self.told = Findings()
        self.pid = b""
        self.sent: dict[int, float] = {}
        self.last_command = 0
        self.next_command = self.next_cut = self.next_verify = 0.0
        self.cutting = False
        self.reconnected: Connected | None = None
        self.reconnected_at = 0.0
        self.sent_away_at: float | None = None
        self.missed = False
        """Whether coming back, this time, has been counted as failed."""

    def on_start(self) -> None:
        """Open the shell and set it counting."""
        try:
            self.terminal.open(timeout=30)
            self.terminal.send(PLAIN_SHELL)
            self.terminal.expect(PROMPT, timeout=30)
            self.terminal.send(SETUP)
            text = self.terminal.expect(READY, timeout=30)
        except ClientError as error:
            self._failed(error)
        self.pid = text.rpartition(b":")[2]
        now = time.monotonic()
        self.next_command = now
        self.next_cut = now + self._wait(self.cut_every)
        self.next_verify = now + VERIFY_EVERY

    @task
    def live(self) -> None:
        """One slice of a working day."""
        try:
            self._read(0.1)
            now = time.monotonic()
            if now >= self.next_command:
                self.next_command = now + self._wait(COMMAND_EVERY)
                self._type(now)
            # A cut of our own right after an attach would look like the loop we are to find.
            settled = self.terminal.connected and now - self.reconnected_at > STABLE_AFTER * 1.25
            if now >= self.next_cut and settled:
                self.next_cut = now + self._wait(self.cut_every)
                self.cutting = True
                self.terminal.cut()
            if not self.missed and self.sent_away_at is not None and now - self.sent_away_at > AWAY_SECONDS:
                self.missed = True
                away = now - self.sent_away_at
                self._result("reconnect", away, ok=False, planned=True, away=away)
            if now >= self.next_verify:
                self.next_verify = now + VERIFY_EVERY
                self._tell("verify")
        except ClientError as error:
            self._failed(error)

    def on_stop(self) -> None:
        """Wait for the last answers, verify, and end the shell."""
        end = time.monotonic() + FINAL_SECONDS
        try:
            if self.pid:
                self.terminal.send(b"echo @st''ill:$$@\n")
                text = b""
                while b"@still:" not in text and time.monotonic() < end:
                    text = text[-32:] + self._read(0.1, until=b"@still:")
                same = b"@still:" + self.pid.rstrip(b"@\n") in text
                self._sample("shell", ok=same)
                self.verifier.missing(self.last_command)
        except ClientError as error:
            self._sample("error", ok=False, error=str(error))
            self.verifier.missing(self.last_command)
        self._settle(time.monotonic(), lost=False)
        self._tell("final")
        self.terminal.close(kill=True)

    def _type(self, now: float) -> None:
        self.last_command += 1
        self.sent[self.last_command] = now
        self.terminal.send(f"r {self.last_command}\n".encode())
        oldest = next(iter(self.sent.values()))
        if now - oldest > ANSWER_SECONDS:
            self.sent.pop(next(iter(self.sent)))
            self._result("command", ANSWER_SECONDS, ok=False)

    def _read(self, timeout: float, until: bytes = b"") -> bytes:
        data = self.terminal.read(timeout)
        now = time.monotonic()
        ours = data
        if until and until in data:
            ours = data.partition(until)[0]
        for command in self.verifier.feed(ours):
            started = self.sent.pop(command, None)
            if started is not None:
                self._result("command", now - started, ok=True)
        if self.reconnected is not None and now - self.reconnected_at >= STABLE_AFTER:
            self._settle(now, lost=False)
        return data

    def _event(self, event: Event) -> None:
        now = time.monotonic()
        match event:
            case Connected(reconnect=True):
                self.reconnected_at = now
                self.reconnected = None if self.missed else event
                self.sent_away_at, self.missed = None, False
            case Connected():
                self.reconnected_at = now
                self._result("connect", event.attempt_seconds, ok=True)
            case Lost():
                mine, self.cutting = self.cutting, False
                self._settle(now, lost=not (event.planned or mine))
                if event.planned:
                    self.sent_away_at = now
            case Failed():
                self._sample("attempt", ok=False, ms=event.seconds * 1000, error=event.reason)
            case Loop():
                self._sample("loop", ok=False, error=event.reason)

    def _settle(self, now: float, *, lost: bool) -> None:
        """A reconnection has shown what it is worth."""
        if self.reconnected is not None:
            event, self.reconnected = self.reconnected, None
            lasted = now - self.reconnected_at
            ok = not lost or lasted >= STABLE_AFTER
            self._result("reconnect", event.attempt_seconds, ok=ok, planned=event.planned, away=event.away)

    def _result(self, kind: str, seconds: float, *, ok: bool, **fields: Any) -> None:
        self.environment.events.request.fire(
            request_type="terminal",
            name=kind,
            response_time=seconds * 1000,
            response_length=0,
            exception=None if ok else RuntimeError(f"{kind} failed"),
        )
        self._sample(kind, ok=ok, ms=seconds * 1000, **fields)

    def _tell(self, kind: str) -> None:
        now = self.verifier.findings.copy()
        new = now.minus(self.told)
        self.told = now
        Person.total.verified += new.verified
        Person.total.lost += new.lost
        Person.total.doubled += new.doubled
        Person.total.twice += new.twice
        self._sample(
            kind,
            ok=not (new.lost or new.doubled or new.twice),
            n=new.verified,
            lost=new.lost,
            doubled=new.doubled,
            twice=new.twice,
        )

    def _failed(self, error: ClientError) -> None:
        self._sample("error", ok=False, error=str(error))
        raise StopUser from error

    def _sample(self, kind: str, **fields: Any) -> None:
        if _samples is None:
            return
        # Where it comes to is not known yet, but it is not where it was.
        attached = self.terminal.attached if self.sent_away_at is None else None
        sample = {
            "t": time.time(),
            "user": self.number,
            "host": self.door["host"],
            "kind": kind,
            "generation": attached.generation if attached else "",
            "build": attached.build if attached else "",
            "session": self.terminal.session,
            **fields,
        }
        # One short append a sample: whole lines, whoever reads or kills us meanwhile.
        with _samples.open("a") as file:
            file.write(json.dumps(sample) + "\n")

    def _wait(self, mean: float) -> float:
        return self.random.expovariate(1 / mean) if mean else float("inf")
