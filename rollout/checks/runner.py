"""What a check is, and running a suite of them."""

from __future__ import annotations

import json
import secrets
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from terminals.client import Terminal

HTTP_SECONDS = 10.0


class CheckFailed(Exception):
    """The check found something wrong; the text says what, with the figures."""


@dataclass(frozen=True, slots=True)
class Target:
    """The front door of one host of an environment. ``terminals`` maps profiles to WebSocket URLs.

    ``ca`` is a file of certificates to trust in place of the system's.
    """

    environment: str
    host: str
    terminals: dict[str, str]
    web: str
    token: str
    ca: str | None = None
    patience: float = 10.0
    """Seconds within which a terminal has to be attached."""

    def terminal(self, profile: str = "system", **options: Any) -> Terminal:
        """A terminal client, not yet open."""
        return Terminal(self.terminals[profile], token=self.token, program="checks", ca=self.ca, **options)

    def http(self, path: str, *, token: str | None = None, method: str = "GET") -> tuple[int, Any]:
        """Ask the web service; returns the status and the JSON body (``None`` when it has none).

        Raises:
            CheckFailed: the web service is not reachable.
        """
        request = urllib.request.Request(self.web.rstrip("/") + path, method=method)  # noqa: S310
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            secure = self.web.startswith("https:")
            context = ssl.create_default_context(cafile=self.ca) if secure else None
            with urllib.request.urlopen(  # noqa: S310
                request, timeout=HTTP_SECONDS, context=context
            ) as response:
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            return error.code, _json(error.read())
        except OSError as error:
            raise CheckFailed(f"{self.web}{path}: {error}") from None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Outcome of one check. ``started`` in Unix seconds; ``detail`` is one line, with figures."""

    suite: str
    group: str
    name: str
    ok: bool
    started: float
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class Check:
    """A named check. ``run`` returns one line of what it saw, or raises."""

    group: str
    name: str
    run: Callable[[Target], str]


def run_suite(
    suite: str,
    checks: Sequence[Check],
    target: Target,
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Run every check; one that fails, or breaks, does not keep the others from running."""
    results = []
    for check in checks:
        started, clock = time.time(), time.monotonic()
        try:
            ok, detail = True, check.run(target)
        except CheckFailed as error:
            ok, detail = False, str(error)
        except Exception as error:  # a check that breaks has not passed
            ok, detail = False, f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - clock
        result = CheckResult(suite, check.group, check.name, ok, started, seconds, " ".join(detail.split()))
        results.append(result)
        on_result(result)
    return results


def check_everywhere(
    suite: Callable[[Target, Callable[[CheckResult], None]], list[CheckResult]],
    targets: Sequence[Target],
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Run a suite against each target. Where there are several, the detail of a result has its host first."""
    results = []
    for target in targets:
        of_host = suite(target, on_result)
        if len(targets) > 1:
            of_host = [replace(result, detail=f"{target.host}: {result.detail}") for result in of_host]
        results += of_host
    return results


def expect(condition: object, text: str) -> None:
    """Fail the check with ``text`` unless ``condition`` holds.

    Raises:
        CheckFailed: it does not hold.
    """
    if not condition:
        raise CheckFailed(text)


def compute(terminal: Terminal, expression: str, timeout: float = 15.0) -> int:
    """Have the shell compute ``expression``.

    Neither the echo of what is typed nor an earlier answer, replayed, can pass for this one.
    """
    mark = secrets.token_hex(4)
    terminal.send(f"echo {mark}''[$(({expression}))]\n".encode())
    return int(terminal.expect(mark.encode() + rb"\[-?\d+\]", timeout).rpartition(b"[")[2][:-1])


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
