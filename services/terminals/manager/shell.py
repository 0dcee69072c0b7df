"""Starting a program on a new pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Variables of the manager's own life that must not leak into people's shells.
_PRIVATE = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "SUPERVISOR_")


@dataclass(frozen=True, slots=True)
class Shell:
    """A running program and the master side of its terminal (non-blocking)."""

    pid: int
    pidfd: int
    master: int


def spawn(command: Sequence[str], *, profile: str, session: str, cols: int, rows: int) -> Shell:
    """Start ``command`` on a new terminal, in the user's home, as leader of a new session.

    A program that is missing is said on the terminal, with what to configure, and ends with
    status 127: the person looking at the terminal is the one who needs to know.

    Raises:
        OSError: no more processes or terminals.
    """
    environment = _environment(os.environ, profile, session)
    size = struct.pack("HHHH", rows, cols, 0, 0)
    pid, master = os.forkpty()
    if pid == 0:
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            # Python ignores SIGPIPE and an ignored signal stays ignored across exec:
            # `yes | head` in the user's shell would not end.
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            try:
                os.chdir(environment["HOME"])
            except OSError:
                os.chdir("/")
            os.execvpe(command[0], list(command), environment)  # noqa: S606 - running programs is the point
        except OSError as error:
            text = (
                f"{command[0]}: {error.strerror}\r\n"
                f"This terminal has the profile '{profile}', which runs: {' '.join(command)}\r\n"
                f"Install that program on the server, or set profiles.{profile}.command to another one.\r\n"
            )
            os.write(2, text.encode())
        finally:
            os._exit(127)
    os.set_blocking(master, False)
    return Shell(pid, os.pidfd_open(pid), master)


def resize(master: int, cols: int, rows: int) -> None:
    """Set the terminal's size; the kernel tells the program by SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def _environment(inherited: Mapping[str, str], profile: str, session: str) -> dict[str, str]:
    user = pwd.getpwuid(os.getuid())
    kept = {name: value for name, value in inherited.items() if not name.startswith(_PRIVATE)}
    # The first PATH entry of a process in a virtual environment is that environment's bin.
    if venv := inherited.get("VIRTUAL_ENV"):
        kept["PATH"] = ":".join(part for part in kept.get("PATH", "").split(":") if not part.startswith(venv))
    return {
        **kept,
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": kept.get("SHELL") or user.pw_shell or "/bin/sh",
        "PATH": kept.get("PATH") or os.defpath,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "TERMINAL_SESSION": session,
        "TERMINAL_PROFILE": profile,
    }
