"""The smoke test: 8 checks of an environment's front door.

The summary of the deployment that this project began with names seven of its eight checks; the
eighth here is *API authentication*, the other half of the health check that it failed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from rollout.checks.runner import Check, CheckResult, Target, compute, expect, run_suite
from rollout.checks.validate import LATENCY_MS, opened, worker_memory

SUITE = "smoke"
CONNECTS = 5
"""One connection that had to wait, on a host that does other things too, says nothing of a build; most do."""


def smoke(
    target: Target, on_result: Callable[[CheckResult], None] = lambda result: None
) -> list[CheckResult]:
    """Run the 8 smoke checks against ``target``."""
    return run_suite(SUITE, CHECKS, target, on_result)


def _system(target: Target) -> str:
    with opened(target) as terminal:
        attached = terminal.attached
        expect(attached and attached.profile == "system", "another profile answered")
        return f"{target.terminals['system']}: {attached.status if attached else ''}"


def _claude(target: Target) -> str:
    terminal = target.terminal("claude")
    attached = terminal.open(target.patience)
    try:
        expect(attached.profile == "claude", "another profile answered")
        text = terminal.read(10.0)
        expect(text, "nothing was printed within 10 s: neither the assistant nor why it is missing")
        return f"{target.terminals['claude']}: {attached.status}, {len(text)} bytes of output"
    finally:
        terminal.close(kill=True)


def _command(target: Target) -> str:
    with opened(target) as terminal:
        answer = compute(terminal, "12345 * 6789")
        expect(answer == 12345 * 6789, f"the shell computed {answer}")
    return "12345 * 6789 computed by the shell"


def _persistence(target: Target) -> str:
    with opened(target) as terminal:
        terminal.send(b"kept=7\n")
        expect(compute(terminal, "kept") == 7, "the shell lost a variable")
        terminal.cut()
        expect(compute(terminal, "kept * 6") == 42, "the session did not survive the cut")
        expect(terminal.stats.reconnects == 1, f"{terminal.stats.reconnects} reconnections for one cut")
    return "a variable survived a cut connection"


def _performance(target: Target) -> str:
    times = []
    for _ in range(CONNECTS):
        started = time.monotonic()
        with opened(target):
            times.append(time.monotonic() - started)
    seconds = statistics.median(times)
    memory = worker_memory(target)
    expect(memory > 0, "no worker reports its memory")
    expect(seconds * 1000 < LATENCY_MS * 5, f"connecting took {seconds * 1000:.0f} ms in the median")
    return f"connected in {seconds * 1000:.1f} ms in the median; worker {memory / 1e6:.1f} MB"


def _health(target: Target) -> str:
    for path in ("/health/live", "/health/ready"):
        status, body = target.http(path)
        expect(status == 200, f"{path} answered {status} without a token")
        expect(body == {"status": "ok"}, f"{path} says more than its status: {body}")
    return "live and ready answer without a token and say nothing else"


def _breaker(target: Target) -> str:
    status, body = target.http("/api/sessions", token=target.token)
    expect(status == 200, f"/api/sessions answered {status}")
    with opened(target) as terminal:
        status, body = target.http("/api/sessions?programs=1", token=target.token)
        mine = [entry for entry in body["sessions"] if entry["id"] == terminal.session]
        expect(len(mine) == 1, "the session is not listed")
        expect(mine[0]["breaker"] == "closed", f"the breaker of a fresh session is {mine[0]['breaker']}")
        expect(terminal.breaker.threshold == 3, f"the threshold is {terminal.breaker.threshold}, not 3")
    return "closed for a fresh session, threshold 3"


def _authentication(target: Target) -> str:
    for path in ("/api/status", "/api/sessions", "/api/info", "/api/no-such-path"):
        for token in (None, "wrong"):
            status, _ = target.http(path, token=token)
            expect(status == 401, f"{path} answered {status} with {token or 'no'} token")
    status, _ = target.http("/api/info", token=target.token)
    expect(status == 200, f"/api/info answered {status} with the token")
    return "every other API path answers 401 without the token, and the token is accepted"


CHECKS = (
    Check("Terminals", "System Terminal WebSocket", _system),
    Check("Terminals", "Claude Terminal WebSocket", _claude),
    Check("Terminals", "Command execution", _command),
    Check("Terminals", "Session persistence", _persistence),
    Check("Service", "Performance metrics", _performance),
    Check("Service", "API health", _health),
    Check("Service", "Circuit breaker", _breaker),
    Check("Service", "API authentication", _authentication),
)
