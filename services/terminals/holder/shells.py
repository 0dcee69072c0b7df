"""Starting a shell on a new terminal, with nothing of this process in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USUAL_FILES = 1024
"""Soft limit of open files in shells, whatever the services have: what select(2) can take."""
OOM_SCORE_ADJ = 500
"""Of shells and what they start: short of memory, the kernel takes one of these, never everybody's terminals.
In thousandths of the memory there is, see proc_pid_oom_score_adj(5)."""
_FULL = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENXIO}
"""The machine has no more processes or terminals; anything else is the program's own affair."""
_SCORE = Path("/proc/self/oom_score_adj")
_DEFAULTS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
"""All: one that is ignored, as what a shell starts with & ignores SIGQUIT, stays ignored across exec."""


def start_shell(plan: dict[str, Any], cols: int, rows: int) -> tuple[int, int]:
    """Start a program as leader of a session of its own on a new terminal.

    ``plan`` has ``command``, ``env``, ``cwd``, ``failure`` (what to print when the program cannot be
    run) and, to run it as somebody else, ``uid``, ``gid`` and ``groups``. Returns its pid, 0 where it cannot
    be run, and the master of its terminal.

    Raises:
        OSError: no more processes or terminals.
    """
    master, slave = os.openpty()
    try:
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        with _as_shells_are():
            try:
                start = _start if plan["uid"] is None else _start_as
                return start(plan, os.ttyname(slave), slave), master
            except OSError as error:
                if error.errno in _FULL:
                    raise
                text = f"{plan['command'][0]}: {error.strerror}\n{plan['failure']}"
                os.write(slave, text.encode())
                return 0, master
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)


def _start(plan: dict[str, Any], terminal: str, slave: int) -> int:
    """No Python runs in the child: it is the program from its first instruction on."""
    try:
        _enter(plan["cwd"], slave)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0),  # of a session without one: it takes control
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ]
        return os.posix_spawn(
            _program(plan),
            plan["command"],
            plan["env"],
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )
    finally:
        os.chdir("/")


def _start_as(plan: dict[str, Any], terminal: str, slave: int) -> int:
    """As another account: a child drops to it before it enters a folder or looks for a program."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        master = os.open(terminal, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(master, stream)
        for number in _DEFAULTS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.fchown(0, plan["uid"], -1)  # or nobody but root could open /dev/tty's device
        os.setgroups(plan["groups"])
        os.setgid(plan["gid"])
        os.setuid(plan["uid"])
        _enter(plan["cwd"], 2)
        os.execve(_program(plan), plan["command"], plan["env"])  # noqa: S606 - running programs is the point
    except OSError as error:
        os.write(2, f"{plan['command'][0]}: {error.strerror}\n{plan['failure']}".encode())
    finally:
        os._exit(127)


def _enter(folder: str, terminal: int) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        os.write(terminal, f"{folder}: {error.strerror}; starting in /\n".encode())
        os.chdir("/")


def _program(plan: dict[str, Any]) -> str:
    """The file to run, found on the program's own PATH, as a shell does.

    Raises:
        OSError: there is none.
    """
    name = str(plan["command"][0])
    if "/" in name:
        return name
    for folder in str(plan["env"].get("PATH", os.defpath)).split(":"):
        file = Path(folder or ".") / name
        if os.access(file, os.X_OK) and not file.is_dir():
            return str(file)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


@contextlib.contextmanager
def _as_shells_are() -> Iterator[None]:
    """What a child inherits at its birth, so that nothing of it has to be set in the child."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    score = _read_score()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_FILES, limits[1]), limits[1]))
        if score is not None and score < OOM_SCORE_ADJ:
            _write_score(OOM_SCORE_ADJ)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        if score is not None and score < OOM_SCORE_ADJ:
            _write_score(score)


def _read_score() -> int | None:
    try:
        return int(_SCORE.read_bytes())
    except OSError:  # no /proc here: the shell matters more
        return None


def _write_score(value: int) -> None:
    with contextlib.suppress(OSError):
        _SCORE.write_bytes(b"%d" % value)
