"""Room that a slow client has made is for all of its terminals."""

from __future__ import annotations

import asyncio

from tests.support.worker import Client


class Follower:
    """Follows a shell that prints as much as there is room for, or one key's echo at a time."""

    def __init__(self, client: Client, *, floods: bool) -> None:
        self._connection = client.connection
        self._floods = floods
        self.served = 0

    def pump(self) -> None:
        if not self._connection.writable():
            return
        self.served += 1
        if self._floods:
            self._connection.pause_writing()

    def close(self) -> None: ...


def test_one_that_floods_does_not_have_it_all():
    async def play() -> None:
        client = Client(lane=True)
        followers = [Follower(client, floods=floods) for floods in (True, True, False)]
        client.connection._viewers = dict(enumerate(followers))  # type: ignore[arg-type]
        for _ in range(30):
            client.connection.resume_writing()
        *floods, quiet = (follower.served for follower in followers)
        assert floods == [15, 15]
        assert quiet >= 15

    asyncio.run(play())


def test_one_that_goes_while_it_is_served_is_not_kept():
    async def play() -> None:
        client = Client(lane=True)

        class Last(Follower):
            def pump(self) -> None:
                client.connection._viewers.pop(0)
                client.connection.pause_writing()

        client.connection._viewers = {0: Last(client, floods=True)}  # type: ignore[dict-item]
        client.connection.resume_writing()
        assert client.connection._viewers == {}

    asyncio.run(play())
