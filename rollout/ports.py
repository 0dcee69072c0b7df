"""The ports of this machine: whether one can be had, really tried, and who has it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTENS = "0A"


@dataclass(frozen=True, slots=True)
class Process:
    """One that listens: its number, its command line, and the folder that it runs in."""

    pid: int
    command: str
    folder: str

    def __str__(self) -> str:
        return f"{self.command[:60]} (process {self.pid})"


def refusal(host: str, port: int) -> str:
    """Why nobody can listen at ``host``:``port`` now; "" when somebody can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            # As servers do: what has just been closed there does not count.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            tried.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def listening(port: int) -> list[Process]:
    """Who listens on a port, at whatever address; those of other users only the superuser is shown."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    found = []
    for process in Path("/proc").glob("[0-9]*") if wanted else ():
        with suppress(OSError):  # it has ended meanwhile, or is another's
            if any(_target(file) in wanted for file in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(Process(int(process.name), " ".join(command.split()), _target(process / "cwd")))
    return found


def _inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
