"""Asking a manager from outside of a loop: a connection for a question, and what may go wrong with it.

This is most of what a command does: no more is imported than it takes.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from terminals.control import answers, framing, packets
from terminals.control.descriptors import close_all

R = TypeVar("R", bound=msgspec.Struct)
_reader = functools.cache(framing.reader)
"""What reads packets of a kind, made once."""


class ControlError(Exception):
    """The manager refused a request, or the connection to it is gone."""


class NoManager(ControlError):
    """Nobody listens, or whoever did is gone before it has answered."""


def seqpacket(path: str) -> socket.socket:
    """A blocking socket, connected to whoever listens at ``path``.

    Raises:
        OSError: nobody does.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def connect(path: str) -> socket.socket:
    """Connect a blocking socket to the manager.

    Raises:
        ControlError: nobody listens at ``path``.
    """
    try:
        return seqpacket(path)
    except OSError as error:
        raise NoManager(f"no session manager at {path}: {error.strerror or error}") from None


def until_answering(path: str, timeout: float) -> None:
    """Wait for a manager that is just starting; whether it came shows when it is asked."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with contextlib.suppress(ControlError), contextlib.closing(connect(path)):
            return
        time.sleep(0.05)


def exchange(path: str, request: bytes, timeout: float, files: list[int] | None = None) -> list[bytes]:
    """Ask whoever listens at ``path`` something, blocking for at most ``timeout`` seconds. Gives its answer;
    an earlier manager has more than one to a long list. ``files`` gets the descriptors that come with it.

    Raises:
        ControlError: nobody, a refusal, or no answer in time. A refusal of a stale fencing token starts with
            ``stale fence``.
    """
    found: list[bytes] = []
    more = True
    with contextlib.closing(connect(path)) as sock:
        sock.settimeout(timeout)
        joiner = framing.Joiner()
        try:
            framing.send(sock, request)
            while more:
                data, fds = framing.receive(sock)
                if files is None:
                    close_all(fds)
                else:
                    files += fds
                if not data:
                    raise ControlError(f"the session manager at {path} closed the connection")
                if (message := joiner.add(data)) is not None:
                    answer = packets.read_reply(message)
                    if answer.error is not None:
                        raise ControlError(answer.error)
                    found.append(message)
                    more = answer.more
        except (ConnectionError, framing.BadPacket) as error:
            raise ControlError(f"the session manager at {path} went away: {error}") from None
        except TimeoutError:
            raise ControlError(f"the session manager at {path} did not answer in {timeout:g} s") from None
    return found


def ask(path: str, request: packets.Request, kind: type[R], *, timeout: float = 10.0) -> R:
    """Ask the manager at ``path`` something; it answers with a ``kind`` of :mod:`terminals.control.answers`.

    Raises:
        ControlError: see :func:`exchange`.
    """
    read: Callable[[bytes], R] = _reader(kind)
    try:
        data = exchange(path, framing.encode(msgspec.structs.replace(request, req=1)), timeout)
        answer, *others = (read(one) for one in data)
    except framing.BadPacket as error:
        name = type(request).__name__.lower()
        raise ControlError(f"the session manager at {path} does not answer {name}: {error}") from None
    for other in others:
        answer.items.extend(other.items)  # type: ignore[attr-defined]
    return answer


def ask_for_file(
    path: str, request: packets.Request, kind: type[R], *, timeout: float = 10.0
) -> tuple[R, int]:
    """Ask the manager at ``path`` for a file: its answer, and a descriptor, which is the caller's.

    Raises:
        ControlError: see :func:`exchange`; or no more files can be open, here or there.
    """
    files: list[int] = []
    try:
        (data,) = exchange(path, framing.encode(msgspec.structs.replace(request, req=1)), timeout, files)
        if not files:
            raise ControlError("no more files can be open")
        read: Callable[[bytes], R] = _reader(kind)
        return read(data), files.pop(0)
    except framing.BadPacket as error:
        raise ControlError(f"the session manager at {path} does not give a file: {error}") from None
    finally:
        close_all(files)


def tell(path: str, request: packets.Request, *, timeout: float = 10.0) -> None:
    """Have the manager at ``path`` do something.

    Raises:
        ControlError: see :func:`exchange`.
    """
    ask(path, request, answers.Done, timeout=timeout)
