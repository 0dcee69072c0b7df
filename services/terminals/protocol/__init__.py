"""The rules that every side of a terminal connection follows. Nothing in here does I/O.

Servers, clients, load tests and checks import the same session ids, frames, resume
rules, circuit breaker and backoff, so that they cannot drift apart.
"""

PROTOCOL_VERSIONS = (3, 2, 1)
"""Versions of the WebSocket protocol that this package speaks, the best first.

Version 2 adds snapshots and watching (``docs/protocol.md``)."""

STABLE_AFTER = 2.0
"""Seconds an attach has to live before its loss stops counting towards a reconnection loop."""

HEARTBEAT = 15.0
"""Seconds between the pings of a server, unless it is configured otherwise."""

HEARTBEATS_MISSED = 3
"""Heartbeats without a word after which either side takes the connection for lost."""

LOOP_THRESHOLD = 3
"""Consecutive unstable attaches of one session that make a reconnection loop."""
