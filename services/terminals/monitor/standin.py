"""Standing in for a monitor that writes already, as long as it does."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

log = logging.getLogger("terminals.monitor")

AGAIN_SECONDS: Final = 0.5
"""Whoever has the directory and cannot be seen, being of another PID namespace, is looked for again."""


def stand_in(directory: Path) -> None:
    """Wait until no other monitor has the directory; back at once where none has.

    A supervisor that was killed starts what it finds in its files, though what it had started before has
    outlived it. What it starts here is as good as that one: told to end by SIGTERM, it has that one end and
    ends with it; and it goes on in its place. (Ctrl-C is for what somebody has started by hand: it ends
    nothing else.)
    """
    said = False

    def say(who: str) -> None:
        nonlocal said
        if not said:
            log.info("%s writes to %s: standing in for it", who, directory)
        said = True

    while directory.is_dir():
        with contextlib.suppress(OSError):  # Journal says what is wrong with a directory
            if _free(directory):
                return
        pid = owner(directory)
        if pid is None:
            say("another")
            time.sleep(AGAIN_SECONDS)
        else:
            _until_ended(pid, partial(say, f"process {pid}"))


def owner(directory: Path) -> int | None:
    """Which process has locked a directory; ``None`` where none has, or it cannot be seen from here."""
    found = directory.stat()
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fd:01:123 0 EOF
        if "FLOCK" in words and words[1] != "->" and words[5] == wanted and int(words[4]) > 0:
            return int(words[4])
    return None


def _free(directory: Path) -> bool:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _until_ended(pid: int, ready: Callable[[], None]) -> None:
    """Wait for the end of a process, and pass SIGTERM on to it: then this process ends, too.

    ``ready`` is called when that is so: whoever is told may send it at once.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    told = False

    def tell(*_: object) -> None:
        nonlocal told
        told = True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, tell)
    try:
        ready()
        # A signal that comes just before the wait is handled after it, so that it is no long one.
        while not select.select([pidfd], [], [], AGAIN_SECONDS)[0]:
            pass
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(pidfd)
    if told:
        sys.exit(0)
