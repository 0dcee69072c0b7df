"""One check of a profile, through the front door as a user: connect, work, lose the connection, come back."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from terminals.client import ClientError, Event, Terminal
from terminals.monitor.config import Door
from terminals.protocol.backoff import Backoff
from terminals.protocol.client import Connected, Failed, Lost
from terminals.protocol.ids import new_session_id

SLICE = 0.2
"""Seconds after which a check that waits looks whether it is to stop."""


class CheckFailed(Exception):
    """What was wrong, in one line."""


class Stopped(Exception):
    """The monitor is to end."""


def mark_of(host: str, directory: Path) -> str:
    """What the ids of the sessions of one monitor have in common, and those of nobody else: by it they are
    told from people's, and found again when a monitor was killed."""
    return f"monitor{hashlib.sha256(f'{host}:{directory}'.encode()).hexdigest()[:8]}"


class Check:
    """One run of a check; :attr:`outcome` is what its record says, complete once :meth:`run` has returned."""

    def __init__(
        self,
        door: Door,
        token: str,
        *,
        mark: str,
        timeout: float,
        settle: float,
        ca: str | None = None,
        stop: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door = door
        self._timeout = timeout
        self._settle = settle
        self._stop = stop
        self._clock = clock
        self._reason = ""
        self._attach_seconds = 0.0
        self._terminal = Terminal(
            door.url,
            token=token,
            program="monitor",
            ca=ca,
            session=new_session_id(token=lambda: mark + secrets.token_hex(8)).value,
            # A cut on purpose is nobody's overload: no waiting before the first attempt.
            backoff=Backoff(base=0.001, cap=1.0),
            stable_after=min(settle, 2.0),
            connect_timeout=timeout,
            on_event=self._happened,
        )
        self.outcome = failed(door.profile, "")

    def run(self) -> None:
        """Check. The session is ended whatever comes of it, as far as the service can be reached.

        Raises:
            Stopped: the monitor is to end.
        """
        try:
            self._run()
            self.outcome["ok"] = True
        except (ClientError, CheckFailed, BufferError) as error:
            self.outcome["error"] = " ".join(str(error).split())[:300]
        except Stopped:
            raise
        except Exception as error:  # a check that breaks has not passed
            self.outcome["error"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        finally:
            self._terminal.close(kill=True)

    def _run(self) -> None:
        terminal, outcome = self._terminal, self.outcome
        started = self._clock()
        attached = self._open()
        outcome["generation"], outcome["build"] = attached.generation, attached.build
        outcome["attach_ms"] = _ms(self._attach_seconds)
        outcome["connect_ms"] = _ms(self._clock() - started - self._attach_seconds)
        outcome["acknowledged"] = attached.status == "created"
        _expect(outcome["acknowledged"], f"a new session was acknowledged as {attached.status}")
        _expect(attached.profile == self._door.profile, f"profile {attached.profile} answered")
        name, number = f"kept_{secrets.token_hex(4)}", secrets.randbelow(10**6)
        if self._door.shell:
            begun = self._clock()
            # Nothing of it is to be in anybody's history.
            answer = self._compute(f"unset HISTFILE; {name}={number}", f"{name} * 7")
            outcome["command_ms"] = _ms(self._clock() - begun)
            _expect(answer == number * 7, f"the shell computed {answer}, not {number * 7}")
        else:
            self._until(terminal.read, "nothing was printed, neither by the program nor why it is missing")
        self._stay(self._settle)
        terminal.cut()
        begun = self._clock()
        back = self._open()
        outcome["reconnect_ms"] = _ms(self._clock() - begun)
        _expect(back.status == "resumed", f"the session was acknowledged as {back.status} after a cut")
        _expect(
            (back.session, back.epoch) == (attached.session, attached.epoch),
            "another session answered after a cut",
        )
        _expect(not back.skipped, f"{back.skipped} bytes of output were lost by a cut")
        if self._door.shell:
            answer = self._compute(":", f"{name} * 11")
            _expect(answer == number * 11, "another shell answered after a cut: the variable was lost")
        outcome["resumed"] = True

    def _open(self) -> Any:
        end = self._clock() + self._timeout
        while not self._terminal.connected:
            if (left := end - self._clock()) <= 0:
                raise CheckFailed(f"not attached within {self._timeout:g} s: {self._reason or 'no answer'}")
            self._pump(left)
        return self._terminal.attached

    def _compute(self, before: str, expression: str) -> int:
        """Have the shell compute; neither an echo nor an earlier answer, replayed, can pass for this one."""
        mark = secrets.token_hex(4)
        self._terminal.send(f" {before}; echo {mark}''[$(({expression}))]\n".encode())
        begin, seen = mark.encode() + b"[", bytearray()

        def answered() -> bytes:
            seen.extend(self._terminal.read())
            at = seen.find(begin)
            return bytes(seen[at + len(begin) : end]) if at >= 0 and (end := seen.find(b"]", at)) > 0 else b""

        answer = self._until(answered, "the shell did not answer")
        try:
            return int(answer)
        except ValueError:
            raise CheckFailed(f"the shell answered {answer[:40]!r}") from None

    def _until(self, found: Callable[[], bytes], what: str) -> bytes:
        end = self._clock() + self._timeout
        while not (data := found()):
            left = end - self._clock()
            if left <= 0 or self._terminal.exit_status is not None:
                ended = "" if left <= 0 else f": it ended with status {self._terminal.exit_status}"
                raise CheckFailed(f"{what} within {self._timeout:g} s{ended}")
            self._pump(left)
        return data

    def _stay(self, seconds: float) -> None:
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            self._pump(left)

    def _pump(self, left: float) -> None:
        if self._stop():
            raise Stopped
        self._terminal.pump(min(left, SLICE))

    def _happened(self, event: Event) -> None:
        match event:
            case Connected():
                self._attach_seconds = event.attach_seconds
            case Lost(reason=reason) | Failed(reason=reason):
                self._reason = reason


def failed(profile: str, error: str, generation: str | None = None) -> dict[str, Any]:
    """What the record says of a check that got nowhere. ``generation``: by whom it was served."""
    return {
        "profile": profile,
        "ok": False,
        "generation": generation,
        "build": None,
        "connect_ms": None,
        "attach_ms": None,
        "command_ms": None,
        "reconnect_ms": None,
        "acknowledged": False,
        "resumed": False,
        "error": error,
    }


def _expect(condition: object, text: str) -> None:
    if not condition:
        raise CheckFailed(text)


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
