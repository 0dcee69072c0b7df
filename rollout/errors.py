"""Everything that can end a command, and the exit code each end has.

One small tree: whoever raises says what happened, where, and the way out, in one line; the command line turns
the error into that line on stderr and its :attr:`~RolloutError.exit_code`. ``docs/reference/exit-codes.md``
and ``rollout --help`` list the same codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every ``rollout`` command."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    GATE_FAILED = 3
    GATE_INCONCLUSIVE = 4
    LOCKED = 5
    ROLLBACK_FAILED = 6
    REFUSED = 7
    ENGINE = 8
    CHECKS_FAILED = 9
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What the code tells the caller, in one phrase."""
        return _MEANINGS[self]


_MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.INTERNAL: "internal error; a rollout that met it is taken back",
    ExitCode.USAGE: "usage or bad configuration",
    ExitCode.GATE_FAILED: "a gate failed; rolled back",
    ExitCode.GATE_INCONCLUSIVE: "evidence inconclusive or in error; rolled back",
    ExitCode.LOCKED: "the environment is held by another rollout",
    ExitCode.ROLLBACK_FAILED: "the rollback itself failed; look at the hosts",
    ExitCode.REFUSED: "refused: a condition is not met, nothing touched",
    ExitCode.ENGINE: "a host or the engine failed",
    ExitCode.CHECKS_FAILED: "checks failed (validate, smoke, infra, loadtest, doctor, ledger)",
    ExitCode.INTERRUPTED: "interrupted",
}


class RolloutError(Exception):
    """An end of a command that its user can understand: one line, and an exit code.

    The message says what happened, where, and what to do about it. Line breaks in it (a host's output, say)
    are folded into spaces, so that it stays one line wherever it is shown.

    ``more``: reasons beside it. ``ways``: what can be done about all of them, a line each.
    """

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, more: Sequence[str] = (), ways: Sequence[str] = ()) -> None:
        super().__init__(" ".join(message.split()))
        self._more = tuple(" ".join(each.split()) for each in more)
        self._ways = tuple(ways)

    @property
    def message(self) -> str:
        """The one line."""
        return "; ".join([str(self.args[0]), *self._more])

    def __str__(self) -> str:
        return self.message

    def lines(self) -> list[str]:
        """The same for whoever reads it at the end of a command: a reason a line, then the ways out."""
        reasons = [str(self.args[0]), *self._more]
        if len(reasons) > 1:
            reasons = [f"not done, for {len(reasons)} reasons:", *(f"  - {reason}" for reason in reasons)]
        return [*reasons, *(["ways out:"] if self._ways else []), *(f"  {way}" for way in self._ways)]


class ConfigError(RolloutError):
    """``rollout.yaml`` or the command's arguments are wrong; nothing was touched."""

    exit_code = ExitCode.USAGE


class GateFailed(RolloutError):
    """A gate failed; the environment is back on its previous build."""

    exit_code = ExitCode.GATE_FAILED


class GateInconclusive(RolloutError):
    """Evidence was missing, too little or in error; the environment is back on its previous build."""

    exit_code = ExitCode.GATE_INCONCLUSIVE


class Locked(RolloutError):
    """Another rollout holds the environment's lease."""

    exit_code = ExitCode.LOCKED


class RollbackFailed(RolloutError):
    """Going back failed: the one end that needs a person at the hosts."""

    exit_code = ExitCode.ROLLBACK_FAILED


class Refused(RolloutError):
    """A condition of the step is not met; nothing was touched."""

    exit_code = ExitCode.REFUSED


class GlassBroken(Refused):
    """Hosts were led back without the ledger; nothing goes on before it has been told."""


class EngineError(RolloutError):
    """A host, a playbook or a build tool failed."""

    exit_code = ExitCode.ENGINE


class LeaseLost(EngineError):
    """Somebody else may be at work on the environment: nothing more is done, and nothing is undone."""


class LeaseNotRenewed(LeaseLost):
    """The ledger could not be written for longer than a lease lasts; nobody is known to have taken it.

    ``why``: what the database says.
    """

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class Unexpected(RolloutError):
    """Something happened that nobody had thought of; where a build was on trial, it was taken back."""

    exit_code = ExitCode.INTERNAL


class ChecksFailed(RolloutError):
    """Checks that were run alone (validate, smoke, infra, loadtest, doctor, ledger) did not all pass."""

    exit_code = ExitCode.CHECKS_FAILED


class Interrupted(RolloutError):
    """The operator stopped the command; the message says what state was left and how to go on."""

    exit_code = ExitCode.INTERRUPTED


def why_unread(error: OSError | ValueError) -> str:
    """Why a file of text could not be read, in a few words."""
    return error.strerror or str(error) if isinstance(error, OSError) else "it is no text"
