"""Running commands on a host with nothing in between: over SSH, or on this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rollout.build.hosts import NOT_FOUND, Answer
from rollout.errors import EngineError, RolloutError

RUN_SECONDS = 30.0
T = TypeVar("T")


class Reach(Protocol):
    """A way to a host."""

    def run(self, words: Sequence[str], *, timeout: float = RUN_SECONDS) -> Answer:
        """Run a command to its end.

        Raises:
            EngineError: the host cannot be reached, or nothing came back within ``timeout`` seconds.
        """

    def follow(self, words: Sequence[str], on_line: Callable[[str], None], *, hang_up: bool = False) -> int:
        """Run a command and pass on each line of what it prints, on either stream; returns its status.

        With ``hang_up`` the command ends on the host, too, when the connection does.

        Raises:
            EngineError: the host cannot be reached any more.
        """

    def close(self) -> None:
        """End the connection, and with it what is being followed."""


class SshReach:
    """A host by the name that ``ssh`` knows it by. Connects when it is first used."""

    def __init__(self, name: str, ssh_config: Path | None) -> None:
        self._name = name
        self._ssh_config = ssh_config
        self._connection: Any = None

    def run(self, words: Sequence[str], *, timeout: float = RUN_SECONDS) -> Answer:
        """See :class:`Reach`."""
        done = self._run(words, hide=True, timeout=timeout)
        return Answer(done.exited, done.stdout, done.stderr)

    def follow(self, words: Sequence[str], on_line: Callable[[str], None], *, hang_up: bool = False) -> int:
        """See :class:`Reach`."""
        out, err = _Lines(on_line), _Lines(on_line)
        done = self._run(words, out_stream=out, err_stream=err, pty=hang_up)
        for stream in (out, err):
            stream.end()
        return int(done.exited)

    def close(self) -> None:
        """See :class:`Reach`."""
        connection, self._connection = self._connection, None
        while connection is not None and not isinstance(connection, str):
            connection.close()
            connection = connection.gateway or None

    def _run(self, words: Sequence[str], **options: Any) -> Any:
        import invoke
        import paramiko

        from rollout.direct.connections import connect

        if self._connection is None:
            self._connection = connect(self._name, self._ssh_config)
        try:
            done = self._connection.run(shlex.join(words), warn=True, in_stream=False, **options)
        except invoke.exceptions.CommandTimedOut as error:
            raise EngineError(f"{self._name}: {words[0]}: no answer within {error.timeout:g} s") from None
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise EngineError(f"{self._name}: the connection was lost: {error or 'closed'}") from None
        if done.exited < 0:
            raise EngineError(f"{self._name}: the connection was lost while {words[0]} ran")
        return done


class LocalReach:
    """This machine."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[str]] = []

    def run(self, words: Sequence[str], *, timeout: float = RUN_SECONDS) -> Answer:
        """See :class:`Reach`."""
        try:
            done = subprocess.run(
                list(words),
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=timeout,
            )
        except FileNotFoundError:
            return Answer(NOT_FOUND, "", f"{words[0]}: not found")
        except subprocess.TimeoutExpired:
            raise EngineError(f"{words[0]}: no answer within {timeout:g} s") from None
        return Answer(done.returncode, done.stdout, done.stderr)

    def follow(self, words: Sequence[str], on_line: Callable[[str], None], *, hang_up: bool = False) -> int:
        """See :class:`Reach`."""
        try:
            process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError:
            on_line(f"{words[0]}: not found")
            return NOT_FOUND
        self._running.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        return process.wait()

    def close(self) -> None:
        """See :class:`Reach`."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)


class _Lines:
    """A stream for Fabric to write to, cut into lines."""

    encoding = "utf-8"

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = ""

    def write(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._on_line(line.rstrip("\r"))

    def flush(self) -> None:
        """There is nothing to flush: a line is passed on when it is whole."""

    def end(self) -> None:
        if self._rest:
            self._on_line(self._rest)
            self._rest = ""


def on_each(names: Iterable[str], act: Callable[[str], T]) -> dict[str, T | RolloutError]:
    """Do the same for hosts at the same time. What one of them raises is its result, and ends no other."""

    def guarded(name: str) -> T | RolloutError:
        try:
            return act(name)
        except RolloutError as error:
            return error

    chosen = list(names)
    pool = ThreadPoolExecutor(max(1, len(chosen)))
    try:
        return dict(zip(chosen, pool.map(guarded, chosen), strict=True))
    finally:
        pool.shutdown(wait=False)  # interrupted, it is for the caller to close what they wait for


class Printer:
    """Prints lines of several hosts, each whole and with its name before it."""

    def __init__(self, names: Sequence[str], write: Callable[[str], None]) -> None:
        self._width = max((len(name) for name in names), default=0)
        self._write = write
        self._lock = threading.Lock()

    def line(self, name: str, text: str) -> None:
        """Print one line of one host."""
        with self._lock:
            self._write(f"{name:<{self._width}}  {text}")
