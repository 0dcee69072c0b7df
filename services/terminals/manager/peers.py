"""Processes connected to the control socket."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from terminals.control import packets
from terminals.control.channel import Channel
from terminals.control.memory import proportional_set_size

MAX_ERROR: Final = 2000
SILENT_ROUNDS: Final = 5
"""Seconds at the least: two reports in a row are missing, and half the time until the third is over."""


@dataclass(slots=True, eq=False)
class Peer:
    """A connected process. ``role`` is empty until it has said hello; operators never do."""

    channel: Channel | None = None
    role: str = ""
    generation: str = ""
    pid: int = 0
    """As it knows itself: in a container of its own, another process here has that number."""
    protocol: int = 1
    """The best version of the WebSocket protocol that it speaks."""
    host: str = ""
    reported: int | None = None
    """Memory in bytes by its latest report; a process of an older build makes none."""
    heard: float = 0.0
    """Monotonic seconds of its hello or latest report."""
    missed: int = 0
    """Rounds of the manager's housekeeping since it said anything."""
    connections: int = 0
    handles: dict[int, str] = field(default_factory=dict)
    """Attachments it serves: handle to session id."""

    @property
    def name(self) -> str:
        """For the log."""
        return f"{self.role} {self.pid} of {self.generation}"

    @property
    def connected(self) -> bool:
        """Whether it can still be answered."""
        return self.channel is not None and not self.channel.closed

    @property
    def silent(self) -> bool:
        """Whether it hangs, as it seems: nobody is to be led to it while there is somebody else.

        Counted in rounds of the manager and not by a clock: where the whole machine stands still or is
        slow, so is the one who counts. A process of an older build that never reports is never silent.
        """
        return self.reported is not None and self.missed > SILENT_ROUNDS

    @property
    def memory(self) -> int:
        """Proportional set size in bytes; 0 when it is not known."""
        return proportional_set_size(self.pid) if self.reported is None else self.reported

    def report(self, packet: dict[str, Any]) -> None:
        """Take note of what the process says of itself, in its hello or later."""
        self.heard = time.monotonic()
        if "memory" in packet:
            self.reported = max(0, int(packet["memory"]))

    def reply(self, request: dict[str, Any], fds: tuple[int, ...] = (), /, **fields: Any) -> None:
        """Answer a request.

        Raises:
            OSError: as :meth:`Channel.send <terminals.control.channel.Channel.send>`.
        """
        if "error" in fields:
            fields["error"] = fields["error"][:MAX_ERROR]  # it may repeat what was asked
        message = {"type": "reply", "req": request.get("req", 0), **fields}
        if fds or self.channel is None:
            self.send(message, fds)
            return
        for data in packets.encode_all(message):
            self.channel.send_raw(data)

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send a packet."""
        if self.channel is not None:
            self.channel.send(message, fds)
