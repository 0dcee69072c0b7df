"""Whether the services that run on this host (in this container) do their work, as the manager sees it."""

from __future__ import annotations

import socket

from terminals.control import packets
from terminals.control.answers import Peers, Status
from terminals.control.channel import REPORT_SECONDS, ControlError, ask

SILENT_SECONDS = 5 * REPORT_SECONDS
"""A process that has not reported for so long hangs."""
ANSWER_SECONDS = 4.0


class Unhealthy(Exception):
    """What is wrong, in one line."""


def check(path: str, host: str | None = None) -> str:
    """Ask the manager at ``path`` about the processes of ``host``, by default this one.

    The manager is healthy when it answers; a worker or web process when the manager has heard
    from it lately. Returns what was found.

    Raises:
        Unhealthy: the manager does not answer, knows nobody of this host, or one hangs.
    """
    host = host or socket.gethostname()
    try:
        manager = ask(path, packets.Status(), Status, timeout=ANSWER_SECONDS).manager
        peers = [
            peer
            for peer in ask(path, packets.Peers(), Peers, timeout=ANSWER_SECONDS).items
            if peer.host == host
        ]
    except ControlError as error:
        raise Unhealthy(str(error)) from None
    for peer in peers:
        if peer.silent is not None and peer.silent > SILENT_SECONDS:
            raise Unhealthy(
                f"{peer.role} {peer.pid} of {peer.generation} has been silent for {peer.silent} s"
            )
    found = [f"{peer.role} of {peer.generation}" for peer in peers]
    if manager.host == host:
        found.insert(0, "session manager")
    if not found:
        raise Unhealthy(f"the session manager knows no process of host {host}")
    return ", ".join(found)
