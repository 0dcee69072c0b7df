"""Running commands on the host of an engine: on this machine, or over SSH."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

NOT_FOUND = 127
"""Exit status of a shell that finds no such program."""
TIMED_OUT = 124
"""As of ``timeout``."""
UNREACHABLE = 255
"""Exit status of ssh itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended: its exit status, negative for a signal, and what it printed."""

    status: int
    output: str
    errors: str

    @property
    def reason(self) -> str:
        """Why it failed, by its own words, on one line."""
        return " ".join(self.errors.split()) or " ".join(self.output.split()) or "it said nothing"


class Host(Protocol):
    """Where commands run."""

    name: str

    def run(self, command: Sequence[str], stdin: Iterable[bytes] = ()) -> Answer:
        """Run a command, feeding it ``stdin`` as fast as it reads.

        A command that ends early ends the feeding. What ``stdin`` raises ends the command.
        """


class LocalHost:
    """This machine. ``before`` are words to put before each command, as of ``sudo`` or ``env``."""

    def __init__(
        self, name: str = "localhost", *, before: Sequence[str] = (), limit: float | None = None
    ) -> None:
        """``limit``: seconds after which a command is given up, with status ``TIMED_OUT``."""
        self.name = name
        self._before = tuple(before)
        self._limit = limit

    def run(self, command: Sequence[str], stdin: Iterable[bytes] = ()) -> Answer:
        """See :class:`Host`."""
        # Files, not pipes: nobody has to read them while we write.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            words = self._words(command)
            try:
                process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=output, stderr=errors)
            except FileNotFoundError:
                return Answer(NOT_FOUND, "", f"{words[0]}: not found")
            assert process.stdin is not None
            try:
                with contextlib.suppress(BrokenPipeError):
                    for block in stdin:
                        process.stdin.write(block)
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.wait(self._limit)
            except subprocess.TimeoutExpired:
                return Answer(TIMED_OUT, "", f"{self.name} has not answered within {self._limit:g} s")
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            output.seek(0)
            errors.seek(0)
            return Answer(
                process.returncode,
                output.read().decode(errors="replace"),
                errors.read().decode(errors="replace"),
            )

    def _words(self, command: Sequence[str]) -> list[str]:
        return [*self._before, *command]


class SshHost(LocalHost):
    """A host by the name that ``ssh`` knows it by.

    The user's own client carries the commands: ``~/.ssh/config`` with its jump hosts, the agent and
    the known host keys are as on the command line. It never asks: a host whose key is not known is
    an error.
    """

    def __init__(self, name: str, *, options: Sequence[str] = (), limit: float | None = None) -> None:
        """``options`` are more of ssh's, e.g. ``("-p", "2222")``. ``limit``: as of :class:`LocalHost`."""
        super().__init__(
            name,
            limit=limit,
            before=(
                "ssh",
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=10",
                "-o",
                "ServerAliveInterval=5",
                *options,
            ),
        )

    def _words(self, command: Sequence[str]) -> list[str]:
        return [*self._before, "--", self.name, shlex.join(command)]
