"""One session: its shell, its ring, and the client attached to it.

The manager alone reads and writes the terminal. That makes delivery exact whatever
happens to a worker: output is in the ring before anybody is told of it, and input is
applied here, by offset, so a packet that comes twice is applied once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from terminals.manager.inputs import Inputs
from terminals.manager.journal import Journal, RingLost
from terminals.manager.ring import Ring, Word
from terminals.manager.shell import Shell, resize
from terminals.protocol.breaker import CircuitBreaker
from terminals.protocol.resume import SequenceGap

log = logging.getLogger("terminals.manager")

if TYPE_CHECKING:
    from terminals.manager.peers import Peer

READ_SIZE = 1 << 14
READS_PER_TURN = 16
"""Reads per wake-up, so that one busy shell leaves the loop to the others."""
_LIVE_READ_LIMIT = 1 << 16
BULK = 1 << 11
"""A turn that read so much found a shell that prints faster than a person reads."""
ALONE = 1 << 8
"""A read of less has left nothing behind, as an echo does. Where it has, the loop calls again."""
BELL_BYTES = 1 << 15
BELL_SECONDS = 0.001
"""Bulk output wakes the worker once in so many bytes, or after this time: not for each 4 KiB that
the kernel gives at a time. What a person waits for, an echo or a prompt, is announced at once."""
NO_SHELL = 127
"""Status of a session whose shell could not be started, as of a program that is not there."""
UNKNOWN = -1
"""Status of a shell whose holder is gone, which alone could have asked for it; as if hung up."""
DISK_SECONDS = 1.0
"""A shell whose ring finds no room on the disk is read on when so long has passed."""


@dataclass(slots=True)
class Attachment:
    """One client attached to one session through one worker."""

    handle: int
    client: str
    peer: Peer
    doorbell: int
    """An eventfd; the worker wakes up when it is written."""
    since: float
    """Monotonic seconds."""
    watching: bool = False
    """It sees output and can neither type nor resize, nor does it ever slow the shell."""
    address: str = ""
    created: bool = False
    """This attach has created the session."""
    planned_end: bool = False
    """We asked for this attachment to be moved: its end is no failure."""


@dataclass(slots=True, repr=False)
class Session:
    """State of a session. ``floor`` is the output offset that must stay in the ring."""

    id: str
    profile: str
    epoch: str
    origin: str
    generation: str
    """The generation it belongs to: where its next connection is to be served."""
    created: float
    ring: Ring
    shell: Shell | None
    breaker: CircuitBreaker
    hold_seconds: float
    on_end: Callable[[Session], None]
    on_output: Callable[[Session], None]
    """Called when the keeper of screens should have a look: a part of the ring has been written."""
    send_signal: Callable[[Session, int], None]
    """To the process group of its shell, as long as that runs."""
    journal: Journal
    inputs: Inputs
    with_room: Callable[[Callable[[], object]], object]
    """Does what takes disk; while there is none, ended sessions give theirs."""
    born: float
    """Monotonic seconds: an age must not jump with the clock."""
    title: str = ""
    user: str = ""
    """Whose it is; empty: of the holders of the token."""
    started: asyncio.Future[None] | None = None
    """While its shell is being started: done when it runs, with an ``OSError`` when there is none."""
    ready: bool = False
    """Nobody has asked for it yet."""
    typed: int = 0
    """Input bytes of all its clients that its terminal has taken."""
    left_at: float | None = None
    """When the last client left (monotonic seconds); ``None`` before the first has come."""
    expired: bool = False
    """A limit of time has ended it."""
    warned: bool = False
    """Its terminal was told that the maximum age is near."""
    served_by: str = ""
    """The generation that served its last attach."""
    size: tuple[int, int] = (80, 24)
    """Columns and rows of its terminal."""
    attachment: Attachment | None = None
    """The client that types."""
    watchers: dict[int, Attachment] = field(default_factory=dict)
    """Those that only look on, by handle."""
    floor: int | None = None
    kept: int | None = 0
    """Output before it is on the kept screen; ``None`` where nobody keeps one."""
    followed_at: float = 0.0
    """When the keeper was last asked to look (loop time)."""
    recorded: int | None = None
    """Output before it is recorded, and no other may be overwritten; ``None``: any may."""
    recording: Literal["", "on", "lost"] = ""
    """What those who are attached are told of that."""
    on_printed: Callable[[Session], None] | None = None
    """Called when there is more to be recorded."""
    status: int | None = None
    ended_at: float | None = None
    _paused: bool = False
    _writing: bool = False
    """Input waits until the terminal takes more."""
    _hold: asyncio.TimerHandle | None = None
    """While a client that is away, or says nothing, is waited for."""
    _full: asyncio.TimerHandle | None = None
    """While the disk has no room: when to look at it again, and not before."""
    _starved: bool = False
    """The disk had no room when it was last looked at, which has been said."""
    _look_at: int = 0
    """Output offset from which on the keeper is to look again; 0: half a ring."""
    _bell: asyncio.TimerHandle | None = None
    _announced: int = 0
    """Output offset at the last ring of the bell."""
    _exit_status: int | None = None
    _orphaned: bool = False
    """The holder is gone: nobody tells its shell's end, or sends it a signal."""

    def __repr__(self) -> str:
        # A loop that logs a failed callback logs what it was bound to.
        return f"<Session {self.id}>"

    @property
    def live(self) -> bool:
        """Whether the shell is still there."""
        return self.ended_at is None

    def start(self, shell: Shell) -> None:
        """Begin to read the terminal."""
        self.shell = shell
        self._paused = False
        asyncio.get_running_loop().add_reader(shell.master, self._readable)
        if self.inputs.waiting:
            self._write()

    def go_on(self, shell: Shell, status: int | None) -> None:
        """Begin to read the terminal where an earlier manager has ended. ``status``: so has the shell.

        Whoever was attached is on the way back: its place in the ring is kept for ``hold_seconds``.
        """
        loop = asyncio.get_running_loop()
        words = self.ring.words
        self.typed = self.inputs.typed
        self.left_at = words[Word.LEFT_AT] / 1e6 if words[Word.LEFT_AT] else loop.time()
        words[Word.INPUT_HANDLE] = 0
        if words[Word.FLOOR]:
            self._set_floor(words[Word.FLOOR] - 1)
            self._hold = loop.call_later(self.hold_seconds, self._let_go)
        self.start(shell)
        if status is not None:
            loop.call_soon(self.exited, status)

    def stop(self) -> None:
        """Read and write no more: another manager is about to."""
        if self.shell is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.shell.master)
            loop.remove_writer(self.shell.master)

    # --- output -----------------------------------------------------------------

    def _room(self) -> int:
        floor = self.floor
        if self.attachment is None and self.kept is not None:
            # Nobody sees it: the kept screen must, before it is overwritten.
            floor = self.kept if floor is None else min(floor, self.kept)
        if self.recorded is not None:
            floor = self.recorded if floor is None else min(floor, self.recorded)
        if floor is None:
            return _LIVE_READ_LIMIT
        return self.ring.capacity - (self.ring.head - floor)

    def _readable(self) -> None:
        assert self.shell is not None
        before = self.ring.head
        try:
            for _ in range(READS_PER_TURN):
                room = min(READ_SIZE, self._room())
                if room <= 0:
                    self._pause()
                    self._wait_for_client()
                    break
                if not self._reserve(room):
                    break
                count = self.journal.output(self.ring, self.shell.master, room)
                if count == 0:
                    self._finish()
                    break
                if count < ALONE and self._exit_status is None:
                    break
        except BlockingIOError:
            # An ended shell's terminal that has nothing more to give is done, even if a
            # background child still holds it open.
            if self._exit_status is not None:
                self._finish()
        except RingLost as error:
            log.error("%s: %s; nothing more of it is read", self.id, error)
            self._read_no_more()
        except OSError as error:
            if error.errno != errno.EIO:  # the last process of the terminal has closed it
                log.error("%s: its terminal cannot be read: %s", self.id, error)
            if self._orphaned:
                self._exit_status = UNKNOWN
            self._read_no_more()
        if not self.live:
            return  # its end has told everybody, and may have closed the ring
        head = self.ring.head
        if head != before and self.on_printed is not None:
            self.on_printed(self)
        if head - before >= BULK and head - self._announced < BELL_BYTES:
            self._ring_soon()
        elif head != before:
            self.ring_bell()
        # Held for the keeper, nothing more will come that could bring the next look about.
        held = self._paused and self.attachment is None
        # A turn may end with the room used up to the byte: then the next reads nothing, and only holds.
        if held or (head != before and head >= (self._look_at or self.ring.capacity // 2)):
            self._look()

    def _read_no_more(self) -> None:
        if self._exit_status is not None:
            self._finish()
        else:
            self._pause()

    def _reserve(self, room: int) -> bool:
        """Whether the disk has room for so much. If not, the shell waits until it has."""
        if self.ring.reserved(room):
            return True
        try:
            self.with_room(lambda: self.ring.reserve(room))
        except OSError as error:
            if not self._starved:
                log.warning("%s: its shell has to wait: %s", self.id, error.strerror)
            self._starved = True
            self._pause()
            if self._full is None:
                self._full = asyncio.get_running_loop().call_later(DISK_SECONDS, self._look_at_disk)
            return False
        self._starved = False
        return True

    def _look_at_disk(self) -> None:
        self._full = None
        self._unpause()

    def _pause(self) -> None:
        if not self._paused and self.shell is not None:
            asyncio.get_running_loop().remove_reader(self.shell.master)
            self._paused = True

    def _wait_for_client(self) -> None:
        """Whoever is attached and acknowledges nothing is waited for as long as one that is lost."""
        waited = self.floor is not None and self.ring.head - self.floor >= self.ring.capacity
        if waited and self.attachment is not None and self._hold is None:
            self._hold = asyncio.get_running_loop().call_later(self.hold_seconds, self._let_go)

    def _unpause(self) -> None:
        if self._paused and self.shell is not None and self._full is None and self._room() > 0:
            asyncio.get_running_loop().add_reader(self.shell.master, self._readable)
            self._paused = False

    def _look(self) -> None:
        self._look_at = self.ring.head + self.ring.capacity // 4
        self.on_output(self)

    def keep(self, offset: int | None) -> None:
        """The kept screen has come to ``offset``; ``None``: there is none any more."""
        self.kept = offset
        self._unpause()
        if self._paused and self.attachment is None and offset is not None and offset < self.ring.head:
            self._look()

    def record(self, offset: int | None) -> None:
        """Output before ``offset`` is recorded; ``None``: what is not may be overwritten from now on."""
        self.recorded = offset
        self._unpause()

    def ring_bell(self) -> None:
        """Wake the workers that serve this session."""
        self._announced = self.ring.head
        self._cancel_bell()
        if self.attachment is not None:
            os.eventfd_write(self.attachment.doorbell, 1)
        for watcher in self.watchers.values():
            os.eventfd_write(watcher.doorbell, 1)

    def _ring_soon(self) -> None:
        """Wake the workers for what can wait ``BELL_SECONDS`` for more to be said with it."""
        if self._bell is None:
            self._bell = asyncio.get_running_loop().call_later(BELL_SECONDS, self.ring_bell)

    def _cancel_bell(self) -> None:
        if self._bell is not None:
            self._bell.cancel()
            self._bell = None

    def acknowledge(self, seq: int) -> None:
        """The attached client has output up to ``seq``."""
        # One that was silent for too long, and has not been overtaken, is as any other again.
        floor = self.ring.tail - 1 if self.floor is None else self.floor
        if floor < seq <= self.ring.head:
            self._cancel_hold()
            self._set_floor(seq)
            self._unpause()

    def _set_floor(self, floor: int | None) -> None:
        self.floor = floor
        self.ring.words[Word.FLOOR] = 0 if floor is None else floor + 1

    # --- input ------------------------------------------------------------------

    def input_written(self, client: str) -> int:
        """How many input bytes of ``client`` the terminal has taken, ever."""
        return self.inputs.written(client)

    def input(self, client: str, seq: int, data: bytes) -> None:
        """Apply input once: whatever of it is already known is dropped.

        Raises:
            SequenceGap: bytes before ``seq`` are missing.
            BufferError: the client sent more than its window while the shell does not read.
        """
        if not self.live:
            return
        idle = not self.inputs.waiting
        if not self.inputs.accept(client, seq, data):
            self._publish_input()
        elif idle and self.shell is not None:  # or it waits until there is one
            self._write()

    def _write(self) -> None:
        assert self.shell is not None
        loop = asyncio.get_running_loop()
        try:
            while data := self.inputs.next():
                slot, base = self.inputs.place()
                count = self.journal.input(self.ring, slot, base, self.shell.master, data)
                self.inputs.wrote(count)
                self.typed += count
        except BlockingIOError:
            self._writing = True
            loop.add_writer(self.shell.master, self._write)
        except OSError:
            # The terminal is gone; the exit status follows by the pidfd.
            self.inputs.abandon()
        if self._writing and not self.inputs.waiting:
            self._writing = False
            loop.remove_writer(self.shell.master)
        self._publish_input()

    def _publish_input(self) -> None:
        if self.attachment is None:
            return
        self.ring.words[Word.INPUT_WRITTEN] = self.inputs.acknowledged(self.attachment.client)
        self._ring_soon()  # the terminal's echo is a moment away, and takes this along

    # --- attachments ------------------------------------------------------------

    def attach(self, attachment: Attachment, start: int, *, returning: bool = False) -> bool:
        """Make ``attachment`` the one that this session serves, from output offset ``start``.

        ``returning``: its client has been attached before. Returns whether its input position is known.
        """
        self._cancel_hold()
        self.attachment = attachment
        self._set_floor(start)
        self.ring.words[Word.LEFT_AT] = 0
        known = self.inputs.begin(attachment.client, returning=returning)
        self.ring.words[Word.INPUT_HANDLE] = attachment.handle
        self._publish_input()
        self._unpause()
        return known

    @property
    def attachments(self) -> list[Attachment]:
        """Everybody who is attached, the one that types first."""
        return [*([self.attachment] if self.attachment else []), *self.watchers.values()]

    def watch(self, attachment: Attachment) -> None:
        """Let ``attachment`` look on."""
        self.watchers[attachment.handle] = attachment
        os.eventfd_write(attachment.doorbell, 1)

    def unwatch(self, handle: int) -> None:
        """A watcher is gone."""
        attachment = self.watchers.pop(handle)
        with contextlib.suppress(OSError):
            os.close(attachment.doorbell)
        self._left()

    def _left(self) -> None:
        self.left_at = asyncio.get_running_loop().time()
        if self.attachment is None:
            self.ring.words[Word.LEFT_AT] = int(self.left_at * 1e6)

    def detach(self) -> None:
        """The client is gone. Its place in the ring is kept for ``hold_seconds``.

        Within that time the shell is slowed rather than bytes overwritten; after it the
        shell runs free, and a client that comes later is told what it has missed.
        """
        if self.attachment is None:
            return
        with contextlib.suppress(OSError):
            os.close(self.attachment.doorbell)
        self.attachment = None
        self._left()
        self._cancel_hold()
        self._hold = asyncio.get_running_loop().call_later(self.hold_seconds, self._let_go)
        if self.ring.head >= self.ring.capacity // 2:
            self._look()

    def _let_go(self) -> None:
        self._hold = None
        self._set_floor(None)
        self._unpause()
        if self._paused:
            self._look()

    def _cancel_hold(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def resize(self, cols: int, rows: int) -> None:
        """Tell the shell the size of its terminal, and whoever watches it."""
        self.size = (cols, rows)
        self.ring.words[Word.SIZE_AT] = self.ring.head
        self.ring.words[Word.SIZE] = cols << 32 | rows
        if self.watchers:
            self._ring_soon()
        if self.shell is not None and self.live:
            with contextlib.suppress(OSError):
                resize(self.shell.master, cols, rows)

    def idle(self, now: float) -> float:
        """Seconds since anybody was attached; 0 while somebody is."""
        if self.attachments:
            return 0.0
        return now - (self.born if self.left_at is None else self.left_at)

    def notice(self, text: str) -> None:
        """Say something in the terminal, unless that would push out bytes a client still needs."""
        data = f"\r\n\x1b[0;7m[{text}]\x1b[0m\r\n".encode()
        if self.live and self._room() >= len(data):
            with contextlib.suppress(OSError):  # a full disk
                self.ring.append(data)
                self.ring_bell()
            if self.on_printed is not None:
                self.on_printed(self)

    # --- the end ----------------------------------------------------------------

    def kill(self) -> None:
        """Hang up, as a closed terminal window does; the whole process group hears it."""
        if self.live and self._orphaned and self.shell is not None:
            self._exit_status = UNKNOWN
            self._finish()  # closes the terminal: the kernel hangs up
        elif self.live and self._exit_status is not None:
            # What it printed last waits for a client that does not take it: it is not waited for any more.
            self._finish()
        elif self.live:
            for number in (signal.SIGHUP, signal.SIGCONT):
                self.send_signal(self, number)
            asyncio.get_running_loop().call_later(2.0, self._kill_hard)

    def _kill_hard(self) -> None:
        if self.live and self._exit_status is None:
            self.send_signal(self, signal.SIGKILL)

    def exited(self, status: int) -> None:
        """Its shell has ended; negative: by that signal."""
        self._exit_status = status
        if self.shell is not None:
            # Whatever it printed last is still in the terminal: read on, to the end.
            self._readable()

    def orphan(self) -> None:
        """The holder is gone: from now on the end of its terminal is its shell's end."""
        self._orphaned = True
        if self.shell is not None:
            self._readable()  # it may have come already

    def fail(self) -> None:
        """There is no shell, and will be none."""
        if self.live:
            self._exit_status = NO_SHELL
            self._finish()

    def _finish(self) -> None:
        if not self.live or self._exit_status is None:
            return
        loop = asyncio.get_running_loop()
        if self.shell is not None:
            loop.remove_reader(self.shell.master)
            loop.remove_writer(self.shell.master)
            os.close(self.shell.master)
        if self._full is not None:
            self._full.cancel()
        self.status = self._exit_status
        self.ended_at = loop.time()
        self.shell = None
        self._paused = False  # for good: there is nothing to read any more
        self.inputs.abandon()
        self.ring.end(self.status)
        self.ring_bell()
        self.on_end(self)

    def discard(self) -> None:
        """Forget the session and give its memory back. Its ring file is removed."""
        self._cancel_hold()
        self._cancel_bell()
        for attachment in self.attachments:
            os.close(attachment.doorbell)
        self.attachment = None
        self.watchers.clear()
        self.ring.remove()


__all__ = ["Attachment", "Session", "SequenceGap"]
