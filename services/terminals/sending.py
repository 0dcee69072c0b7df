"""``terminals send``: a file of a session's shell for whoever types in it.

The file is opened here, where its account may read it or not, and passed on open. While the session manager
is replaced it is offered again, and goes on where it was.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from terminals.control import framing
from terminals.control.asking import seqpacket
from terminals.manager.filepackets import KEY, SOCKET, Heard, NotSent, Send, Sent, read_told

AGAIN_SECONDS: Final = 60.0
"""So long another session manager is waited for."""
POLL: Final = 0.1


class SendError(Exception):
    """A file is not sent. The text says which, and why."""


def send(path: Path, on_progress: Callable[[int, int, bool], None]) -> None:
    """Offer a file, and wait until it has arrived. ``on_progress(bytes, of, somebody)`` tells how far it is,
    and whether somebody is at the terminal.

    Raises:
        SendError: it cannot be read, this is no shell of a session, or nobody wants it.
    """
    where, key, session = (os.environ.get(name, "") for name in (SOCKET, KEY, "TERMINAL_SESSION"))
    if not (where and key and session):
        raise SendError("this is no shell of a terminal from which files can be downloaded")
    fd, size = _opened(path)
    try:
        packet = Send(session=session, key=key, transfer=secrets.token_hex(16), name=path.name, bytes=size)
        end = time.monotonic() + AGAIN_SECONDS
        while True:
            try:
                with seqpacket(where) as sock:
                    framing.send(sock, framing.encode(packet), (fd,))
                    while (said := _hear(sock)) is not None:
                        end = time.monotonic() + AGAIN_SECONDS
                        match said:
                            case Sent():
                                on_progress(size, size, True)
                                return
                            case NotSent(message=message):
                                raise SendError(f"{path}: {message}")
                            case Heard(clients=clients, bytes=count):
                                on_progress(count, size, bool(clients))
            except OSError as error:
                if time.monotonic() > end:
                    text = f"{path}: nobody answers at {where}: {error.strerror or error}"
                    raise SendError(text) from None
            time.sleep(POLL)  # the next session manager offers it again
    finally:
        os.close(fd)


def _opened(path: Path) -> tuple[int, int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SendError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise SendError(f"{path}: not a file")
    return fd, found.st_size


def _hear(sock: socket.socket) -> Heard | Sent | NotSent | None:
    data, fds = framing.receive(sock)
    for fd in fds:
        os.close(fd)
    try:
        return read_told(data) if data else None
    except framing.BadPacket as error:
        raise SendError(f"the session manager answers nonsense: {error}") from None
