"""What the kernel says of a process that a test has started."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def processor_seconds(pid: int) -> float:
    """What the process has used of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_files(pid: int) -> list[str]:
    """What the descriptors of a process are open on; it may close some while it is looked at."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return found


def _settled(pid: int) -> set[int]:
    """The descriptors of a process, once those of connections that have just been closed are gone."""
    before: set[int] | None = None
    while True:
        taken = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
        if taken == before:
            return taken
        before = taken
        time.sleep(0.2)


@contextlib.contextmanager
def few_files(pid: int, spare: int) -> Iterator[None]:
    """For a while the process can open no more than ``spare`` further files."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # The limit is one of numbers, of which the kernel gives the lowest that is free.
    taken = _settled(pid)
    free = (number for number in itertools.count() if number not in taken)
    limit = next(itertools.islice(free, spare, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def stopped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """For a while the process is there and does nothing."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
