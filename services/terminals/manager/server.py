"""The session manager process: listeners in front, workers behind, shells in between."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from terminals.background import Background, Troubles
from terminals.configfile import ConfigError
from terminals.control import CONTROL_VERSION, packets
from terminals.control.answers import MonitorInfo, Welcome
from terminals.control.channel import Channel
from terminals.control.descriptors import LAST, scarce
from terminals.control.framing import BadPacket, pack, reader
from terminals.manager import admin
from terminals.manager.attach import Attacher
from terminals.manager.certificate import CertificateError
from terminals.manager.cluster import Cluster, Count
from terminals.manager.config import ManagerConfig
from terminals.manager.files import Files
from terminals.manager.generations import Generation, Generations
from terminals.manager.holding import HolderLink, Item
from terminals.manager.homes import PeerRules
from terminals.manager.lastscreens import LastScreens
from terminals.manager.links import Links
from terminals.manager.peers import Peer
from terminals.manager.pool import Pool
from terminals.manager.registry import Registry
from terminals.manager.revocations import Revocations
from terminals.manager.session import Session
from terminals.manager.tls import TlsFront
from terminals.parts import own_code
from terminals.protocol import PROTOCOL_VERSIONS
from terminals.protocol.ids import tag_of
from terminals.protocol.resume import SequenceGap
from terminals.tickets import NAMELESS

log = logging.getLogger("terminals.manager")

RETURN_SECONDS = 4.0
"""So long the workers of the manager before are waited for, which first let go of their clients. Until all
are back, connections wait: a session would else go to a generation that is not its own."""
TICK = 1.0
FULL_SECONDS = 0.05
"""Time until new connections are looked at again while no more TLS handshakes can be in progress."""
FULL = "one is refused: no more files can be open"
GENERATIONS = "generations"
NEWCOMERS = "newcomers"
MONITOR = "monitor"
PEERS = "listener of peers"
_LISTENER = "listener/"
"""Keys at the holder."""
_PEERS = "peers"
"""The field of the generations that says who is there."""
_read_peers: Callable[[bytes], list[tuple[str, str]]] = reader(list[tuple[str, str]])
_read_monitor = reader(MonitorInfo)
MAX_STRAYS = 2000
"""Sessions of ids that do not name this host that others are told of: one packet."""
MAX_MONITOR = 1 << 15
"""Characters that a monitor may say of itself: one field at the holder."""


def _monitor(fields: Mapping[str, msgspec.Raw]) -> MonitorInfo | None:
    """What a monitor has said, as it is kept."""
    try:
        return _read_monitor(pack(fields)) if fields else None
    except BadPacket:
        return None  # one of an earlier build has said less, and says it again


def _taken(what: str, host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"{what}: {host}:{port}: {error.strerror}; free the port or configure another")


def _socket(fd: int) -> socket.socket:
    """What a descriptor is, which is ours to close.

    Raises:
        OSError: no socket.
    """
    try:
        return socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        raise


class Manager:
    """Holds everything that a release must not interrupt."""

    def __init__(
        self, config: ManagerConfig, *, version: str, build: str = "", first: str | None = None
    ) -> None:
        """Look at what can be wrong, and touch nothing yet: another manager may be at work.

        ``first``: the generation that serves, where there has been none.

        Raises:
            ConfigError: the certificate cannot be used, who was revoked is not known, or its tag is another.
        """
        self.config = config
        config.homes.check(config.state_dir)
        # By name: the pool is there once it is known who serves.
        self.tls = TlsFront(config.tls, lambda *arrived: self.pool.arrived(*arrived)) if config.tls else None
        if config.tls:
            try:
                config.tls.context()
            except CertificateError as error:
                raise ConfigError(f"tls: {error}") from None
        self.version = version
        self.build = build
        self.code = own_code("manager")
        self.pid = os.getpid()
        self.started = time.time()
        self._first = first
        self.link = HolderLink(self._exited, self._leave, self._holder_lost)
        self.cluster = Cluster(config.homes, config.state_dir, config.socket)
        self.registry: Registry
        self.last_screens: LastScreens
        self.revocations = Revocations(config.state_dir / "revoked.json")
        self.links = Links(config.state_dir / "links.json")
        self.generations: Generations
        self.attacher: Attacher
        self.files: Files
        self.pool: Pool
        self.listeners: dict[str, socket.socket] = {}
        self.peers_port: int | None = None
        self._background = Background(log)
        self.moves: dict[asyncio.Task[Any], Peer] = {}
        """Those that go on, and who waits for them."""
        self.monitor: MonitorInfo | None = None
        """What the monitor that watches over this host has said of itself; ``None``: there is none."""
        self._troubles = Troubles(log)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Take over what there is, and serve until SIGTERM or SIGINT, or until another manager takes over.

        Raises:
            ConfigError: a port is taken, or a folder cannot be written.
            ControlError: there is no holder.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        items = await self.link.take_over(str(self.config.holder_socket))
        self.config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._only_one()
        self.config.homes.settle(self.config.state_dir)
        self.cluster.begin(self._count, self._strays)
        table = items.pop(GENERATIONS, Item()).fields
        path = self.config.state_dir / "generations.json"
        try:
            self.generations = Generations(path, table, self._keep)
            self.pool = Pool(self.generations, self._troubles)
            self._expect(_read_peers(bytes(table[_PEERS])) if _PEERS in table else [])
        except BadPacket as error:
            raise ConfigError(f"{path}, or what the holder has kept in its place: {error}") from None
        self.revocations.read()  # the manager before may have written them since
        self.links.read()
        if self._first is not None:
            self.generations.begin_with(self._first)
        self.registry = Registry(self.config, self.link)
        newcomers = items.pop(NEWCOMERS, Item()).fields
        self.monitor = _monitor(items.pop(MONITOR, Item()).fields)
        alive, ended = self.registry.restore(items)
        self.attacher = Attacher(
            self.registry, self.generations, self.config, self.cluster, self._keep_newcomers, newcomers
        )
        self.files = self.attacher.files = Files(
            self.config, self.link, self.registry.table.get, self._typed_by
        )
        self.files.start(items)
        self.registry.environment = self.files.environment
        self.registry.start()
        rules = self.config.homes.rules
        self.last_screens = LastScreens(
            self.registry.screens, lambda: self.registry.live, self.cluster, rules.screens if rules else 0.0
        )
        self.cluster.on_missing = self.last_screens.missing
        if self.tls is not None:
            self.tls.start()
            loop.add_signal_handler(signal.SIGHUP, self.tls.reload)
        await self._listen(items)
        control = self._control_socket()
        loop.add_reader(control.fileno(), self._accept_control, control)
        ticker = self._background.start(self._tick(), "housekeeping")
        log.info("ready: %s; %d sessions go on, %d ended ones are kept", self.ports(), alive, ended)
        await self._stop.wait()
        ticker.cancel()
        self._end(control)
        os.close(lock)

    def _end(self, control: socket.socket) -> None:
        """Stop at once: the next manager waits for it."""
        loop = asyncio.get_running_loop()
        for sock in (*self.listeners.values(), control):
            loop.remove_reader(sock.fileno())
        for session in (*self.registry.live, *self.registry.ready):
            session.stop()
        self.generations.keep_counters()
        self.files.close()
        self.cluster.close()
        self.link.close()
        for peer in list(self.pool.peers):
            if peer.channel is not None:
                peer.channel.close()
        if self.tls is not None:
            self.tls.close()
        self.registry.close()

    def _exited(self, key: str, status: int) -> None:
        self.registry.exited(key, status)
        self.files.exited(key)

    def _leave(self) -> None:
        log.info("another session manager takes over")
        self._stop.set()

    def _holder_lost(self) -> None:
        """Its shells are ours as long as their terminals are open here; but nobody gets a new one."""
        log.error(
            "the holder is gone: no shell can be started, and this manager's end will be all shells' end"
        )
        self.registry.orphan()

    def _keep(self, fields: dict[str, object]) -> None:
        self.link.put(GENERATIONS, fields)

    def _keep_newcomers(self, fields: dict[str, object]) -> None:
        self.link.put(NEWCOMERS, fields)

    def monitored(self, said: MonitorInfo | None) -> None:
        """Remember which monitor watches over this host, or that none does any more.

        Raises:
            ValueError: its description is too long.
        """
        if said is not None and len(pack(said)) > MAX_MONITOR:
            raise ValueError("a monitor's description is too long")
        if said == self.monitor:
            return
        self.monitor = said
        if said is None:
            self.link.drop(MONITOR)
        else:
            self.link.put(MONITOR, msgspec.structs.asdict(said))

    async def _listen(self, items: dict[str, Item]) -> None:
        loop = asyncio.get_running_loop()
        for name, listener in self.config.listeners.items():
            what, key = f"listener {name}", _LISTENER + name
            self.listeners[name] = sock = await self._listener(what, key, listener.host, listener.port)
            loop.add_reader(sock.fileno(), self._accept, name, sock)
        kept = {_LISTENER + name for name in self.listeners}
        if rules := self.config.homes.rules:
            peers = await self._peers_listener(rules)
            if not rules.own_socket:
                kept.add(PEERS)
            self.peers_port = peers.getsockname()[1]
            self.cluster.start(peers)
        for key, item in items.items():
            # A port that is configured no more would go on to take connections, and answer none.
            item.close()
            if key.startswith((_LISTENER, PEERS)) and key not in kept:
                self.link.drop(key)

    async def _listener(self, what: str, key: str, host: str, port: int) -> socket.socket:
        try:
            return await self.link.listen(key, host, port)
        except OSError as error:
            raise _taken(what, host, port, error) from None

    async def _peers_listener(self, rules: PeerRules) -> socket.socket:
        if not rules.own_socket:
            return await self._listener("peers", PEERS, rules.host, rules.port)
        family = socket.AF_INET6 if ":" in rules.host else socket.AF_INET
        try:
            return socket.create_server((rules.host, rules.port), family=family)
        except OSError as error:
            raise _taken("peers", rules.host, rules.port, error) from None

    def _count(self) -> Count:
        """What other hosts are told of this one."""
        live = len(self.registry.live)
        return Count(live, max(0, self.config.max_sessions - live), self.build)

    def _strays(self) -> list[str]:
        own = self.cluster.tag
        return [session.id for session in self.registry.live if tag_of(session.id) != own][:MAX_STRAYS]

    def ports(self) -> dict[str, int]:
        """Listener names and their ports."""
        return {name: sock.getsockname()[1] for name, sock in self.listeners.items()}

    def retire(self, generation: Generation) -> None:
        """Tell a generation's processes to stop; their clients are asked to come back."""
        self.generations.retire(generation)
        for peer in self.pool.of(generation.name):
            peer.send(packets.Quit())

    def revoke(self, user: str) -> int:
        """Have nobody accept the tickets and links that a user has had until now; returns until when, in Unix
        ms. :data:`~terminals.tickets.NAMELESS` are those who have come with the token.

        Raises:
            ValueError: nobody can have a ticket by that name.
            OSError: that cannot be kept.
        """
        before = self.revocations.revoke(user)
        links = self.links.by("" if user == NAMELESS else user)
        self._tell({user: before, **self.links.revoke(links)})
        return before

    def unlink(self, name: str) -> None:
        """Have nobody accept a link any more.

        Raises:
            ValueError: there is none of that id.
            OSError: that cannot be kept.
        """
        self._tell(self.links.revoke([name]))

    def _tell(self, revoked: Mapping[str, int]) -> None:
        for peer in list(self.pool.peers):  # one that is gone by now is taken out of it
            for some in packets.revoked(revoked):
                peer.send(some)

    def end_moves(self, ordered_by: Peer | None = None) -> None:
        """Let nobody be moved any more by what was ordered before, or by one peer."""
        for task, peer in self.moves.items():
            if ordered_by in (None, peer):
                task.cancel()

    def _expect(self, peers: list[tuple[str, str]]) -> None:
        """Wait for those that the manager before has had, for a while."""
        self.pool.expected = set(peers)
        asyncio.get_running_loop().call_later(RETURN_SECONDS, self._expect_nobody)

    def _expect_nobody(self) -> None:
        self.pool.expected.clear()
        self.pool.flush()

    def _peers_changed(self) -> None:
        self._keep({_PEERS: sorted({(peer.role, peer.generation) for peer in self.pool.peers})})

    # --- connections from outside -------------------------------------------------

    def _accept(self, name: str, listener: socket.socket) -> None:
        for _ in range(64):
            if self.tls is not None and not self.tls.room():
                self._look_away(FULL_SECONDS, listener, self._accept, name, listener)
                return
            try:
                conn, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._troubles.say(f"accept on {name}", str(error))
                self._look_away(TICK, listener, self._accept, name, listener)
                return
            if scarce(conn.fileno(), LAST):
                conn.close()
                self._troubles.say(f"accept on {name}", FULL)
                self._look_away(FULL_SECONDS, listener, self._accept, name, listener)
                return
            if self.tls is None:
                self.pool.arrived(name, conn, str(address[0]))
                continue
            try:
                self.tls.take(name, conn, str(address[0]))
            except OSError as error:
                self._troubles.say(f"connections to {name}", f"one is dropped: {error}")

    def _look_away(
        self, seconds: float, listener: socket.socket, accept: Callable[..., None], *arguments: Any
    ) -> None:
        """Do not accept for a while: what waits in the kernel's queue keeps the socket readable, and asking
        again at once would burn a core."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener.fileno())
        loop.call_later(seconds, loop.add_reader, listener.fileno(), accept, *arguments)

    # --- processes on the control socket ------------------------------------------

    def _accept_control(self, control: socket.socket) -> None:
        try:
            sock, _ = control.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._troubles.say("accept on the control socket", str(error))
            self._look_away(TICK, control, self._accept_control, control)
            return
        _, uid, _ = struct.unpack(
            "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        )
        if uid not in (os.getuid(), 0):
            sock.close()
            return
        if scarce(sock.fileno(), LAST):
            sock.close()
            self._troubles.say("accept on the control socket", FULL)
            return
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        peer = Peer()
        peer.channel = Channel(
            sock,
            packets.read_request,
            partial(self._packet, peer),
            lambda: self._lost(peer),
            typed=True,
        )

    def _packet(
        self, peer: Peer, packet: packets.Hot | packets.ToManager | packets.Malformed, fds: list[int]
    ) -> None:
        if peer.missed:
            self._heard(peer)
        try:
            if isinstance(packet, packets.Hot):
                self._hot(peer, packet)
            elif isinstance(packet, packets.Malformed):
                raise ValueError(packet.error)
            elif isinstance(packet, packets.Handoff | packets.Passed):
                if (
                    not fds
                ):  # its descriptor got lost here, and with it the connection: the client comes again
                    self._troubles.say("connections handed over", FULL)
                elif isinstance(packet, packets.Passed):
                    self._passed(packet, fds.pop())
                else:
                    self._handoff(packet, fds.pop())
            else:
                self._message(peer, packet)
        except Exception as error:
            # Whatever a process sends is its own fault, and no reason to disturb anybody else.
            log.warning("bad packet from %s %s: %r", peer.role or "operator", peer.pid, error)
            peer.fail(0 if isinstance(packet, packets.Hot) else packet.req, f"bad packet: {error}")
        finally:
            for fd in fds:
                os.close(fd)

    def _heard(self, peer: Peer) -> None:
        peer.missed = 0
        self._troubles.over(peer.name)

    def _typed_by(self, peer: Peer, handle: int) -> Session | None:
        """The session that this attachment works in; a watcher's word changes nothing."""
        session = self.registry.table.get(peer.handles.get(handle, ""))
        if session is None or session.attachment is None or session.attachment.handle != handle:
            return None
        return session

    def _hot(self, peer: Peer, packet: packets.Hot) -> None:
        session = self._typed_by(peer, packet.handle)
        if session is None or session.attachment is None:
            return
        if packet.kind == b"A":
            session.acknowledge(packet.seq)
            return
        try:
            session.input(session.attachment.client, packet.seq, packet.payload)
        except (SequenceGap, BufferError) as error:
            peer.send(packets.Refuse(handle=packet.handle, message=str(error)))

    def _message(self, peer: Peer, packet: packets.ToManager) -> None:
        if isinstance(packet, packets.Hello):
            self._hello(peer, packet)
            return
        if isinstance(packet, packets.Command):
            name = type(packet).__name__.lower()
            self._background.start(admin.run(self, peer, packet), f"the command {name}")
            return
        if not peer.role:
            raise ValueError(f"{type(packet).__name__.lower()} before hello")
        if isinstance(packet, packets.Files):
            self.files.request(peer, packet)
            return
        match packet:
            case packets.Attach():
                self.attacher.attach(peer, packet, route_to=self._route(peer, packet))
            case packets.Detach(handle=handle, planned=planned):
                self.attacher.detach(peer, handle, planned=planned)
            case packets.Closed():
                peer.connections = max(0, peer.connections - 1)
            case packets.Report(memory=memory):
                peer.report(memory)
            case packets.Resize(handle=handle, cols=cols, rows=rows):
                if session := self._typed_by(peer, handle):
                    session.resize(cols, rows)
                    self.registry.resized(session)
            case packets.End(handle=handle):
                if session := self._typed_by(peer, handle):
                    session.kill()
            case packets.Repaint():
                self.attacher.repaint(peer, packet)

    def _hello(self, peer: Peer, packet: packets.Hello) -> None:
        if packet.version != CONTROL_VERSION:
            text = f"this manager speaks control version {CONTROL_VERSION}, not {packet.version}"
            peer.fail(packet.req, text)
            return
        if peer.role:
            raise ValueError("it has said hello before")
        peer.role, peer.pid = packet.role, packet.pid
        peer.generation, peer.host = packet.generation, packet.host
        peer.protocol = packet.protocol
        peer.reads_on, peer.sends_on = packet.reads_on, packet.sends_on
        peer.report(packet.memory)
        generation = self.generations.get(peer.generation, packet.build)
        if generation.retired:
            peer.fail(packet.req, f"generation {generation.name} is retired")
            return
        self.pool.peers.append(peer)
        self.pool.expected.discard((peer.role, peer.generation))
        self._peers_changed()
        welcome = Welcome(
            version=CONTROL_VERSION,
            protocol=PROTOCOL_VERSIONS[0],
            listeners=self.ports(),
            front=self.config.front,
            reports=True,
            passes=True,
        )
        peer.reply(packet.req, welcome)
        # Before its first connection.
        for some in packets.revoked({**self.revocations.table, **self.links.revocations()}):
            peer.send(some)
        log.info("%s connected", peer.name)
        self.pool.flush()

    def _route(self, peer: Peer, packet: packets.Attach) -> str | None:
        """The generation that should serve this attach when it is not the asking worker's."""
        session = self.attacher.session_of(packet.session)
        if session is None or not session.live or not packet.routable:
            return None
        if session.generation == peer.generation:
            return None
        generation = self.generations.table.get(session.generation)
        if generation is None or generation.retired or generation.weight == 0:
            return None
        workers = list(self.pool.serving(generation.name, "worker"))
        if packet.watch and any(p.protocol < 2 for p in workers):
            return None  # an older worker would take the session over
        if packet.everyone and packet.user and not all(p.reads_on for p in workers):
            return None  # an older worker knows no roles
        return generation.name if workers else None

    def _passed(self, packet: packets.Passed, fd: int) -> None:
        conn = _socket(fd)
        if packet.listener == "web" or packet.listener not in self.listeners:
            conn.close()
            raise ValueError(f"there are no terminals at {packet.listener!r}")
        self.pool.arrived(packet.listener, conn, packet.address, packet.head)

    def _handoff(self, packet: packets.Handoff, fd: int) -> None:
        with _socket(fd) as conn:
            if any(p.role == "worker" for p in self.pool.of(packet.to)):
                message = packets.Conn(
                    listener=packet.listener,
                    address=packet.address,
                    hello=packet.hello,
                    attach=packet.attach,
                    since=packet.since,
                    rest=packet.rest,
                )
                self.pool.hand(packet.to, "worker", conn, message)

    def _lost(self, peer: Peer) -> None:
        if peer in self.pool.peers:
            self.pool.peers.remove(peer)
            self._peers_changed()
            self._troubles.forget(peer.name)
            log.info("%s is gone", peer.name)
        self.end_moves(ordered_by=peer)
        for handle in list(peer.handles):
            self.attacher.detach(peer, handle, planned=False)

    # --- housekeeping ---------------------------------------------------------------

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        parts: dict[str, Callable[[], None]] = {
            "rollback windows": self._end_windows,
            "generations that have ended": self._forget_ended,
            "processes that hang": self.pool.look,
            "the file of generations": self._save_again,
            "counters": self.generations.keep_counters,
            "limits of sessions": lambda: self.registry.enforce_limits(loop.time()),
            "the keeper of screens": lambda: self.registry.screens.check(loop.time()),
            "recordings": self.registry.recordings.check,
            "waiting connections": self.pool.flush,
            "the holder": self._make_room,
            "files": self.files.look,
            "other hosts": self.cluster.look,
            "last screens": self.last_screens.look,
        }
        while True:
            await asyncio.sleep(TICK)
            for name, part in parts.items():
                # Each on its own: what one stumbles over each second must not keep the others from theirs.
                try:
                    part()
                except Exception as error:
                    self._troubles.say(name, repr(error), error)
                else:
                    self._troubles.over(name)

    def _make_room(self) -> None:
        """End, once the last shell of a holder that is gone has ended: the next manager finds the next."""
        if self.link.lost and not self.registry.live:
            log.info("the holder is gone, and so are its shells: another manager has to find the next one")
            self._stop.set()

    def _end_windows(self) -> None:
        now = time.time()
        for generation in list(self.generations.table.values()):
            due = generation.retire_at is not None and generation.retire_at <= now
            if due and not generation.retired and not generation.weight:
                log.info("rollback window of %s is over: stopping it", generation.name)
                self.retire(generation)

    def _forget_ended(self) -> None:
        used = {peer.generation for peer in self.pool.peers}
        for session in self.registry.table.values():
            used |= {session.generation, session.origin, session.served_by}
        self.generations.forget(used)

    def _save_again(self) -> None:
        if self.generations.unsaved:
            self.generations.save()

    def _only_one(self) -> int:
        """Hold a lock of the state folder for life: two managers would write the same rings."""
        path = self.config.state_dir / "manager.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise ConfigError(
                f"{self.config.state_dir}: another session manager runs on this folder"
            ) from None
        return fd

    def _control_socket(self) -> socket.socket:
        path = self.config.socket
        sock = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        old = os.umask(0o077)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # a dead manager's: the lock says that no other lives
            sock.bind(str(path))
        except OSError as error:
            raise ConfigError(f"{path}: cannot make the control socket: {error.strerror or error}") from None
        finally:
            os.umask(old)
        sock.listen(256)
        return sock
