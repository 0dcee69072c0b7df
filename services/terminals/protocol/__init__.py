"""The rules that every side of a terminal connection follows. Nothing in here does I/O.

Servers, clients, load tests and checks import the same session ids, frames, resume
rules, circuit breaker and backoff, so that they cannot drift apart.
"""

PROTOCOL_VERSION = 1
"""Version of the WebSocket protocol that this package speaks."""

STABLE_AFTER = 2.0
"""Seconds an attach has to live before its loss stops counting towards a reconnection loop."""

LOOP_THRESHOLD = 3
"""Consecutive unstable attaches of one session that make a reconnection loop."""
