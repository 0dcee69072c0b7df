"""A real holder, and session managers that can be killed: each is a process, for those are fenced."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import terminals.holder

from tests.support.stack import PATIENCE, until

PROGRAM = [sys.executable, "-I", "-S", str(Path(terminals.holder.__file__).parent)]
BUILD = "build-1"
SHELL = ["env", "TERM=dumb", "PS1=$ ", "bash", "--norc", "--noprofile"]


def plan(*command: str, **fields: Any) -> dict[str, Any]:
    """What :func:`terminals.holder.shells.start_shell` is told."""
    env = {"PATH": os.environ["PATH"], "HOME": "/tmp"}
    return {
        "command": list(command or SHELL),
        "env": env,
        "cwd": "/tmp",
        "uid": None,
        "gid": 0,
        "groups": [],
        "failure": "Install it.\n",
        **fields,
    }


class RunningHolder:
    """Starts one in a folder of its own."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="holder-")
        self.socket = str(Path(self.folder.name) / "holder.sock")
        self.process = self.start()
        until(self.answers, "the holder's socket")
        self.managers: list[RelayedManager] = []

    def start(self) -> subprocess.Popen[bytes]:
        with (Path(self.folder.name) / "log").open("ab") as log:
            # As a shell starts what it puts behind: two signals ignored, which no shell of ours may inherit.
            ignore = [signal.SIGINT, signal.SIGQUIT]
            command = ["env", f"--ignore-signal={','.join(n.name[3:] for n in ignore)}"]
            return subprocess.Popen([*command, *PROGRAM, self.socket, BUILD], stderr=log)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            return sock.connect_ex(self.socket) == 0

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It does nothing meanwhile, and finds all that has happened at once."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @property
    def log(self) -> str:
        return (Path(self.folder.name) / "log").read_text()

    def manager(self, *, patience: float = PATIENCE, hello: bool = True) -> RelayedManager:
        """A manager that has taken over."""
        manager = RelayedManager(self.socket)
        self.managers.append(manager)
        if hello:
            manager.hello(patience)
        return manager

    def close(self) -> None:
        for manager in self.managers:
            manager.close()
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.folder.cleanup()

    def __enter__(self) -> RunningHolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RelayedManager:
    """A connection to the holder through a process that does nothing but pass packets on."""

    def __init__(self, path: str) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.settimeout(PATIENCE)
        self.pid = os.fork()
        if self.pid == 0:
            _relay(path, theirs)
        theirs.close()
        self.items: dict[str, dict[str, Any]] = {}
        self.fds: dict[str, int] = {}
        self.about: dict[str, Any] = {}
        self._last = 0
        self._unread: list[dict[str, Any]] = []

    def hello(self, patience: float = PATIENCE) -> None:
        """Take over, and take what there is."""
        self.ask_for_the_place(patience)
        self.greeted()

    def ask_for_the_place(self, patience: float = PATIENCE) -> None:
        """Say hello, and do not wait for the end of the one before."""
        self._last += 1
        self.send({"type": "hello", "req": self._last, "versions": [1], "patience": patience})

    def greeted(self) -> None:
        """Take what there is, once it has the place."""
        self.about = self.told("reply")
        while (packet := self._receive())[0]["type"] == "item":
            item, fds = packet
            known = self.items.setdefault(item["key"], {"fields": {}})
            known["fields"].update(item.pop("fields"))
            known.update(item)
            if fds:
                self.fds[item["key"]] = fds[0]
        assert packet[0] == {"type": "end"}

    def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Ask for something, and wait for the answer."""
        self._last += 1
        self.send({"type": kind, "req": self._last, **fields})
        while True:
            packet, fds = self._receive()
            if packet["type"] == "reply" and packet["req"] == self._last:
                if fds:
                    self.fds[fields["key"]] = fds[0]
                return packet
            self._unread.append(packet)

    def send(self, packet: Any, fds: list[int] | None = None) -> None:
        data = packet if isinstance(packet, bytes) else json.dumps(packet).encode()
        socket.send_fds(self._sock, [data], fds or [])

    def told(self, kind: str) -> dict[str, Any]:
        """The next packet of that type that nobody has asked for."""
        for packet in self._unread:
            if packet["type"] == kind:
                self._unread.remove(packet)
                return packet
        while (packet := self._receive()[0])["type"] != kind:
            self._unread.append(packet)
        return packet

    def spawn(self, key: str, *command: str, cols: int = 80, rows: int = 24, **fields: Any) -> Screen:
        reply = self.request("spawn", key=key, plan=plan(*command, **fields), cols=cols, rows=rows)
        assert "error" not in reply, reply
        return Screen(self.fds[key], reply["pid"])

    def screen(self, key: str) -> Screen:
        """The terminal of a shell that an earlier manager has started."""
        return Screen(self.fds[key], self.items[key]["pid"])

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, number)
            if number == signal.SIGKILL:
                os.waitpid(self.pid, 0)

    def leave(self) -> None:
        """End by itself, when all that was sent has been passed on."""
        self._sock.shutdown(socket.SHUT_WR)
        os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Kill it, and let go of what it was given."""
        self.kill()
        self._sock.close()
        for fd in self.fds.values():
            os.close(fd)

    @property
    def ended(self) -> bool:
        """Whether the process has gone (it is waited for)."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        data, fds, _, _ = socket.recv_fds(self._sock, 1 << 18, 16)
        assert data, "the holder has closed the connection"
        return json.loads(data), fds


class Screen:
    """The master of a terminal, and what has been read from it."""

    def __init__(self, fd: int, pid: int) -> None:
        self.fd = fd
        self.pid = pid
        self.text = b""

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def expect(self, text: bytes) -> bytes:
        """Read until ``text`` comes."""
        end = time.monotonic() + PATIENCE
        while text not in self.text:
            assert time.monotonic() < end, (text, self.text)
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65536)
        before, _, self.text = self.text.partition(text)
        return before

    def run(self, command: str) -> str:
        """What a command prints, at a shell."""
        self.type(f"echo '<'; {command}; echo; echo '>'\n".encode())
        self.expect(b"\r\n<\r\n")
        return self.expect(b"\r\n>\r\n").decode().replace("\r\n", "\n").strip()


def _relay(path: str, test: socket.socket) -> NoReturn:
    try:
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        holder.connect(path)
        ends = {holder: test, test: holder}
        while True:
            for end in select.select(list(ends), [], [])[0]:
                data, fds, _, _ = socket.recv_fds(end, 1 << 18, 16)
                if not data:
                    os._exit(0)
                socket.send_fds(ends[end], [data], fds)
                for fd in fds:
                    os.close(fd)
    finally:
        os._exit(1)
