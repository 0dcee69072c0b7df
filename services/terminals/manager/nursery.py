"""Children that are already forked and only wait to be told what to run.

Run as a script by a small interpreter of its own: nothing but the standard library, no site
packages. Each child leads a session of its own on a new terminal, and blocks. Starting a
shell is then one packet, where forking the session manager would hold up everybody's
terminal for as long as its page tables take to copy.

The children are the *manager's* (clone with CLONE_PARENT), not this process's: the manager
waits for them as for any child, and a nursery that dies takes no shell along.

Packets on the socket to the manager: it sends one byte for each child that it wants; we
answer with the child's pid (native int) and two descriptors, the master of its terminal and
the socket that its plan is to be sent to.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
import termios
from typing import Any, NoReturn

MAX_PLAN = 1 << 17
"""Bytes of a plan: arguments and environment."""
USUAL_FILES = 1024
"""Soft limit of open files in shells, whatever the services have: what select(2) can take."""
OOM_SCORE_ADJ = 500
"""Of shells and what they start: short of memory, the kernel takes one of these, never everybody's terminals
with the session manager. In thousandths of the memory there is, see proc_pid_oom_score_adj(5)."""
_CLONE = {"x86_64": 56, "aarch64": 220}.get(platform.machine())
_CLONE_PARENT = 0x8000

SUPPORTED = _CLONE is not None and sys.platform == "linux"


def become(plan: dict[str, Any]) -> NoReturn:
    """Turn this process, whose standard streams are its terminal, into the planned program.

    ``plan`` has ``command``, ``env``, ``cwd``, ``failure`` (what to print when the program
    cannot be run) and, to drop privileges, ``uid``, ``gid`` and ``groups``. Never returns; a
    program that cannot be run ends with status 127, as in a shell.
    """
    try:
        # Python ignores SIGPIPE and an ignored signal stays ignored across exec:
        # `yes | head` in the user's shell would not end.
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_FILES, hard), hard))
        _expendable()
        if plan["uid"] is not None:
            os.fchown(0, plan["uid"], -1)  # or nobody but root could open /dev/tty's device
            os.setgroups(plan["groups"])
            os.setgid(plan["gid"])
            os.setuid(plan["uid"])
        try:
            os.chdir(plan["cwd"])
        except OSError as error:
            os.write(2, f"{plan['cwd']}: {error.strerror}; starting in /\r\n".encode())
            os.chdir("/")
        os.execvpe(plan["command"][0], plan["command"], plan["env"])  # noqa: S606 - running programs is the point
    except OSError as error:
        os.write(2, f"{plan['command'][0]}: {error.strerror}\r\n{plan['failure']}".encode())
    finally:
        os._exit(127)


def _expendable() -> None:
    """Be taken before the session manager. Only before the user is changed: the file is root's after that."""
    with contextlib.suppress(OSError):  # no /proc here: the shell matters more
        file = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        if int(os.read(file, 16)) < OOM_SCORE_ADJ:  # less than it has needs a privilege
            os.pwrite(file, b"%d" % OOM_SCORE_ADJ, 0)


def _wait(slave: int, plans: socket.socket) -> NoReturn:
    """In the child: take the terminal, then wait for a plan. No plan any more: end."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for stream in (0, 1, 2):
        os.dup2(slave, stream)
    os.close(slave)
    data = plans.recv(MAX_PLAN)
    if not data:
        os._exit(0)
    become(json.loads(data))


def _make(manager: socket.socket, libc: ctypes.PyDLL) -> None:
    master, slave = os.openpty()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = libc.syscall(_CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        try:
            os.close(master)
            ours.close()
            manager.close()
            _wait(slave, theirs)
        finally:
            os._exit(127)
    os.close(slave)
    theirs.close()
    if pid > 0:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("2i", master, ours.fileno()))
        manager.sendmsg([struct.pack("i", pid)], [rights])
    os.close(master)
    ours.close()


def main(fd: int) -> None:
    """Make children until the manager closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the manager's terminal is the manager's affair
    manager = socket.socket(fileno=fd)
    manager.set_inheritable(False)
    libc = ctypes.PyDLL(None, use_errno=True)
    with contextlib.suppress(ConnectionError):  # the manager has ended between its order and our delivery
        while manager.recv(1):
            _make(manager, libc)


if __name__ == "__main__":
    main(int(sys.argv[1]))
