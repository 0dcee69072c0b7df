"""Children that open files with the rights of a session's shell: see :mod:`terminals.manager.filechild`."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import secrets
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from terminals.control.channel import Channel
from terminals.control.framing import BadPacket
from terminals.manager.config import ManagerConfig
from terminals.manager.filepackets import Asked, Child, Done, Job
from terminals.manager.holding import HolderLink
from terminals.manager.shell import ShellPlan, plan
from terminals.protocol.transfer import TransferError, TransferFailed

SECONDS: Final = 20.0
"""That one may take."""
AT_ONCE: Final = 8
PREFIX: Final = "file-child/"
"""Of their keys at the holder."""
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_ENDED: Final = "the process that was to open it has ended"

Line = Channel[Asked]
"""A connection to the socket for files."""


@dataclass(slots=True, eq=False)
class _Order:
    """What a child is to do, as soon as it asks."""

    job: Job
    fds: tuple[int, ...]
    done: asyncio.Future[tuple[Done, list[int]]]

    def fail(self) -> None:
        """Nobody does it."""
        if not self.done.done():
            self.done.set_exception(OSError(errno.ECHILD, _ENDED))


class Children:
    """Has them started by the holder, tells them what to do and hears what has come of it.

    They come to the socket ``path``, and show a secret that only they, and their account, can know.
    """

    def __init__(self, config: ManagerConfig, link: HolderLink, path: Path) -> None:
        self._config = config
        self._link = link
        self._path = path
        self._orders: dict[str, _Order] = {}
        """By secret."""
        self._keys: dict[str, _Order] = {}
        """By key at the holder."""
        self._lines: dict[Line, _Order] = {}
        self._numbers = itertools.count(1)
        self._free = asyncio.Semaphore(AT_ONCE)
        self._source = files("terminals.manager").joinpath("filechild.py").read_text()

    async def run(
        self, profile: str, session: str, job: Job, fds: tuple[int, ...] = ()
    ) -> tuple[str, list[int]]:
        """Have a job done with the rights of a profile's shells; gives the name that it says, and what it has
        opened, which is the caller's.

        Raises:
            TransferFailed: it cannot be done, or there is nobody to do it.
        """
        if profile not in self._config.profiles:
            raise TransferFailed(TransferError.GONE, "there is no such profile any more")
        try:
            what = plan(profile, self._config.profiles[profile], session)
        except OSError as error:
            raise TransferFailed(
                TransferError.NOT_WRITABLE, f"nobody can open it: {error.strerror}"
            ) from None
        if what.uid is not None:
            job = msgspec.structs.replace(job, uid=what.uid, gid=what.gid, groups=what.groups)
        async with self._free:
            secret = secrets.token_hex(16)
            key = f"{PREFIX}{os.getpid()}-{next(self._numbers)}"
            order = _Order(job, fds, asyncio.get_running_loop().create_future())
            self._orders[secret] = self._keys[key] = order
            try:
                await self._start(key, what, secret)
                done, got = await asyncio.wait_for(order.done, SECONDS)
            except TimeoutError:
                raise TransferFailed(TransferError.NOT_WRITABLE, "its folder does not answer") from None
            except (OSError, BadPacket) as error:
                text = getattr(error, "strerror", None) or str(error)
                raise TransferFailed(TransferError.NOT_WRITABLE, f"nobody can open it: {text}") from None
            finally:
                order.done.cancel()
                self._orders.pop(secret, None)
                self._keys.pop(key, None)
                self._link.drop(key)
        if done.error:
            code = TransferError.NO_ROOM if done.errno in _FULL else TransferError.NOT_WRITABLE
            raise TransferFailed(code, f"the folder there: {done.error}")
        return done.name, got

    async def _start(self, key: str, what: ShellPlan, secret: str) -> None:
        # A holder of an earlier build does not say by what it is run.
        python = (self._link.about.python if self._link.about is not None else "") or sys.executable
        child = msgspec.structs.replace(
            what,
            uid=None,  # which it leaves by itself
            command=[python, "-I", "-S", "-c", self._source, str(self._path)],
            env={"TERMINAL_CHILD": secret},
            cwd="/",
        )
        item = await self._link.spawn(key, child, 80, 24, {})
        item.close()
        if item.status is not None:
            raise OSError(errno.ENOEXEC, f"{python} cannot be run there")

    def asked(self, line: Line, packet: Child) -> None:
        """One of them asks what to do."""
        order = self._orders.get(packet.secret)
        if order is None or order in self._lines.values():
            line.close()
            return
        self._lines[line] = order
        line.send(order.job, order.fds)

    def answered(self, line: Line, packet: Done, fds: list[int]) -> None:
        """It says what has come of it; takes ``fds`` over, out of the list, where somebody waits for them."""
        order = self._lines.get(line)
        if order is not None and not order.done.done():
            order.done.set_result((packet, list(fds)))
            fds.clear()
        line.close()

    def lost(self, line: Line) -> None:
        """A connection is gone."""
        if (order := self._lines.pop(line, None)) is not None:
            order.fail()

    def exited(self, key: str) -> None:
        """A process of the holder's has ended; what it has said before may still be on its way here."""
        order = self._keys.get(key)
        if order is not None and order not in self._lines.values():
            order.fail()
