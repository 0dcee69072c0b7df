"""The least that a web terminal in Python does: one process, with our library, loop and frames.

No session survives it. Measured beside the others, it shows which share of our figures is the language's, and
which is the price of sessions that outlive their workers. ``python -m benchmarks.one_process PORT``.
"""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from typing import cast

import uvloop
from terminals.protocol import messages
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

SHELL = ["bash", "--norc", "--noprofile"]
READ_SIZE = 1 << 16


class Terminal(asyncio.Protocol):
    """One connection with a shell of its own, which goes with it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the shell."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._ws = ServerProtocol()
        self._sent = 0
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            os.execvp(SHELL[0], SHELL)
        os.set_blocking(self._master, False)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Request):
                self._ws.send_response(self._ws.accept(event))
                self._loop.add_reader(self._master, self._readable)
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                frame = messages.decode_binary(bytes(event.data))
                if frame.type is messages.FrameType.DATA:
                    os.write(self._master, frame.payload)
        self._flush()

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._loop.remove_reader(self._master)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._loop.add_reader(self._master, self._readable)

    def connection_lost(self, exc: Exception | None) -> None:
        """The shell goes, too."""
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _readable(self) -> None:
        try:
            data = os.read(self._master, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._transport.close()
            return
        self._ws.send_binary(messages.encode_data(0, self._sent, data))
        self._sent += len(data)
        self._flush()

    def _flush(self) -> None:
        if data := b"".join(self._ws.data_to_send()):
            self._transport.write(data)
        if self._ws.close_expected():
            self._transport.close()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Terminal, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
