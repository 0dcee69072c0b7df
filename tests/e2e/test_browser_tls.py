"""The page over TLS in a real browser: it may, and does, open its terminal over TLS."""

from __future__ import annotations

import pytest

from tests.e2e.test_browser import browser, complaints, pytestmark, screen, type_line
from tests.support.authority import Authority
from tests.support.stack import TOKEN, running, until

__all__ = ["browser", "pytestmark"]


@pytest.fixture
def secure(tmp_path):
    authority = Authority(tmp_path)
    with running(ca=authority.ca, tls=authority.files, web=True) as stack:
        yield stack


def test_a_person_works_over_tls(secure, browser):
    # The browser knows nothing of the test's authority.
    page = browser.new_context(ignore_https_errors=True).new_page()
    problems = complaints(page)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(f"{secure.url('web')}#token={TOKEN}")
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    type_line(page, "echo hello-$((40+2))")
    until(lambda: "hello-42" in screen(page), "the answer on the screen")
    assert sockets
    assert all(url.startswith("wss://") for url in sockets)
    assert problems == []
