"""What a server can do to a connection of the Python client."""

from __future__ import annotations

import threading

import pytest
from terminals.client.link import Link, LinkLost
from websockets.sync.server import ServerConnection, serve


def test_a_text_that_is_none_ends_the_connection_and_not_the_client():
    def say(connection: ServerConnection) -> None:
        connection.send(b"\xff", text=True)
        connection.recv()

    with serve(say, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        with pytest.raises(LinkLost, match="broke the protocol"):
            link = Link(url, 10)  # it may come together with the end of the handshake
            for _ in range(100):
                link.receive(0.1)
        server.shutdown()


@pytest.mark.parametrize(
    "url",
    ["ws://127.0.0.1:99999/", "ws://[::1", "ws://a..b/", f"ws://{'a' * 64}/", "http://127.0.0.1/", "x", ""],
)
def test_an_address_that_is_none_is_no_connection(url):
    with pytest.raises(LinkLost):
        Link(url, 1.0)
