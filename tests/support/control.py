"""The control socket of a session manager, spoken by hand: as an operator, or as a process that says what it
likes."""

from __future__ import annotations

import json
import socket
from typing import Any

from terminals.control import framing
from terminals.control.asking import exchange


def admin(path: str, command: str, *, timeout: float = 10.0, **fields: Any) -> dict[str, Any]:
    """Ask the manager at ``path`` something; what it answers.

    Raises:
        ControlError: no manager, a refusal, or no answer in time.
    """
    answers = [
        json.loads(data) for data in exchange(path, as_json({"type": command, "req": 1, **fields}), timeout)
    ]
    answer = answers[0]
    for other in answers[1:]:
        answer["items"] += other["items"]
    return {name: value for name, value in answer.items() if name not in ("type", "req", "more")}


def as_json(packet: dict[str, Any]) -> bytes:
    """A packet, whatever it is."""
    return json.dumps(packet).encode()


def say(sock: socket.socket, packet: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Send a packet."""
    framing.send(sock, as_json(packet), fds)


def hear(sock: socket.socket) -> dict[str, Any]:
    """The next packet, without its descriptors."""
    found: dict[str, Any] = json.loads(framing.receive(sock)[0])
    return found
