"""The validation suite: 15 tests in five groups.

Session ID Validation (8), Circuit Breaker (2), Performance (1), Integration (3), Session
Reuse (1). All of them go through the front door of a running environment.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import statistics
import time
import uuid
from collections.abc import Callable, Iterator

from terminals.client import AttachError, Event, Terminal
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import BreakerState, CircuitBreaker
from terminals.protocol.client import Connected, Failed
from terminals.protocol.ids import is_canonical, new_session_id, parse_session_id

from rollout.checks.runner import Check, CheckResult, Target, compute, expect, run_suite

SUITE = "validate"
ROUNDS = 20
LATENCY_MS = 100.0
MEMORY_BYTES = 50_000_000
COOLDOWN_SECONDS = 0.5
STEP_SECONDS = 0.001


def validate(
    target: Target, on_result: Callable[[CheckResult], None] = lambda result: None
) -> list[CheckResult]:
    """Run the 15 validation tests against ``target``."""
    return run_suite(SUITE, CHECKS, target, on_result)


@contextlib.contextmanager
def opened(target: Target, session: str | None = None) -> Iterator[Terminal]:
    """An open terminal whose shell is ended afterwards."""
    terminal = target.terminal(session=session)
    terminal.open(target.patience)
    try:
        yield terminal
    finally:
        terminal.close(kill=True)


# --- Session ID Validation --------------------------------------------------------------


def _new_format(target: Target) -> str:
    wanted = new_session_id().value
    with opened(target, wanted) as terminal:
        expect(terminal.session == wanted, f"asked for {wanted}, got {terminal.session}")
        expect(terminal.attached and terminal.attached.status == "created", "not acknowledged as created")
    return f"{wanted} was taken as it is"


def _generated(target: Target) -> str:
    with opened(target) as first, opened(target) as second:
        for terminal in (first, second):
            expect(is_canonical(str(terminal.session)), f"{terminal.session} is not canonical")
        expect(first.session != second.session, "two new sessions got one id")
        drift = abs(int(str(first.session).split("_")[1]) / 1000 - time.time())
        expect(drift < 3600, f"the id's timestamp is {drift:.0f} s off")
        return f"{first.session}"


def _migrates(target: Target, legacy: str) -> str:
    with opened(target, legacy) as terminal:
        expect(terminal.attached and terminal.attached.status == "migrated", "not acknowledged as migrated")
        expect(terminal.session == parse_session_id(legacy).value, f"{legacy} became {terminal.session}")
        return f"{legacy} became {terminal.session}"


def _legacy_uuid(target: Target) -> str:
    return _migrates(target, str(uuid.uuid4()))


def _legacy_hyphen(target: Target) -> str:
    return _migrates(target, new_session_id().value.replace("_", "-"))


def _legacy_terminal(target: Target) -> str:
    return _migrates(target, f"terminal_{time.time_ns() // 1_000_000:013d}")


def _null(target: Target) -> str:
    return _absent(target, (None, "null", ""))


def _undefined(target: Target) -> str:
    return _absent(target, ("undefined",))


def _absent(target: Target, absent: tuple[str | None, ...]) -> str:
    for raw in absent:
        with opened(target, raw) as terminal:
            expect(is_canonical(str(terminal.session)), f"{raw!r} became {terminal.session}")
            expect(terminal.attached and terminal.attached.status == "created", f"{raw!r}: not created")
    return f"{', '.join(map(repr, absent))}: a new session each"


def _garbage(target: Target) -> str:
    garbage = ("session_1_x", "../../etc/passwd", "session_1754931600123_ABC", "x" * 200)
    for raw in garbage:
        try:
            with opened(target, raw) as terminal:
                expect(False, f"{raw[:40]!r} was taken as {terminal.session}")
        except AttachError as error:
            expect(error.code == "bad-session-id", f"{raw[:40]!r}: {error}")
    return f"{len(garbage)} malformed ids refused, each with a clear error"


# --- Circuit Breaker --------------------------------------------------------------------


class _Clock:
    """Stands still but for the steps that are made, so that a machine that stands still changes no outcome;
    after :meth:`flow` it goes on by itself."""

    def __init__(self) -> None:
        self._now = 0.0
        self._since: float | None = None

    def __call__(self) -> float:
        return self._now if self._since is None else self._now + time.monotonic() - self._since

    def step(self) -> None:
        self._now += STEP_SECONDS

    def flow(self) -> None:
        self._since = time.monotonic()


class _Failing:
    """A client of a port that nobody listens on, run until its breaker opens, and when it failed."""

    def __init__(self, target: Target, threshold: int, base: float) -> None:
        self.times: list[float] = []
        self.clock = _Clock()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.terminal = Terminal(
                f"ws://127.0.0.1:{unused.getsockname()[1]}/",
                token=target.token,
                ca=target.ca,
                backoff=Backoff(base=base, cap=10.0, uniform=lambda low, high: high),
                breaker=CircuitBreaker(threshold=threshold, cooldown=COOLDOWN_SECONDS),
                on_event=self._on_event,
                clock=self.clock,
            )
            self.run(until=lambda: self.terminal.breaker.state is not BreakerState.CLOSED, seconds=10)

    def run(self, until: Callable[[], bool], seconds: float) -> None:
        end = self.clock() + seconds
        while not until() and self.clock() < end:
            self.terminal.pump()
            self.clock.step()

    def wait(self, seconds: float) -> None:
        self.run(lambda: False, seconds)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Failed):
            self.times.append(self.clock())


def _trigger(target: Target) -> str:
    failing = _Failing(target, CircuitBreaker().threshold, base=0.01)
    expect(failing.terminal.breaker.state is BreakerState.OPEN, "the breaker did not open")
    expect(len(failing.times) == 3, f"it opened after {len(failing.times)} failures, not 3")
    failing.wait(COOLDOWN_SECONDS - 0.01)
    expect(len(failing.times) == 3, "an open breaker let an attempt through")
    return "opened after 3 failures, then no further attempt"


def _exponential(target: Target) -> str:
    # The longest delay of each draw, so that the growth shows: 40, 80, 160, 320 ms.
    times = _Failing(target, threshold=5, base=0.04).times
    waits = [after - before for before, after in itertools.pairwise(times)]
    expect(len(waits) == 4, f"{len(times)} attempts instead of 5")
    floors = [0.04 * 2**n for n in range(4)]
    for wait, floor in zip(waits, floors, strict=True):
        expect(
            abs(wait - floor) < 2 * STEP_SECONDS,
            f"waited {wait * 1000:.0f} ms where {floor * 1000:.0f} ms were due",
        )
    expect(Backoff().ceiling(50) == Backoff().cap, "the delay is not capped")
    return "waited " + ", ".join(f"{wait * 1000:.0f}" for wait in waits) + " ms between attempts"


# --- Performance ------------------------------------------------------------------------


def _performance(target: Target) -> str:
    connects: list[float] = []
    reconnects: list[float] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Connected):
            (reconnects if event.reconnect else connects).append(event.attempt_seconds * 1000)

    for _ in range(ROUNDS):
        # Each shell lives on for a moment, and a client may be cut only once in it: two quick
        # cuts more would be what the server takes for a reconnection loop.
        terminal = target.terminal(on_event=on_event)
        terminal.open(target.patience)
        compute(terminal, "1 + 1")
        terminal.cut()
        terminal.open(target.patience)
        compute(terminal, "1 + 1")
        terminal.close(kill=True)
    connect, reconnect = statistics.median(connects), statistics.median(reconnects)
    memory = worker_memory(target)
    expect(connect < LATENCY_MS, f"connecting took {connect:.1f} ms in the median")
    expect(reconnect < LATENCY_MS, f"reconnecting took {reconnect:.1f} ms in the median")
    expect(0 < memory < MEMORY_BYTES, f"a worker uses {memory / 1e6:.1f} MB")
    return f"connect {connect:.1f} ms, reconnect {reconnect:.1f} ms (medians), worker {memory / 1e6:.1f} MB"


def worker_memory(target: Target) -> int:
    """Bytes of the largest worker that people are led to, as its session manager tells; 0 where none reports
    any.

    A generation that has been left, and is there for whoever is still in it, is not what is checked.
    """
    status, body = target.http("/api/status", token=target.token)
    expect(status == 200 and isinstance(body, dict), f"/api/status answered {status}")
    return max((int(entry["memory_bytes"]) for entry in body["generations"] if entry["weight"]), default=0)


# --- Integration ------------------------------------------------------------------------


def _concurrent(target: Target) -> str:
    with contextlib.ExitStack() as stack:
        terminals = [stack.enter_context(opened(target)) for _ in range(5)]
        for index, terminal in enumerate(terminals):
            terminal.send(f"mine={index}\n".encode())
        for index, terminal in enumerate(terminals):
            seen = compute(terminal, "mine * 10")
            expect(seen == index * 10, f"session {index} answered {seen}")
        expect(len({terminal.session for terminal in terminals}) == 5, "sessions share an id")
    return "5 sessions side by side, each with its own state"


def _legacy_session(target: Target) -> str:
    legacy = str(uuid.uuid4())
    with opened(target, legacy) as first:
        first.send(b"kept=41\n")
        expect(compute(first, "kept") == 41, "the shell lost a variable")
        first.close()
        with opened(target, legacy) as second:
            expect(second.session == first.session, f"{legacy} led to {second.session} the second time")
            expect(compute(second, "kept + 1") == 42, "the session was not the same")
    return f"{legacy} led to the same live shell twice"


def _recovery(target: Target) -> str:
    failing = _Failing(target, threshold=3, base=0.01)
    terminal, clock = failing.terminal, failing.clock
    expect(terminal.breaker.state is BreakerState.OPEN, "the breaker did not open")
    opened_at = clock()
    terminal.url = target.terminals["system"]
    failing.wait(COOLDOWN_SECONDS - 0.01)
    expect(not terminal.connected, "the trial came before the cooldown had passed")
    clock.flow()
    terminal.open(target.patience)
    try:
        expect(compute(terminal, "6 * 7") == 42, "the shell does not work")
    finally:
        terminal.close(kill=True)
    return f"half-open after {clock() - opened_at:.2f} s, one trial, connected"


# --- Session Reuse ----------------------------------------------------------------------


def _reuse(target: Target) -> str:
    with opened(target) as terminal:
        first = terminal.attached
        terminal.send(b"kept=41\n")
        expect(compute(terminal, "kept") == 41, "the shell lost a variable")
        received = terminal.received
        terminal.cut()
        second = terminal.open(target.patience)
        expect(second.status == "resumed", f"acknowledged as {second.status}, not as resumed")
        expect(first and second.session == first.session, "another session was attached")
        expect(
            re.fullmatch(r"\d+", str(second.output)) and second.output == received,
            f"resumed from byte {second.output} instead of {received}",
        )
        expect(compute(terminal, "kept + 1") == 42, "the session was not the same")
    return f"acknowledged as resumed, from byte {received}"


_IDS = "Session ID Validation"
CHECKS = (
    Check(_IDS, "New format validation", _new_format),
    Check(_IDS, "New format generation", _generated),
    Check(_IDS, "Legacy format migration (UUID)", _legacy_uuid),
    Check(_IDS, "Legacy format migration (hyphens)", _legacy_hyphen),
    Check(_IDS, "Legacy format migration (terminal_)", _legacy_terminal),
    Check(_IDS, "Null handling", _null),
    Check(_IDS, "Undefined handling", _undefined),
    Check(_IDS, "Invalid format rejection", _garbage),
    Check("Circuit Breaker", "Trigger detection", _trigger),
    Check("Circuit Breaker", "Exponential backoff", _exponential),
    Check("Performance", "Connection, reconnection and memory", _performance),
    Check("Integration", "Multiple concurrent sessions", _concurrent),
    Check("Integration", "Legacy session migration", _legacy_session),
    Check("Integration", "Circuit breaker recovery", _recovery),
    Check("Session Reuse", "Session reuse", _reuse),
)
