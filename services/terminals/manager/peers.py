"""Processes connected to the control socket."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from terminals.control import framing, packets
from terminals.control.channel import Channel
from terminals.control.memory import proportional_set_size

MAX_ERROR: Final = 2000
SILENT_ROUNDS: Final = 5
"""Seconds at the least: two reports in a row are missing, and half the time until the third is over."""


@dataclass(slots=True, eq=False)
class Peer:
    """A connected process. ``role`` is empty until it has said hello; operators never do."""

    channel: Channel[Any] | None = None
    role: str = ""
    generation: str = ""
    pid: int = 0
    """As it knows itself: in a container of its own, another process here has that number."""
    protocol: int = 1
    """The best version of the WebSocket protocol that it speaks."""
    reads_on: bool = False
    sends_on: bool = False
    """Whether it serves a connection of which a web process has read the request."""
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

    def report(self, memory: int | None) -> None:
        """Take note of what the process says of itself, in its hello or later."""
        self.heard = time.monotonic()
        if memory is not None:
            self.reported = max(0, memory)

    def reply(self, req: int, fields: msgspec.Struct | None = None, fds: tuple[int, ...] = ()) -> None:
        """Answer a request, with a class of :mod:`terminals.control.answers`.

        Raises:
            OSError: as :meth:`Channel.send <terminals.control.channel.Channel.send>`.
        """
        if self.channel is None:
            return
        for data in framing.parts(packets.reply(req, fields)):
            self.channel.send_raw(data, fds)

    def fail(self, req: int, error: str) -> None:
        """Answer a request by why it is not done."""
        if self.channel is not None:
            self.channel.send_raw(packets.refusal(req, error[:MAX_ERROR]))  # it may repeat what was asked

    def send(self, packet: framing.Packet, fds: tuple[int, ...] = ()) -> None:
        """Send a packet."""
        if self.channel is not None:
            self.channel.send(packet, fds)
