"""Starting a program on a new pseudo-terminal."""

from __future__ import annotations

import fcntl
import functools
import os
import pwd
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from terminals.control.framing import Record
from terminals.manager.filerules import NO_FILES, FileRules

OTHERS_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""Of another account than the services' own, whose folders are nothing to it."""
_PASSED = {"PATH", "TZ", "LANG", "LANGUAGE"}
"""What shells get of the services' environment, beside ``LC_*``. Nothing else is theirs: not the services'
settings, and nothing of the operator who has started them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a terminal of this kind runs, where, with what, and as whom."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment, and stronger than it."""
    cwd: str | None = None
    """Folder to start in; the user's home when it is not given."""
    user: str | None = None
    """Account to run as; needs a session manager that runs as root."""
    ready: int = 0
    """Sessions kept ready: with their shells at the prompt before anybody comes."""
    ring_bytes: int | None = None
    """Size of its sessions' output rings; the manager's ``ring_bytes`` when it is not given."""
    record: bool = False
    """Its sessions are recorded."""
    files: FileRules = NO_FILES


class ShellPlan(Record):
    """What the holder has to know to start the program, see :func:`terminals.holder.shells.start_shell`."""

    command: list[str]
    env: dict[str, str]
    cwd: str
    uid: int | None
    """Of whom to run it as, with these groups; ``None``: as the holder is."""
    gid: int
    groups: list[int]
    failure: str
    """What to print where the program cannot be run."""


@dataclass(frozen=True, slots=True)
class Shell:
    """A running program and the master side of its terminal (non-blocking)."""

    pid: int
    master: int


def plan(name: str, profile: Profile, session: str) -> ShellPlan:
    """How to start the program of a profile.

    Raises:
        OSError: the profile's user does not exist (any more).
    """
    try:
        account = pwd.getpwnam(profile.user) if profile.user else pwd.getpwuid(os.getuid())
    except KeyError:
        raise OSError(0, f"profiles.{name}.user: there is no user {profile.user or os.getuid()}") from None
    environment = _environment(account, name, session) | dict(profile.env)
    drop = profile.user is not None and account.pw_uid != os.getuid()
    return ShellPlan(
        command=list(profile.command),
        env=environment,
        cwd=profile.cwd or environment["HOME"],
        uid=account.pw_uid if drop else None,
        gid=account.pw_gid,
        groups=os.getgrouplist(account.pw_name, account.pw_gid) if drop else [],
        failure=f"This terminal has the profile '{name}', which runs: {' '.join(profile.command)}\n"
        f"Install that program on the server, or set profiles.{name}.command to another one.\n",
    )


def resize(master: int, cols: int, rows: int) -> None:
    """Set the terminal's size; the kernel tells the program by SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def size_of(master: int) -> tuple[int, int]:
    """Columns and rows of a terminal."""
    rows, cols, _, _ = struct.unpack("HHHH", fcntl.ioctl(master, termios.TIOCGWINSZ, bytes(8)))
    return cols, rows


@functools.cache
def _inherited() -> dict[str, str]:
    """What shells get of this process's environment, which stays what it is."""
    kept = {
        # Bytes that are no text would make the whole of it one that cannot be sent.
        name: os.fsencode(value).decode(errors="replace")
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith("LC_")
    }
    # The first PATH entry of a process in a virtual environment is that environment's bin.
    if venv := os.environ.get("VIRTUAL_ENV"):
        kept["PATH"] = ":".join(part for part in kept.get("PATH", "").split(":") if not part.startswith(venv))
    return kept


def _environment(account: pwd.struct_passwd, profile: str, session: str) -> dict[str, str]:
    kept = dict(_inherited())
    if account.pw_uid != os.getuid():
        kept["PATH"] = OTHERS_PATH
    return {
        **kept,
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell or "/bin/sh",
        "PATH": kept.get("PATH") or os.defpath,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "TERMINAL_SESSION": session,
        "TERMINAL_PROFILE": profile,
    }
