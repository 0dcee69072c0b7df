"""Web terminals to be measured side by side, each behind the same small interface."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any, Protocol

from terminals.protocol import messages
from websockets.asyncio.client import ClientConnection, connect

from benchmarks import one_process
from benchmarks.one_process import SHELL
from tests.support.stack import TOKEN, Stack, until

KEPT_READY = 24
"""More than a round of the benchmark opens at once."""
_OPTIONS: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": 1 << 22}
_TERMINADO = f"""
import sys, terminado, tornado.ioloop, tornado.web
manager = terminado.NamedTermManager(shell_command={SHELL!r}, max_terminals=5000)
app = tornado.web.Application([(r"/ws/(.+)", terminado.TermSocket, {{"term_manager": manager}})])
app.listen(int(sys.argv[1]), "127.0.0.1")
tornado.ioloop.IOLoop.current().start()
"""


class Line(Protocol):
    """One attached terminal. ``receive`` returns output bytes, at least one."""

    async def send(self, data: bytes) -> None:
        """Type."""

    async def receive(self) -> bytes:
        """Wait for output."""

    async def close(self) -> None:
        """Leave; whether the shell lives on is the peer's affair."""


class Peer(Protocol):
    """A service. ``name`` heads its column; ``pids`` are its server processes, shells excluded."""

    name: str
    keeps_sessions: bool

    @property
    def pids(self) -> list[int]:
        """See above; a later one may have started since an earlier look."""

    async def open(self, key: str | None = None) -> Line:
        """Connect; with the ``key`` of an earlier line, to the session that it left."""

    def close(self) -> None:
        """Stop the service."""


class _WebSocketLine:
    def __init__(self, link: ClientConnection) -> None:
        self.link = link

    async def close(self) -> None:
        """See :class:`Line`."""
        await self.link.close()


class OursLine(_WebSocketLine):
    """Speaks our protocol, acknowledgements included."""

    session = epoch = ""
    received = acked = typed = 0

    async def send(self, data: bytes) -> None:
        """See :class:`Line`."""
        await self.link.send(messages.encode_data(0, self.typed, data))
        self.typed += len(data)

    async def receive(self) -> bytes:
        """See :class:`Line`."""
        while True:
            message = await self.link.recv()
            if isinstance(message, bytes):
                frame = messages.decode_binary(message)
                if frame.type is messages.FrameType.DATA:
                    self.received = frame.seq + len(frame.payload)
                    if self.received - self.acked >= 1 << 16:
                        self.acked = self.received
                        await self.link.send(messages.encode_ack(0, self.acked))
                    return frame.payload


class Ours:
    """Session manager and one worker."""

    name = "terminals"
    keeps_sessions = True

    def __init__(self, sessions: int, ready: int = 0) -> None:
        profile = {"command": SHELL}
        self.stack = Stack(
            profiles={"system": {**profile, "ready": ready}, "claude": profile}, max_sessions=sessions + 100
        )
        self.stack.start_generation("g1", weight=100)
        self._url = self.stack.url()
        self._lines: dict[str, OursLine] = {}

    @property
    def pids(self) -> list[int]:
        """Holder, session manager, worker and, once there is one, the keeper of screens."""
        return list(self.roles.values())

    @property
    def roles(self) -> dict[str, int]:
        """The same by what they are."""
        keeper = self.stack.status()["screens"]["keeper"]
        roles = {name.partition("-")[0]: process.pid for name, process in self.stack.processes.items()}
        return {**roles, **({"keeper": keeper} if keeper else {})}

    async def open(self, key: str | None = None) -> OursLine:
        """See :class:`Peer`."""
        known = self._lines.get(key or "")
        link = await connect(self._url, **_OPTIONS)
        hello = messages.encode_text("hello", versions=[1], token=TOKEN, client=key or "bench")
        await link.send(hello.decode())
        resume = {"output": known.received, "epoch": known.epoch} if known else None
        attach = {"channel": 0, "session": known.session if known else None, "resume": resume}
        await link.send(messages.encode_text("attach", **attach).decode())
        while True:
            message = await link.recv()
            fields = json.loads(message)
            if fields["type"] == "attached":
                break
            if fields["type"] == "error":
                raise ConnectionError(fields["message"])
        line = OursLine(link)
        line.session, line.epoch = fields["session"], fields["epoch"]
        line.received = line.acked = fields["output"]
        line.typed = fields["input"]
        if key:
            self._lines[key] = line
        return line

    def close(self) -> None:
        """See :class:`Peer`."""
        self.stack.close()


class Ready(Ours):
    """The same with sessions kept ready (``profiles.<name>.ready``): for connecting alone."""

    name = "ready"

    def __init__(self) -> None:
        super().__init__(1000, ready=KEPT_READY)
        self.wait()

    def wait(self) -> None:
        """Until the stock is full, as it is where people do not come twenty at a time."""
        until(lambda: self.stack.status()["shells"]["ready"] == KEPT_READY, "sessions kept ready")


class OneProcess:
    """One Python process with no session manager: the floor under ours."""

    name = "one process"
    keeps_sessions = False

    def __init__(self) -> None:
        self._port = _free_port()
        self._process = subprocess.Popen([sys.executable, "-m", one_process.__name__, str(self._port)])
        self.pids = [self._process.pid]
        until(lambda: _listens(self._port), "one process listening")

    async def open(self, key: str | None = None) -> OursLine:
        """See :class:`Peer`."""
        return OursLine(await connect(f"ws://127.0.0.1:{self._port}/", **_OPTIONS))

    def close(self) -> None:
        """Stop the service."""
        _end(self._process)


class TerminadoLine(_WebSocketLine):
    """Speaks terminado's JSON arrays."""

    async def send(self, data: bytes) -> None:
        """See :class:`Line`."""
        await self.link.send(json.dumps(["stdin", data.decode()]))

    async def receive(self) -> bytes:
        """See :class:`Line`."""
        while True:
            kind, *rest = json.loads(await self.link.recv())
            if kind == "stdout" and rest[0]:
                return str(rest[0]).encode()


class Terminado:
    """terminado on tornado, installed from PyPI into an environment of its own."""

    name = "terminado"
    keeps_sessions = True

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="terminado-"))
        venv.create(self._root, with_pip=True)
        python = self._root / "bin" / "python"
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "terminado"]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
        self._port = _free_port()
        self._process = subprocess.Popen(
            [python, "-c", _TERMINADO, str(self._port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.pids = [self._process.pid]
        self._names = 0
        until(lambda: _listens(self._port), "terminado listening")

    async def open(self, key: str | None = None) -> TerminadoLine:
        """See :class:`Peer`."""
        self._names += 1
        name = key or f"n{self._names}"
        return TerminadoLine(await connect(f"ws://127.0.0.1:{self._port}/ws/{name}", **_OPTIONS))

    def close(self) -> None:
        """See :class:`Peer`."""
        _end(self._process)
        shutil.rmtree(self._root, ignore_errors=True)


class TtydLine(_WebSocketLine):
    """Speaks ttyd's protocol: the first byte of a message is its type."""

    async def send(self, data: bytes) -> None:
        """See :class:`Line`."""
        await self.link.send(b"0" + data)

    async def receive(self) -> bytes:
        """See :class:`Line`."""
        while True:
            message = await self.link.recv()
            data = message if isinstance(message, bytes) else message.encode()
            if data[:1] == b"0" and len(data) > 1:
                return data[1:]


class Ttyd:
    """ttyd, where it is on PATH."""

    name = "ttyd"
    keeps_sessions = False

    def __init__(self) -> None:
        program = shutil.which("ttyd")
        if program is None:
            raise FileNotFoundError("ttyd is not on PATH")
        # Versions before 1.7.4 are writable by default and know no -W.
        usage = subprocess.run([program, "--help"], capture_output=True, text=True)
        writable = ["-W"] if "--writable" in usage.stdout + usage.stderr else []
        self._port = _free_port()
        self._process = subprocess.Popen(
            [program, *writable, "-i", "127.0.0.1", "-p", str(self._port), *SHELL],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pids = [self._process.pid]
        until(lambda: _listens(self._port), "ttyd listening")

    async def open(self, key: str | None = None) -> TtydLine:
        """See :class:`Peer`."""
        link = await connect(f"ws://127.0.0.1:{self._port}/ws", subprotocols=["tty"], **_OPTIONS)  # type: ignore[list-item]
        await link.send(json.dumps({"AuthToken": "", "columns": 80, "rows": 24}).encode())
        return TtydLine(link)

    def close(self) -> None:
        """See :class:`Peer`."""
        _end(self._process)


class BareLine:
    """A pseudo-terminal of our own process."""

    def __init__(self, pid: int, master: int) -> None:
        self._pid, self._master = pid, master
        os.set_blocking(master, False)
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """See :class:`Line`."""
        os.write(self._master, data)

    async def receive(self) -> bytes:
        """See :class:`Line`."""
        while True:
            try:
                return os.read(self._master, 1 << 16)
            except BlockingIOError:
                ready = self._loop.create_future()
                self._loop.add_reader(self._master, ready.set_result, None)
                try:
                    await ready
                finally:
                    self._loop.remove_reader(self._master)

    async def close(self) -> None:
        """See :class:`Line`."""
        os.close(self._master)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)  # noqa: ASYNC222 - it has just been killed


class Bare:
    """No service at all: the floor under every figure."""

    name = "bare PTY"
    keeps_sessions = False
    pids: list[int] = []  # noqa: RUF012 - it has none, ever

    async def open(self, key: str | None = None) -> BareLine:
        """See :class:`Peer`."""
        pid, master = pty.fork()
        if pid == 0:
            os.execvp(SHELL[0], SHELL)
        return BareLine(pid, master)

    def close(self) -> None:
        """Nothing to stop."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def available(sessions: int, *, alone: bool) -> list[Peer]:
    """Start ours and every peer that is to be had here; says which is not."""
    found: list[Peer] = [Bare(), Ours(sessions)]
    for kind in () if alone else (Ready, OneProcess, Terminado, Ttyd):
        try:
            found.append(kind())
        except (OSError, subprocess.SubprocessError) as error:
            print(f"not measured: {kind.name}: {error}", file=sys.stderr)
    return found
