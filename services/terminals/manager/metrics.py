"""What the session manager counts, as metric families by Prometheus conventions.

The web process renders them; it needs to know none by name, so a newer manager's are shown too.
Times are seconds, sizes bytes; counters start at 0 with the manager.
"""

from __future__ import annotations

import bisect
import collections
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from terminals.control.answers import Family, Sample
from terminals.control.memory import proportional_set_size

if TYPE_CHECKING:
    from terminals.manager.server import Manager

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms' buckets, in seconds."""


class Counted(NamedTuple):
    """What a histogram has counted, as it is kept."""

    counts: list[int]
    total: float


@dataclass(slots=True)
class Histogram:
    """Counts of observations by bucket; the last bucket has no upper bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    @classmethod
    def of(cls, counted: Counted | None) -> Histogram:
        """One that goes on counting from there."""
        return cls(list(counted.counts), counted.total) if counted else cls()

    @property
    def as_counted(self) -> Counted:
        """For :meth:`of`."""
        return Counted(list(self.counts), self.total)

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def samples(self, name: str, labels: dict[str, str]) -> list[Sample]:
        """Cumulative buckets, count and sum."""
        result: list[Sample] = []
        so_far = 0
        for bound, count in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            so_far += count
            edge = "+Inf" if bound == float("inf") else repr(bound)
            result.append((f"{name}_bucket", {**labels, "le": edge}, so_far))
        return [*result, (f"{name}_count", labels, so_far), (f"{name}_sum", labels, self.total)]


def families(manager: Manager) -> list[Family]:
    """Every family."""
    parts = (_sessions, _traffic, _pool, _generations, _processes)
    return [family for part in parts for family in part(manager)]


def _family(
    name: str, kind: Literal["counter", "gauge"], text: str, samples: list[tuple[dict[str, str], float]]
) -> Family:
    sample = f"{name}_total" if kind == "counter" else name
    values = [(sample, labels, value) for labels, value in samples]
    return Family(name=name, type=kind, help=text, samples=values)


def _sessions(manager: Manager) -> list[Family]:
    registry = manager.registry
    states: collections.Counter[tuple[str, str]] = collections.Counter()
    breakers: collections.Counter[tuple[str, str]] = collections.Counter(
        ("address", breaker.state.value) for breaker in manager.attacher.newcomers
    )
    for session in registry.table.values():
        state = "ended" if not session.live else "attached" if session.attachment else "detached"
        states[session.profile, state] += 1
        breakers["session", session.breaker.state.value] += 1
    return [
        _family(
            "terminals_sessions",
            "gauge",
            "Sessions by profile and state.",
            [
                ({"profile": profile, "state": state}, states[profile, state])
                for profile in manager.config.profiles
                for state in ("attached", "detached", "ended")
            ],
        ),
        _family(
            "terminals_sessions_limit",
            "gauge",
            "Most sessions that may be live.",
            [({}, manager.config.max_sessions)],
        ),
        _family(
            "terminals_sessions_expired",
            "counter",
            "Sessions ended by a limit of time.",
            [({}, registry.expired)],
        ),
        _family(
            "terminals_watchers",
            "gauge",
            "Clients that look on without typing.",
            [({}, sum(len(session.watchers) for session in registry.live))],
        ),
        _family(
            "terminals_breakers",
            "gauge",
            "Circuit breakers of sessions, and of addresses that start new ones.",
            [
                ({"scope": scope, "state": state}, breakers[scope, state])
                for scope in ("session", "address")
                for state in ("closed", "open", "half-open")
            ],
        ),
        _family(
            "terminals_shell_starts",
            "counter",
            "Sessions by how their shell came about: started for them, or ready before.",
            [
                ({"source": "started"}, registry.started),
                ({"source": "ready"}, registry.found_ready),
            ],
        ),
        _family(
            "terminals_ready_sessions",
            "gauge",
            "Sessions kept ready, that nobody has asked for yet.",
            [({}, len(registry.ready))],
        ),
    ]


def _traffic(manager: Manager) -> list[Family]:
    registry, attacher = manager.registry, manager.attacher
    rings = [session.ring for session in registry.table.values()]
    return [
        _family(
            "terminals_output_bytes",
            "counter",
            "Bytes that shells have printed.",
            [({}, registry.output_bytes)],
        ),
        _family(
            "terminals_input_bytes",
            "counter",
            "Bytes typed, each counted once.",
            [({}, registry.input_bytes)],
        ),
        _family(
            "terminals_replayed_bytes",
            "counter",
            "Bytes sent again, or late, at attaches.",
            [({}, attacher.replayed)],
        ),
        _family(
            "terminals_skipped_bytes",
            "counter",
            "Bytes that clients came too late for.",
            [({}, attacher.skipped)],
        ),
        _family(
            "terminals_snapshots",
            "counter",
            "Screens painted for clients that came past the ring.",
            [({}, attacher.snapshots)],
        ),
        _family(
            "terminals_screens_followed",
            "gauge",
            "Sessions whose screen is kept for that.",
            [({}, registry.screens.followed)],
        ),
        _family(
            "terminals_recorded_sessions",
            "gauge",
            "Sessions that are recorded, or should be and are not (lost).",
            [({"state": state}, registry.recordings.count(state)) for state in ("on", "lost")],
        ),
        _family(
            "terminals_recordings_bytes",
            "gauge",
            "What all recordings take of the disk.",
            [({}, registry.recordings.casts.bytes)],
        ),
        _family(
            "terminals_ring_reserved_bytes",
            "gauge",
            "Size of all output rings.",
            [({}, sum(ring.capacity for ring in rings))],
        ),
        _family(
            "terminals_ring_used_bytes",
            "gauge",
            "Output held in the rings.",
            [({}, sum(ring.head - ring.tail for ring in rings))],
        ),
    ]


def _pool(manager: Manager) -> list[Family]:
    pool = manager.pool
    wait = "terminals_connection_wait_seconds"
    return [
        _family(
            "terminals_accepted_connections",
            "counter",
            "Connections by the listener that they came to; one that asks the web for a terminal is at both.",
            [({"listener": name}, pool.accepted[name]) for name in manager.config.listeners],
        ),
        _family(
            "terminals_passed_connections",
            "counter",
            "Connections by the processes that they were passed on to.",
            [
                ({"role": role, "generation": generation}, count)
                for (role, generation), count in sorted(pool.passed.items())
            ],
        ),
        _family(
            "terminals_dropped_connections",
            "counter",
            "Connections that nobody serves: too many waited, it waited too long, it could not be passed on.",
            [({"reason": reason}, count) for reason, count in pool.dropped.items()],
        ),
        _family(
            "terminals_waiting_connections",
            "gauge",
            "Accepted connections that wait for a process.",
            [({}, pool.waiting)],
        ),
        _family("terminals_waiting_connections_limit", "gauge", "Most that may wait.", [({}, pool.room)]),
        Family(
            name=wait,
            type="histogram",
            help="From a connection's arrival until a process has it.",
            samples=pool.waits.samples(wait, {}),
        ),
        _family(
            "terminals_process_connections",
            "gauge",
            "Open connections by process.",
            [
                (_process(peer.role, peer.generation, peer.host, peer.pid), peer.connections)
                for peer in pool.peers
            ],
        ),
    ]


def _generations(manager: Manager) -> list[Family]:
    known = list(manager.generations.table.values())
    labels = {entry.name: {"generation": entry.name, "build": entry.build} for entry in known}
    counts = {
        "attaches": "Attaches served.",
        "short_lived_attaches": "Attaches lost, unplanned, before they were stable.",
        "reconnection_loops": "Breakers opened: sessions lost again and again right after attaching.",
    }
    values = {
        "attaches": lambda entry: entry.attaches,
        "short_lived_attaches": lambda entry: entry.short_lived,
        "reconnection_loops": lambda entry: entry.loops,
    }
    result = [
        _family(
            f"terminals_{name}",
            "counter",
            text,
            [(labels[entry.name], values[name](entry)) for entry in known],
        )
        for name, text in counts.items()
    ]
    result.append(
        _family(
            "terminals_generation_weight",
            "gauge",
            "Share of new connections, in percent.",
            [(labels[entry.name], entry.weight) for entry in known],
        )
    )
    result.append(
        _family(
            "terminals_connections",
            "gauge",
            "Open connections.",
            [
                (labels[entry.name], sum(peer.connections for peer in manager.pool.of(entry.name)))
                for entry in known
            ],
        )
    )
    for name, text, histogram in (
        ("terminals_attach_seconds", "From a connection to its acknowledged attach.", "attach_seconds"),
        ("terminals_reconnect_gap_seconds", "How long a session was without a client.", "gap_seconds"),
    ):
        samples = [
            sample
            for entry in known
            for sample in getattr(entry, histogram).samples(name, labels[entry.name])
        ]
        result.append(Family(name=name, type="histogram", help=text, samples=samples))
    return result


def _process(role: str, generation: str, host: str, pid: int) -> dict[str, str]:
    # Containers of one image all have the same process ids: the host tells them apart.
    return {"role": role, "generation": generation, "host": host, "pid": str(pid)}


def _processes(manager: Manager) -> list[Family]:
    own = _process("manager", "", socket.gethostname(), manager.pid)
    samples = [(own, proportional_set_size(manager.pid))]
    samples += [
        (_process(peer.role, peer.generation, peer.host, peer.pid), peer.memory)
        for peer in manager.pool.peers
    ]
    handshakes = []
    if manager.tls is not None:
        pid = manager.tls.pid or 0
        samples.append((_process("tls", "", socket.gethostname(), pid), proportional_set_size(pid)))
        results: list[tuple[dict[str, str], float]] = [
            ({"result": result}, count) for result, count in manager.tls.results.items()
        ]
        text = "TLS handshakes by how they ended."
        handshakes = [_family("terminals_tls_handshakes", "counter", text, results)]
    return [
        *handshakes,
        _family("terminals_memory_bytes", "gauge", "Proportional set size by process.", list(samples)),
        _family(
            "terminals_start_time_seconds",
            "gauge",
            "When the session manager started.",
            [({"version": manager.version}, manager.started)],
        ),
    ]
