"""The process that records: reads rings, appends to recordings, says how far it has come.

Started by the session manager (see :mod:`terminals.manager.recordings`). It has the rights of nobody: rings
to read only, and the files that it was given. What is said between the two is in
:mod:`terminals.recordings.packets`.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final, Literal

from terminals.control import framing
from terminals.manager.ring import RingReader, Word
from terminals.recordings.asciicast import MOST_HEADER, MOST_OUTPUT, TAIL, Batch, Mark, decoded, last_mark
from terminals.recordings.packets import (
    Advance,
    Begin,
    Failed,
    Forget,
    FromRecorder,
    Ready,
    Recorded,
    Resize,
    ToRecorder,
    read_by_recorder,
)
from terminals.rights import give_up_rights

FULL: Final = "it has the size that one recording may have"
ELSEWHERE: Final = "another recorder has it"


class Full(Exception):
    """The recording has its limit."""


class Recording:
    """One session: its ring, its file, and where that stands.

    ``clock()`` gives monotonic seconds. The descriptor ``file`` is taken over.
    """

    def __init__(
        self, begin: Begin, file: int, ring: RingReader, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._begin = begin
        self._file = file
        self._ring = ring
        self._clock = clock
        self._sizes: collections.deque[tuple[int, int, int]] = collections.deque()
        self._good = 0
        """Bytes of the file up to its last mark."""
        self._torn = False
        """There may be more in the file than that."""
        self.mark: Mark | None = None
        """``None`` until the file is ours, and looked at."""

    @property
    def said(self) -> Recorded:
        """How far it has come."""
        assert self.mark is not None
        return Recorded(
            key=self._begin.key,
            offset=self.mark.offset,
            bytes=self._good,
            elapsed=self.mark.elapsed,
            ended=self.mark.state == "end",
        )

    def resize(self, at: int, cols: int, rows: int) -> None:
        """The terminal has this size from output offset ``at`` on."""
        self._sizes.append((at, cols, rows))

    def advance(self, until: int, *, ended: bool = False) -> None:
        """Record what is in the ring before offset ``until``. ``ended``: there will never be more.

        Raises:
            OSError: the disk takes nothing; the recording stands where it stood.
            Full: the recording has its limit, and says so at its end.
        """
        self._find()
        while self._step(until, ended=ended):
            pass

    def close(self) -> None:
        """Let go of it."""
        self._ring.close()
        os.close(self._file)

    def _find(self) -> None:
        """Find out where the recording stands, and cut off what its last writer has not finished."""
        if self.mark is not None:
            return
        try:
            # Of a writer that was killed, but whose last write the disk still has, the lock is there as long.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(0, ELSEWHERE) from None
        size = os.fstat(self._file).st_size
        begins = max(0, size - TAIL)
        found = last_mark(os.pread(self._file, TAIL, begins))
        if found is not None:
            self.mark, end = found
            self._good = begins + end
            self._torn = self._good < size
            return
        if size > MOST_HEADER:
            raise OSError(0, "it is no recording")
        # Not even the first line was written, or not all of it.
        self._torn = size > 0
        term = self._begin.header.term
        mark = Mark(self._begin.start, size=(term.cols, term.rows))
        self._append(self._begin.header.encode() + mark.encode())
        self.mark = mark

    def _step(self, head: int, *, ended: bool) -> bool:
        """Write one batch; whether there is more to write."""
        mark = self.mark
        assert mark is not None
        if mark.state == "full":
            raise Full
        if mark.state == "end":
            return False
        at = round((self._clock() - self._begin.since) * 1e6)
        batch = Batch(mark)
        offset = max(mark.offset, self._begin.start)
        while self._sizes and self._sizes[0][0] <= offset:
            batch.resize(at, *self._sizes.popleft()[1:])
        until = min(self._sizes[0][0] if self._sizes else head, head)
        data = self._copy(offset, min(MOST_OUTPUT, until - offset))
        if data is None:
            offset = self._ring.words[Word.TAIL]
            data = b""
        if offset > mark.offset:
            batch.gap(at, offset)
        whole = offset + len(data) == until
        text, count = decoded(data, final=whole and ended and until == head)
        if count < len(data) and whole and self._sizes and until == self._sizes[0][0]:
            # A size that came in the middle of a character is recorded before it.
            batch.resize(at, *self._sizes.popleft()[1:])
        offset += count
        batch.output(at, text, offset)
        end = ended and offset == head
        if end:
            for _, cols, rows in self._sizes:
                batch.resize(at, cols, rows)
            batch.exit(at, self._ring.words[Word.STATUS] - 1000)
        if batch.empty and not end:
            return False
        self._write(batch, "end" if end else "")
        return not end

    def _copy(self, start: int, count: int) -> bytes | None:
        """So many bytes of output; ``None`` when they have been overwritten."""
        whole = b""
        while len(whole) < count:
            # The ring gives what is together in it: a character may lie across its end.
            data = self._ring.copy(start + len(whole), count - len(whole))
            if data is None:
                return None
            whole += data
        return whole

    def _write(self, batch: Batch, state: Literal["", "end"]) -> None:
        assert self.mark is not None
        lines, mark = batch.close(state)
        limit = self._begin.limit
        if limit and self._good + len(lines) > limit:
            last = Batch(self.mark)
            last.note(self.mark.elapsed, FULL)
            lines, mark = last.close("full")
        self._append(lines)
        self.mark = mark
        if mark.state == "full":
            raise Full

    def _append(self, lines: bytes) -> None:
        if self._torn:
            os.ftruncate(self._file, self._good)
        self._torn = True
        view = memoryview(lines)
        while view:
            view = view[os.write(self._file, view) :]
        self._torn = False
        self._good += len(lines)


class Recorder:
    """Serves one session manager."""

    def __init__(self, manager: socket.socket) -> None:
        self._manager = manager
        self._recordings: dict[str, Recording] = {}

    def run(self) -> None:
        """Serve until the manager closes its end."""
        self._send(Ready())
        try:
            while True:
                data, fds = framing.receive(self._manager)
                if not data:
                    return
                try:
                    self._handle(read_by_recorder(data), fds)
                finally:
                    for fd in fds:
                        os.close(fd)
        finally:
            for key in list(self._recordings):
                self._forget(key)

    def _handle(self, packet: ToRecorder, fds: list[int]) -> None:
        match packet:
            case Begin(key=key):
                self._forget(key)
                # Out of descriptors, this one is not recorded, which `advance` says, and the others are.
                with contextlib.suppress(ValueError, OSError):
                    file, ring = fds
                    fds.remove(ring)
                    reader = RingReader(ring)
                    fds.remove(file)
                    self._recordings[key] = Recording(packet, file, reader)
            case Resize(key=key, at=at, cols=cols, rows=rows):
                if recording := self._recordings.get(key):
                    recording.resize(at, cols, rows)
            case Advance():
                self._advance(packet)
            case Forget(key=key):
                self._forget(key)

    def _advance(self, packet: Advance) -> None:
        key = packet.key
        recording = self._recordings.get(key)
        if recording is None:
            self._send(Failed(key=key, reason="no more files can be open"))
            return
        try:
            recording.advance(packet.until, ended=packet.ended)
        except Full:
            self._send(Failed(key=key, reason=FULL, full=True))
        except OSError as error:
            self._send(Failed(key=key, reason=error.strerror or str(error)))
        else:
            self._send(recording.said)

    def _send(self, packet: FromRecorder) -> None:
        framing.send(self._manager, framing.encode(packet))

    def _forget(self, key: str) -> None:
        if recording := self._recordings.pop(key, None):
            recording.close()


def main(fd: int) -> None:
    """Serve the manager on the other end of socket ``fd``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the manager's terminal is the manager's affair
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a limit of file sizes is an error to be told, no end
    give_up_rights()
    with contextlib.suppress(ConnectionError):
        Recorder(socket.socket(fileno=fd)).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
