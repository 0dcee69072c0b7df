"""A WebSocket client that sends what it is told, frame by frame, and keeps what comes."""

from __future__ import annotations

import json
import time
from typing import Any

from terminals.client.link import Link, LinkLost
from terminals.protocol import messages

from tests.support.stack import TOKEN


class Raw:
    """Any number of channels, no state, no return. ``inbox`` holds what nobody has asked for yet."""

    def __init__(
        self, url: str, client: str = "raw", *, timeout: float = 20.0, ticket: str | None = None
    ) -> None:
        self._begin(Link(url, timeout))
        credential = {"ticket": ticket} if ticket else {"token": TOKEN}
        self.text("hello", versions=[2, 1], client=client, **credential)
        self.want("welcome")

    def _begin(self, link: Link) -> None:
        self.link = link
        self.inbox: list[dict[str, Any] | messages.Binary] = []

    def text(self, kind: str, **fields: Any) -> None:
        """Send a text message."""
        self.link.send(messages.encode_text(kind, **fields), text=True)

    def attach(self, channel: int = 0, session: str | None = None, **fields: Any) -> None:
        """Ask for a session."""
        self.text("attach", channel=channel, session=session, cols=80, rows=24, **fields)

    def type(self, seq: int, data: bytes, channel: int = 0) -> None:
        """Send input."""
        self.link.send(messages.encode_data(channel, seq, data))

    def take(self, timeout: float = 0.1) -> None:
        """Receive what there is.

        Raises:
            LinkLost: the connection has ended.
        """
        for message in self.link.receive(timeout):
            text = isinstance(message, str)
            self.inbox.append(json.loads(message) if text else messages.decode_binary(message))

    def want(self, *kinds: str, channel: int | None = None, timeout: float = 30.0) -> dict[str, Any]:
        """The next text message of one of these types."""
        end = time.monotonic() + timeout
        while True:
            for place, message in enumerate(self.inbox):
                if (
                    isinstance(message, dict)
                    and message["type"] in kinds
                    and (channel is None or message.get("channel") == channel)
                ):
                    del self.inbox[place]
                    return message
            assert time.monotonic() < end, (
                f"no {' or '.join(kinds)} within {timeout} s; there is {self.inbox}"
            )
            self.take()

    def shown(self, text: bytes, *, channel: int = 0, timeout: float = 30.0) -> bytes:
        """All output of a channel, once ``text`` is in it."""
        end = time.monotonic() + timeout
        while True:
            output = b"".join(
                message.payload
                for message in self.inbox
                if not isinstance(message, dict)
                and (message.channel, message.type) == (channel, messages.FrameType.DATA)
            )
            if text in output:
                return output
            assert time.monotonic() < end, f"{text!r} is not in {output!r} after {timeout} s"
            self.take()

    def closed(self, timeout: float = 60.0) -> int | None:
        """Wait for the end of the connection, and give its code."""
        end = time.monotonic() + timeout
        try:
            while time.monotonic() < end:
                self.take()
        except LinkLost as lost:
            return lost.code
        raise AssertionError(f"the connection is still there, and has brought {self.inbox}")

    def close(self) -> None:
        """Cut the connection."""
        self.link.abort()
