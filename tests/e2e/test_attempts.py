"""How often a page asks a server that drops it at once, as the server counts it."""

from __future__ import annotations

import pytest

from tests.e2e.test_browser import address, browser, needs_chromium
from tests.e2e.test_page import enter
from tests.support.page import accepted
from tests.support.stack import until

__all__ = ["address", "browser"]
pytestmark = [*needs_chromium, pytest.mark.slow("ten minutes, by the clock of a page")]

MINUTES = 10
DOCUMENTED = 3 + 4 + 9 + 1
"""Three failures open the breaker; trials follow after 5, 10, 20 and 40 s, then one a minute, and perhaps one
more under way at the end."""


@pytest.fixture
def stack(calm_stack):
    """One whose own breakers stay closed: ten minutes of the page's clock are seconds of its own."""
    return calm_stack


@pytest.mark.parametrize("panes", [1, 4])
def test_a_page_asks_a_server_that_drops_it_no_more_often_than_is_documented(browser, address, stack, panes):
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    page.clock.install()
    dropping: list[bool] = []

    def drop_at_once(socket) -> None:
        server = socket.connect_to_server()

        def pass_on(message) -> None:
            if dropping and isinstance(message, str) and '"attached"' in message:
                server.close(code=1011)
                socket.close(code=1011)
            else:
                socket.send(message)

        server.on_message(pass_on)

    page.route_web_socket("**", drop_at_once)
    enter(page, address)
    for _ in range(panes - 1):
        page.keyboard.press("Alt+Shift+E")
        page.keyboard.press("Alt+ArrowUp")
    until(lambda: page.locator(".pane").count() == panes, "the panes")
    until(lambda: stack.status()["sessions"]["attached"] == panes, "their sessions")
    page.clock.run_for(3000)
    dropping.append(True)
    before = accepted(stack)
    stack.kill("worker-g1")
    stack.start("worker", "g1")
    settled = "document.getElementById('state').dataset.kind !== 'connecting'"
    for _ in range(MINUTES * 60):
        page.clock.run_for(1000)
        until(lambda: page.evaluate(settled), "the attempt, to its end")
    asked = accepted(stack) - before
    assert 5 <= asked <= DOCUMENTED
    assert page.locator("#state").inner_text().startswith("The ")
