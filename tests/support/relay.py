"""A network between two processes, which can be cut: what comes to a port of its own goes on to another."""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import threading


class Relay:
    """Carries connections to 127.0.0.1:``port``. While it is cut, those that are there stand still, and new
    ones are taken and hear nothing, as where packets are dropped on the way."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._over = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    def drop(self) -> None:
        """End the connections that are there."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._over = True
        self._open.set()
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while not self._over:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            self._ends.append(conn)
            threading.Thread(target=self._carry, args=(conn,), daemon=True).start()

    def _carry(self, conn: socket.socket) -> None:
        left = select.poll()
        left.register(conn, select.POLLRDHUP)
        while not self._open.wait(1.0):
            if left.poll(0):  # whoever asked has given up
                self._ends.remove(conn)
                return conn.close()
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
            other = socket.create_connection(("127.0.0.1", self._to))
            self._ends.append(other)
            for end in (conn, other):
                ready.register(end, selectors.EVENT_READ, other if end is conn else conn)
            while not self._over:
                for key, _ in ready.select():
                    data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    self._open.wait()
                    if not data:
                        return conn.close() or other.close()
                    key.data.sendall(data)
        conn.close()
        return None
