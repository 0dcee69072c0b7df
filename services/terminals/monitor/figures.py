"""What the services say of themselves, and ending what a check that failed has left."""

from __future__ import annotations

import contextlib
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, Final

from terminals.control import asking, packets
from terminals.control.answers import MonitorInfo, Sessions, Status
from terminals.control.asking import ControlError
from terminals.control.framing import BadPacket, reader
from terminals.monitor.config import MonitorConfig

ANSWER_SECONDS: Final = 5.0
_read_status = reader(Status)


def ask(config: MonitorConfig, token: str) -> Status:
    """Status of the session manager (see ``terminals ctl status``).

    Raises:
        ControlError: it, or the web service in its place, did not answer, or nothing that makes sense.
    """
    if config.socket is not None:
        return asking.ask(config.socket, packets.Status(), Status, timeout=ANSWER_SECONDS)
    if config.web is None:
        raise ControlError("neither a control socket nor a web service is configured")
    url = f"{config.web.rstrip('/')}/api/status"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    context = ssl.create_default_context(cafile=config.ca) if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=context) as answer:  # noqa: S310
            return _read_status(answer.read())
    except BadPacket as error:
        raise ControlError(f"{url}: a status that makes no sense: {error}") from None
    except (OSError, ValueError, HTTPException) as error:
        raise ControlError(f"{url}: {str(error) or repr(error)}") from None


def tell(config: MonitorConfig, status: Status, about: MonitorInfo) -> None:
    """Let the session manager of this host know which monitor watches over it, if by its status it does not.

    Raises:
        ControlError: it did not answer.
    """
    if config.socket is not None and status.monitor != about:
        asking.tell(config.socket, packets.Monitored(monitor=about), timeout=ANSWER_SECONDS)


def figures(status: Status | None, error: str) -> dict[str, Any]:
    """What the record says of a status, or of why there is none."""
    if status is None:
        line = " ".join(error.split())[:300]
        nothing = dict.fromkeys(("sessions", "connections", "generations", "memory_bytes"))
        return {**nothing, "error": line}
    return {
        "sessions": status.sessions.live,
        "connections": sum(entry.connections for entry in status.generations),
        "generations": [
            {
                "name": entry.name,
                "build": entry.build,
                "weight": entry.weight,
                "connections": entry.connections,
                "attaches": entry.attaches,
                "short_lived": entry.short_lived,
                "loops": entry.loops,
                # An earlier manager counts no breakers; each of its loops opened one.
                "breaker_opened": entry.loops if entry.breaker_opened is None else entry.breaker_opened,
                "memory_bytes": entry.memory_bytes,
            }
            for entry in status.generations
        ],
        "memory_bytes": max((entry.memory_bytes for entry in status.generations), default=0),
        "error": "",
    }


def begun(status: Status | None) -> bool:
    """Whether anybody has been served yet: before a first shift, nobody is to be, and nothing is down."""
    if status is None:
        return True
    return any(entry.weight or entry.attaches or entry.state == "retired" for entry in status.generations)


def sweep(config: MonitorConfig, mark: str, timeout: float = ANSWER_SECONDS) -> None:
    """End the live sessions with ``mark``: what a check that was killed, or lost the service, has left."""
    if config.socket is None:
        return
    with contextlib.suppress(ControlError):
        for session in asking.ask(config.socket, packets.Sessions(), Sessions, timeout=timeout).items:
            if session.live and mark in session.id:
                asking.tell(config.socket, packets.Kill(session=session.id), timeout=timeout)
