"""What the services say of themselves, and ending what a check that failed has left."""

from __future__ import annotations

import contextlib
import json
import ssl
import urllib.error
import urllib.request
from typing import Any, Final

from terminals.control.channel import ControlError, admin
from terminals.monitor.config import MonitorConfig

ANSWER_SECONDS: Final = 5.0
_KEPT: Final = (
    "name",
    "build",
    "weight",
    "connections",
    "attaches",
    "short_lived",
    "loops",
    "breaker_opened",
    "memory_bytes",
)


def ask(config: MonitorConfig, token: str) -> dict[str, Any]:
    """Status of the session manager (see ``terminals ctl status``).

    Raises:
        ControlError: it, or the web service in its place, did not answer.
    """
    if config.socket is not None:
        return admin(config.socket, "status", timeout=ANSWER_SECONDS)
    if config.web is None:
        raise ControlError("neither a control socket nor a web service is configured")
    url = f"{config.web.rstrip('/')}/api/status"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    context = ssl.create_default_context(cafile=config.ca) if url.startswith("https:") else None
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=context) as answer:  # noqa: S310
            found = json.loads(answer.read())
    except (OSError, ValueError) as error:
        raise ControlError(f"{url}: {error}") from None
    if not isinstance(found, dict):
        raise ControlError(f"{url}: not a status")
    return found


def tell(config: MonitorConfig, status: dict[str, Any], about: dict[str, Any]) -> None:
    """Let the session manager of this host know which monitor watches over it, if by its status it does not.

    Raises:
        ControlError: it did not answer.
    """
    # One of an earlier build has no such thing in its status, and does not want to know.
    if config.socket is not None and status.get("monitor", about) != about:
        admin(config.socket, "monitored", timeout=ANSWER_SECONDS, monitor=about)


def figures(status: dict[str, Any] | None, error: str) -> dict[str, Any]:
    """What the record says of a status, or of why there is none."""
    if status is not None:
        try:
            generations = [
                # An earlier manager counts no breakers; each of its loops opened one.
                {
                    key: entry.get(key, entry["loops"]) if key == "breaker_opened" else entry[key]
                    for key in _KEPT
                }
                for entry in status["generations"]
            ]
            return {
                "sessions": int(status["sessions"]["live"]),
                "connections": sum(entry["connections"] for entry in generations),
                "generations": generations,
                "memory_bytes": max((entry["memory_bytes"] for entry in generations), default=0),
                "error": "",
            }
        except (KeyError, TypeError, AttributeError) as wrong:
            error = f"a status that makes no sense: {wrong!r}"
    line = " ".join(error.split())[:300]
    return {"sessions": None, "connections": None, "generations": None, "memory_bytes": None, "error": line}


def begun(status: dict[str, Any] | None) -> bool:
    """Whether anybody has been served yet: before a first shift, nobody is to be, and nothing is down."""
    generations = (status or {}).get("generations")
    if generations is None:
        return True
    return any(
        entry.get("weight") or entry.get("attaches") or entry.get("state") == "retired"
        for entry in generations
    )


def sweep(config: MonitorConfig, mark: str, timeout: float = ANSWER_SECONDS) -> None:
    """End the live sessions with ``mark``: what a check that was killed, or lost the service, has left."""
    if config.socket is None:
        return
    with contextlib.suppress(ControlError, KeyError, TypeError):
        for session in admin(config.socket, "sessions", timeout=timeout)["items"]:
            if session["live"] and mark in session["id"]:
                admin(config.socket, "kill", timeout=timeout, session=session["id"])
