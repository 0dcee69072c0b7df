"""Processes of the session manager's own, each at the other end of a socket."""

from __future__ import annotations

import socket
import subprocess
import sys


def start_child(
    module: str, *arguments: str, fds: tuple[int, ...] = ()
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Run a module, which is told the descriptor of its end of a socket of packets, then ``arguments``, and
    has the descriptors ``fds`` besides; gives the process, and our end.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            fd = theirs.fileno()
            # -P: not from the folder that this process happens to be in.
            command = [sys.executable, "-P", "-m", module, str(fd), *arguments]
            return subprocess.Popen(command, pass_fds=(fd, *fds), stdin=subprocess.DEVNULL), ours
    except OSError:
        ours.close()
        raise
