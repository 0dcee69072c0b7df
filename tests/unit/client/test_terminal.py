"""What a user of the Python client may do to it."""

from __future__ import annotations

import socket

import pytest
from terminals.client import Terminal
from terminals.protocol.backoff import Backoff
from terminals.protocol.client import Connecting, Event, Failed


def test_an_exception_of_its_users_loses_nothing_of_what_was_to_be_done():
    failed = []

    def on_event(event: Event) -> None:
        if isinstance(event, Failed):
            failed.append(event)
        elif isinstance(event, Connecting) and not failed:
            raise KeyError("of the user's")

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
        terminal = Terminal(url, backoff=Backoff(0.001, 0.001), on_event=on_event, connect_timeout=600)
        with pytest.raises(KeyError):
            terminal.pump()
        terminal.pump()
        assert len(failed) == 1
