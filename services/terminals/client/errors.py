"""What can go wrong for a client for good. Losing a connection is not among it."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of the client."""


class ConnectError(ClientError, TimeoutError):
    """No attach within the time given. The text has the last reason."""


class AttachError(ClientError):
    """The server refused the attach for good; ``code`` is the protocol's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Unauthorized(AttachError):
    """The token is wrong."""


class SessionLost(AttachError):
    """The session does not exist any more: what was not received of it is gone."""


class TakenOver(AttachError):
    """Another client has attached to the session; reconnecting would only fight it."""
