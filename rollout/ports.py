"""Whether a port of this machine can be had, really tried."""

from __future__ import annotations

import socket


def refusal(host: str, port: int) -> str:
    """Why nobody can listen at ``host``:``port`` now; "" when somebody can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            # As servers do: what has just been closed there does not count.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
            tried.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return ""
