"""What a shell must have printed, checked byte by byte. No I/O.

The shell of a load test prints two interleaved sequences, line by line:

* ``c1``, ``c2``, ... by a background loop, whether anybody looks or not;
* ``<k:n>`` for command ``k``, where ``n`` counts the commands that the shell has run.

Every line is determined by its predecessors. So a byte that is missing or comes twice, and
a command that did not run or ran twice, shows in the text itself: the verification relies
on nothing that the client believes about sequence numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PLAIN_SHELL = b"PS1=@pro''mpt@ exec bash --norc --noprofile --noediting\n"
"""Typed first: a shell without a line editor, whose prompt and escape sequences would be in the way."""

PROMPT = rb"@prompt@"

SETUP = (
    b"PS1=; PS2=; PROMPT_COMMAND=; set +m; stty -echo -onlcr; n=0; "
    b'r() { n=$((n+1)); echo "<$1:$n>"; }; '
    # `read -t` on a pipe that never speaks waits without starting a process.
    b"exec 9<> <(:); "
    b"echo; echo @re''ady:$$@; "
    # Put into the background from a subshell, so that the shell does not report a job.
    b'( ( i=0; while :; do i=$((i+1)); echo "c$i"; read -t 0.2 -u 9; done ) & )\n'
)
"""Typed at the prompt. Afterwards the shell prints ``@ready:<pid>@`` and the two sequences only."""

READY = rb"@ready:(\d+)@\n"
_LINE = re.compile(rb"c(?P<tick>[1-9]\d*)|<(?P<command>[1-9]\d*):(?P<runs>[1-9]\d*)>")


@dataclass(slots=True)
class Findings:
    """What was verified and what was wrong with it. Sizes in bytes."""

    verified: int = 0
    lost: int = 0
    doubled: int = 0
    twice: int = 0
    """Commands that ran more than once."""

    def minus(self, earlier: Findings) -> Findings:
        """What has come since ``earlier``."""
        return Findings(
            self.verified - earlier.verified,
            self.lost - earlier.lost,
            self.doubled - earlier.doubled,
            self.twice - earlier.twice,
        )

    def plus(self, other: Findings) -> Findings:
        """Both together."""
        return Findings(
            self.verified + other.verified,
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.twice + other.twice,
        )

    def copy(self) -> Findings:
        """A snapshot."""
        return Findings(self.verified, self.lost, self.doubled, self.twice)


class Verifier:
    """Reads the output of one shell, from just after ``READY``."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.answered = 0
        """Number of the last command whose answer has come."""
        self.ticks = 0
        self._runs = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[int]:
        """Take more output; returns the numbers of the commands it answers."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        answers = []
        for line in lines:
            size = len(line) + 1
            match = _LINE.fullmatch(line)
            if match is None:
                # Pieces of lines: what ought to stand here is missing or mixed up.
                self.findings.lost += size
            elif match["tick"]:
                self._tick(int(match["tick"]), size)
            else:
                answers += self._answer(int(match["command"]), int(match["runs"]), size)
        return answers

    def missing(self, sent: int) -> None:
        """The shell was given time and commands up to ``sent`` were not all answered: count them lost."""
        for command in range(self.answered + 1, sent + 1):
            self.findings.lost += len(f"<{command}:{command}>\n")

    def _tick(self, tick: int, size: int) -> None:
        if tick <= self.ticks:
            self.findings.doubled += size
            return
        self.findings.lost += sum(len(f"c{n}\n") for n in range(self.ticks + 1, tick))
        self.findings.verified += size
        self.ticks = tick

    def _answer(self, command: int, runs: int, size: int) -> list[int]:
        if runs <= self._runs:
            self.findings.doubled += size
            return []
        if command <= self.answered:
            self.findings.twice += 1
            self._runs = runs
            return []
        for missed in range(self.answered + 1, command):
            self.findings.lost += len(f"<{missed}:{missed}>\n")
        # Runs beyond the commands in between are runs of a command that had run already.
        self.findings.twice += max(0, (runs - self._runs) - (command - self.answered))
        self.findings.verified += size
        self.answered, self._runs = command, runs
        return [command]
