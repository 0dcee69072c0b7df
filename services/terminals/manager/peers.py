"""Processes connected to the control socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from terminals.control.channel import Channel


@dataclass(slots=True, eq=False)
class Peer:
    """A connected process. ``role`` is empty until it has said hello; operators never do."""

    channel: Channel | None = None
    role: str = ""
    generation: str = ""
    pid: int = 0
    connections: int = 0
    handles: dict[int, str] = field(default_factory=dict)
    """Attachments it serves: handle to session id."""

    def reply(self, request: dict[str, Any], fds: tuple[int, ...] = (), /, **fields: Any) -> None:
        """Answer a request."""
        self.send({"type": "reply", "req": request.get("req", 0), **fields}, fds)

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send a packet."""
        if self.channel is not None:
            self.channel.send(message, fds)
