"""Whether the services that run on this host (in this container) do their work, as the manager sees it.

Standard library only, and a program by itself, ``python -I -S health.py``: every container runs it
every few seconds, and what the rest imports would cost ten times as much.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

SILENT_SECONDS = 10.0
"""A process that has not reported for so long hangs: five reports are missing."""
ANSWER_SECONDS = 4.0
PACKET = 1 << 18


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
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(ANSWER_SECONDS)
        try:
            sock.connect(path)
            manager = _ask(sock, "status")[0]["manager"]
            peers = [peer for answer in _ask(sock, "peers") for peer in answer["items"]]
        except TimeoutError:
            raise Unhealthy(f"the session manager at {path} did not answer in {ANSWER_SECONDS:g} s") from None
        except OSError as error:
            raise Unhealthy(f"no session manager at {path}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise Unhealthy(f"the session manager at {path} answers nonsense: {error!r}") from None
    peers = [peer for peer in peers if peer.get("host", "") == host]
    for peer in peers:
        if peer.get("silent") is not None and peer["silent"] > SILENT_SECONDS:
            raise Unhealthy(
                f"{peer['role']} {peer['pid']} of {peer['generation']} has been silent for {peer['silent']} s"
            )
    found = [f"{peer['role']} of {peer['generation']}" for peer in peers]
    if manager.get("host") == host:
        found.insert(0, "session manager")
    if not found:
        raise Unhealthy(f"the session manager knows no process of host {host}")
    return ", ".join(found)


def _ask(sock: socket.socket, kind: str) -> list[dict[str, Any]]:
    """The manager's answer: of an earlier manager several, to a long list."""
    sock.send(json.dumps({"type": kind, "req": 1}).encode())
    answers: list[dict[str, Any]] = []
    text = ""
    while True:
        packet = sock.recv(PACKET)
        if not packet:
            raise ConnectionResetError("it closed the connection")
        answer = json.loads(packet)
        if answer["type"] == "part":  # of a message that is larger than a packet
            text += answer["text"]
            if answer.get("more"):
                continue
            answer, text = json.loads(text), ""
        if answer.get("error") is not None:
            raise Unhealthy(f"the session manager: {answer['error']}")
        answers.append(answer)
        if not answer.get("more"):
            return answers


def main() -> None:
    """Say what was found; with exit status 1, what is wrong."""
    path = os.environ.get("TERMINALS_SOCKET") or "/run/terminals/manager.sock"
    try:
        print(check(path))
    except Unhealthy as error:
        sys.exit(f"terminals: {error}")


if __name__ == "__main__":
    main()
