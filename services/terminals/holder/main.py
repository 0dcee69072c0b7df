"""The holder's process: one socket, one manager at a time, and what is kept for it.

A later manager takes over: the earlier is told to leave, given some patience, and killed. Nothing
is handed over before it is dead, for two would read one terminal.

The protocol, version 1: packets of JSON on a Unix socket of type SEQPACKET, with descriptors beside
them. What is kept is an *item*: a key, fields by name, descriptors, and for a shell its pid and, when
it has ended, its status.

======== ================================ ======================================================
request  fields                           answered by ``reply`` (req, ``error`` if it went wrong)
======== ================================ ======================================================
hello    versions, patience (seconds);    what ``status`` says first; then each item, in as many
         a pidfd of itself                packets as it takes, and ``end``
put      key, fields; descriptors         nothing. Fields are merged, one that is null is taken
                                          away; descriptors replace those before
drop     key                              nothing
listen   key, host, port                  a descriptor; the same one while host and port are the same
spawn    key, plan, cols, rows, fields    the terminal's descriptor, and pid, or status where the
                                          program cannot be run, as its terminal says
signal   key, number                      nothing: to the process group of a shell that runs
exec     argv, build                      what ``status`` says first, by the program that goes on in
                                          this one's place
status                                    version, resumes (versions it can go on from), number (the
                                          fence), build, code, pid, python; kept (items), shells
                                          (that run), manager (its pid)
======== ================================ ======================================================

Unasked: ``exited`` (key, status), and ``leave``, where another manager takes over. Only ``hello``
and ``status`` are answered to anybody but the present manager.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import hashlib
import json
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from terminals.holder.shells import start_shell

VERSION = 1
RESUMES = [1]
"""Versions from which this one can go on, with everything kept."""
MAX_PACKET = 1 << 18
MAX_FDS = 16
_FIELDS = 1 << 16
"""Characters of an item's fields in one packet."""
CHECK_SECONDS = 20.0
STUCK_SECONDS = 30.0
"""Between two lines of log about a manager that neither leaves nor can be killed from here."""
MOST_PATIENCE = 86400.0
HANGUP_SECONDS = 3.0
"""Between SIGHUP and SIGKILL where the holder itself is told to end."""


class Item:
    """One thing that is kept: fields, descriptors, and a process where it is a shell."""

    def __init__(
        self, fields: dict[str, Any], fds: list[int], pid: int = 0, status: int | None = None
    ) -> None:
        self.fields = fields
        self.fds = fds
        self.pid = pid
        self.status = status


class Peer:
    """A connected manager, or whatever else has come to the socket."""

    def __init__(self, sock: socket.socket, pidfd: int) -> None:
        self.sock = sock
        self.pidfd = pidfd
        """Negative where its process cannot be seen from here, until it has sent one."""
        self.waiting: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        """What it has not taken yet. The descriptors are the items' own."""


class Holder:
    """Keeps items for one manager at a time."""

    def __init__(self, listener: socket.socket, build: str) -> None:
        self._build = build
        self._code = own_code()
        self._listener = listener
        self._items: dict[str, Item] = {}
        self._number = 0
        self._manager: Peer | None = None
        """The one that was served last, dead or alive."""
        self._successor: tuple[Peer, dict[str, Any]] | None = None
        """Who has said hello (so), and waits for the end of the one before."""
        self._deadline = 0.0
        """Monotonic second at which that one is killed."""
        self._ending = False
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self._watch(self._listener, self._accept)
        self._watch(self._wake, self._signalled)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, which end every shell."""
        self._reap()
        while not self._ending:
            timeout = max(0.0, self._deadline - time.monotonic()) if self._successor else None
            for key, _ in self._selector.select(timeout):
                # What one does may have ended another of the same batch, or put it to other use.
                now = self._selector.get_map().get(key.fd)
                if now is not None and now.fileobj == key.fileobj:
                    self._do(now.data)
            if self._successor and self._manager and time.monotonic() >= self._deadline:
                self._kill(self._manager)
        self._hang_up()

    @staticmethod
    def _do(what: Callable[[], object]) -> None:
        try:
            what()
        except Exception as error:  # a fault of this program: every shell would end with it
            say(f"it goes on after a fault of its own: {error!r}")
            time.sleep(0.05)  # what is still there to be done would burn a core

    def _kill(self, manager: Peer) -> None:
        say("the session manager has not left in time: it is killed")
        self._deadline += 1.0
        try:
            signal.pidfd_send_signal(manager.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        except OSError as error:  # it is in another PID namespace, of another container
            say(f"it cannot be killed from here, but has to be, by whoever started it: {error}")
            self._deadline += STUCK_SECONDS

    # --- shells and their ends --------------------------------------------------------------

    def _signalled(self) -> None:
        numbers = self._wake.recv(4096)
        self._ending |= signal.SIGTERM in numbers or signal.SIGINT in numbers
        self._reap()

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for key, item in self._items.items():
                    if item.pid == ended[0] and item.status is None:
                        item.status = os.waitstatus_to_exitcode(ended[1])
                        self._tell({"type": "exited", "key": key, "status": item.status})

    def _hang_up(self) -> None:
        """End every shell, as closed windows do."""
        end = time.monotonic() + HANGUP_SECONDS
        for number in (signal.SIGHUP, signal.SIGCONT, signal.SIGKILL):
            for item in self._items.values():
                self._signal(item, number)
                close(item.fds)  # a shell that missed the signal sees the end of its terminal
            while number == signal.SIGCONT and any(self._runs(item) for item in self._items.values()):
                if time.monotonic() >= end:
                    break
                self._reap()
                time.sleep(0.02)

    @staticmethod
    def _runs(item: Item) -> bool:
        return item.pid > 0 and item.status is None

    def _signal(self, item: Item, number: int) -> None:
        # Not reaped, so the number is still its own.
        if self._runs(item):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(item.pid, number)

    # --- connections ------------------------------------------------------------------------

    def _watch(self, file: Any, then: Callable[[], object]) -> None:
        self._selector.register(file, selectors.EVENT_READ, then)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            say(f"a connection is not taken: {error}")
            time.sleep(0.05)  # what waits keeps the socket readable: asking again at once would burn a core
            return
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            if uid not in (os.getuid(), 0):
                raise PermissionError(errno.EPERM, "it is of another account")
            # 0: it is in another PID namespace, as of a container beside this one.
            pidfd = os.pidfd_open(pid) if pid else -1
        except OSError as error:
            say(f"process {pid} of {uid} is refused: {error}")
            sock.close()
            return
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        peer = Peer(sock, pidfd)
        self._watch(sock, lambda: self._readable(peer))

    def _readable(self, peer: Peer) -> bool:
        """Do one thing that it has asked for. Returns whether there was any."""
        self._flush(peer)
        try:
            data, fds = receive(peer.sock)
        except BlockingIOError:
            return False
        except OSError:
            data, fds = b"", []
        if not data:
            self._lost(peer)
            return False
        packet: dict[str, Any] = {}
        try:
            packet = json.loads(data)
            self._request(peer, packet, fds)
        except Exception as error:
            # Whatever a manager asks for, this process goes on.
            say(f"a request fails: {error!r}")
            number, text = getattr(error, "errno", None), getattr(error, "strerror", None)
            self._reply(peer, packet, error=f"{text or error}", errno=number or 0)
        finally:
            close(fds)
        return True

    def _lost(self, peer: Peer) -> None:
        self._selector.unregister(peer.sock)
        peer.sock.close()
        peer.waiting.clear()
        if self._successor and self._successor[0] is peer:
            self._successor = None
            assert self._manager is not None  # or nobody would wait
            self._selector.unregister(self._manager.pidfd)
        if peer is not self._manager and peer.pidfd >= 0:
            os.close(peer.pidfd)

    def _send(self, peer: Peer, message: dict[str, Any], fds: list[int]) -> None:
        peer.waiting.append((json.dumps(message).encode(), fds))
        self._flush(peer)

    def _flush(self, peer: Peer) -> None:
        if peer.sock.fileno() < 0:
            return
        while peer.waiting:
            data, fds = peer.waiting[0]
            try:
                socket.send_fds(peer.sock, [data], fds, socket.MSG_NOSIGNAL)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.ETOOMANYREFS):
                    peer.waiting.clear()  # it is gone, as reading will say
                break
            peer.waiting.popleft()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.waiting else 0)
        self._selector.modify(peer.sock, events, lambda: self._readable(peer))

    def _tell(self, message: dict[str, Any]) -> None:
        if self._manager is not None:
            self._send(self._manager, message, [])

    def _reply(self, peer: Peer, request: Any, fds: list[int] | None = None, **fields: Any) -> None:
        number = request.get("req", 0) if isinstance(request, dict) else 0
        self._send(peer, {"type": "reply", "req": number, **fields}, fds or [])

    # --- what a manager asks for ------------------------------------------------------------

    def _request(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        kind = packet["type"]
        if kind == "status":
            manager = self._pid_of(self._manager)
            shells = sum(self._runs(item) for item in self._items.values())
            about = {**self._about, "kept": len(self._items), "shells": shells, "manager": manager}
            self._reply(peer, packet, **about)
        elif kind == "hello":
            self._hello(peer, packet, fds)
        elif peer is not self._manager:
            raise PermissionError(errno.EPERM, "only the session manager may ask for this")
        else:
            getattr(self, f"_do_{kind}")(peer, packet, fds)

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "resumes": RESUMES,
            "number": self._number,
            "build": self._build,
            "code": self._code,
            "pid": os.getpid(),
            "python": sys.executable,
        }

    def _hello(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        if VERSION not in packet["versions"]:
            raise ValueError(f"this holder speaks version {VERSION}, not {packet['versions']}")
        if self._successor or peer is self._manager:
            raise ValueError("a session manager is about to take over")
        patience = float(packet["patience"])
        if not 0 <= patience <= MOST_PATIENCE:
            raise ValueError(f"patience is {patience:g} s, and at most {MOST_PATIENCE:g}")
        if peer.pidfd < 0:
            if not fds:
                raise ValueError("its process cannot be seen from here: it has to send a pidfd of itself")
            peer.pidfd = fds.pop(0)
        if self._manager is not None:
            self._watch(self._manager.pidfd, self._take_over)
            self._tell({"type": "leave"})
        self._successor = peer, packet
        self._deadline = time.monotonic() + patience
        if self._manager is None:
            self._take_over()

    def _take_over(self) -> None:
        """The one before is dead, if there was one: only now may another read and write."""
        assert self._successor is not None
        if old := self._manager:
            self._selector.unregister(old.pidfd)
            while old.sock.fileno() >= 0 and self._readable(old):
                pass  # what it had asked for last has not been done yet
            os.close(old.pidfd)
            if old.sock.fileno() >= 0:
                self._selector.unregister(old.sock)
                old.sock.close()
        (self._manager, hello), self._successor = self._successor, None
        self._number += 1
        self._reply(self._manager, hello, **self._about)
        for key, item in self._items.items():
            fds, parts = item.fds, list(_parts(item.fields)) or [{}]
            for part in parts:
                shell = {"pid": item.pid, "status": item.status} if item.pid else {}
                self._send(self._manager, {"type": "item", "key": key, "fields": part, **shell}, fds)
                fds = []
        self._tell({"type": "end"})

    def _do_put(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        item = self._items.setdefault(packet["key"], Item({}, []))
        for name, value in packet.get("fields", {}).items():
            if value is None:
                item.fields.pop(name, None)
            else:
                item.fields[name] = value
        if fds:
            close(item.fds)
            item.fds = [fds.pop(0) for _ in list(fds)]

    def _do_drop(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        if item := self._items.pop(packet["key"], None):
            self._signal(item, signal.SIGKILL)
            close(item.fds)

    def _do_listen(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        address = {"host": packet["host"], "port": packet["port"]}
        item = self._items.get(packet["key"])
        if item is None or item.fields != address:
            sock = _listener(**address)
            if item is not None:
                close(item.fds)
            item = self._items[packet["key"]] = Item(address, [sock.detach()])
        self._reply(peer, packet, item.fds)

    def _do_spawn(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        pid, master = start_shell(packet["plan"], packet["cols"], packet["rows"])
        os.set_blocking(master, False)
        item = Item(packet.get("fields", {}), [master], pid, None if pid else 127)
        if old := self._items.get(packet["key"]):
            close(old.fds)
        self._items[packet["key"]] = item
        self._reply(peer, packet, item.fds, pid=pid, status=item.status)

    def _do_signal(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        if item := self._items.get(packet["key"]):
            self._signal(item, int(packet["number"]))

    # --- another version of this program ----------------------------------------------------

    def _do_exec(self, peer: Peer, packet: dict[str, Any], fds: list[int]) -> None:
        """Go on as another program with everything kept, if that one says that it can."""
        if self._successor or peer.waiting:
            raise BlockingIOError(errno.EAGAIN, "a session manager is about to take over: try again")
        kept = [self._listener.fileno(), peer.sock.fileno(), peer.pidfd]
        items = [[key, item.fields, item.fds, item.pid, item.status] for key, item in self._items.items()]
        state = {"version": VERSION, "number": self._number, "request": packet, "items": items}
        memory = os.memfd_create("holder")
        try:
            with open(memory, "w", closefd=False) as file:
                json.dump({**state, "kept": kept}, file)
            argv = [*packet["argv"], str(memory), packet["build"]]
            check = subprocess.run(
                [*argv, "--check"], pass_fds=[memory], timeout=CHECK_SECONDS, capture_output=True
            )
            if check.returncode:
                raise ValueError(f"{argv[0]} cannot go on from here: {check.stderr.decode()[-200:].strip()}")
            passed = [memory, *kept, *(fd for item in self._items.values() for fd in item.fds)]
            for fd in passed:
                os.set_inheritable(fd, True)
            try:
                os.execv(argv[0], argv)  # noqa: S606
            finally:
                for fd in passed:
                    os.set_inheritable(fd, False)
        finally:
            os.close(memory)

    @classmethod
    def resume(cls, memory: int, build: str, *, check: bool) -> Holder:
        """Go on from what an earlier version of this program, in this process, has left in a memory file.

        Raises:
            ValueError: it is of a version that this one does not know.
        """
        with open(memory, closefd=not check) as file:
            file.seek(0)
            state = json.load(file)
        if state["version"] not in RESUMES:
            raise ValueError(f"this holder knows versions {RESUMES}, not {state['version']}")
        items = {key: Item(fields, fds, pid, status) for key, fields, fds, pid, status in state["items"]}
        if check:
            sys.exit(0)
        listener, sock, pidfd = state["kept"]
        for fd in (listener, sock, pidfd, *(fd for item in items.values() for fd in item.fds)):
            os.set_inheritable(fd, False)
        holder = cls(socket.socket(fileno=listener), build)
        holder._items, holder._number = items, state["number"]
        holder._manager = peer = Peer(socket.socket(fileno=sock), pidfd)
        holder._watch(peer.sock, lambda: holder._readable(peer))
        holder._reply(peer, state["request"], **holder._about)
        return holder

    @staticmethod
    def _pid_of(peer: Peer | None) -> int | None:
        """Of a process that runs and can be seen from here; ``None`` where there is none."""
        if peer is None:
            return None
        lines = Path(f"/proc/self/fdinfo/{peer.pidfd}").read_text().splitlines()
        pid = int(next(line for line in lines if line.startswith("Pid:")).split()[1])
        return pid if pid > 0 else None


def _parts(fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Fields in parts that fit into one packet each, if each field does."""
    parts: list[dict[str, Any]] = [{}]
    size = 0
    for name, value in fields.items():
        length = len(json.dumps({name: value}))
        if parts[-1] and size + length > _FIELDS:
            parts.append({})
            size = 0
        parts[-1][name] = value
        size += length
    return parts


def _listener(host: str, port: int) -> socket.socket:
    """A listening socket, not blocking.

    Raises:
        OSError: the port is taken, or the host is no address of this machine.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(4096)
    except OSError:
        sock.close()
        raise
    return sock


def _own_socket(path: str) -> socket.socket:
    """The socket that managers come to; for this account only.

    Raises:
        OSError: the folder cannot be written.
    """
    Path(path).unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.umask(0o077)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sock.bind(path)
    sock.listen(16)
    sock.setblocking(False)
    return sock


def _stand_in(path: str) -> None:
    """Stand in for a holder that runs already, as long as it does; back at once where none does.

    A supervisor that was killed starts what it finds in its files. What it starts here is as good as the
    holder that has outlived it: told to end, it has that one end, and it ends with that one.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        if sock.connect_ex(path):
            return
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        pidfd = os.pidfd_open(pid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signal.pidfd_send_signal(pidfd, number))
    say(f"process {pid} is the holder: standing in for it")  # whoever reads it may tell it to end at once
    # A signal that comes just before the wait is handled after it, so that it is no long one.
    while not select.select([pidfd], [], [], 0.5)[0]:
        pass
    sys.exit(0)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One packet and its descriptors; ``b""`` when the other end is closed.

    Raises:
        BlockingIOError: there is none.
    """
    data, fds, flags, _ = socket.recv_fds(sock, MAX_PACKET, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    if flags & socket.MSG_TRUNC:
        close(fds)
        return b"?", []
    return data, fds


def close(fds: list[int]) -> None:
    """Close descriptors, and forget them."""
    while fds:
        os.close(fds.pop())


def own_code() -> str:
    """A digest of this program, the same as :func:`terminals.parts.own_code` says."""
    package = Path(__file__).parents[1]
    files = sorted([package / "__init__.py", *(package / "holder").glob("*.py")])
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(package.parent).as_posix()}"
        for path in files
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def say(text: str) -> None:
    """One line of log."""
    print(time.strftime("%Y-%m-%dT%H:%M:%S"), "holder:", text, file=sys.stderr, flush=True)


def main(argv: list[str]) -> NoReturn:
    """``SOCKET BUILD``: begin. ``MEMORY BUILD [--check]``: go on in the place of an earlier version."""
    try:
        if argv[0].isdigit():
            holder = Holder.resume(int(argv[0]), argv[1], check="--check" in argv)
        else:
            _stand_in(argv[0])
            holder = Holder(_own_socket(argv[0]), argv[1])
    except (OSError, LookupError, ValueError, TypeError) as error:
        sys.exit(f"holder: {' '.join(argv[:1])}: {error}")
    os.umask(0o022)  # the shells' own, whatever the services have
    os.chdir("/")
    holder.run()
    sys.exit(0)
