"""A page whose terminal is at another host than the page: it goes there, and comes back there."""

from __future__ import annotations

import pytest
from terminals.protocol.ids import tag_of

from tests.e2e.test_browser import browser, complaints, needs_chromium, screen, type_line
from tests.e2e.test_page import connected, enter
from tests.integration.test_last_screens import copied
from tests.support.fleet import fleet
from tests.support.stack import until

__all__ = ["browser"]
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Two, of which the second has another name: to a browser it is another site."""
    with fleet(tmp_path_factory.mktemp("fleet"), "ab", at={"b": "localhost"}) as hosts:
        for stack in hosts.stacks.values():
            stack.start_web("g1")
        hosts.stacks["a"].admin("host-state", state="draining")
        hosts.wait("a", "b", "there")
        yield hosts


def live(hosts, name: str) -> list[str]:
    items = hosts.stacks[name].admin("sessions")["items"]
    return [entry["id"] for entry in items if entry["live"]]


def test_a_terminal_that_begins_at_another_host_lives_through_its_worker_s_end_and_a_reload(hosts, browser):
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    problems = complaints(page)
    enter(page, hosts.stacks["a"].url("web"))
    type_line(page, "mine=7; echo begun-$((mine + 1))")
    until(lambda: "begun-8" in screen(page), "the shell at the other host")
    assert (live(hosts, "a"), [tag_of(name) for name in live(hosts, "b")]) == ([], ["bbbb"])
    # Its owner is who has signed in at the first, to the other, too.
    page.keyboard.type("echo half-$((mine")
    hosts.stacks["b"].kill("worker-g1")
    hosts.stacks["b"].start("worker", "g1")
    type_line(page, " + 2))")
    until(lambda: "half-9" in screen(page), "the same shell")
    page.reload()
    connected(page)
    type_line(page, "echo again-$((mine + 3))")
    until(lambda: "again-10" in screen(page), "the same shell after a reload")
    assert len(live(hosts, "b")) == 1
    assert [text for text in problems if "WebSocket" not in text] == []
    page.close()


@pytest.mark.slow("waits until a host is called lost")
def test_where_a_host_is_lost_its_last_screen_is_shown_and_another_shell_is_offered(tmp_path, browser):
    with fleet(tmp_path, "ab", at={"b": "localhost"}, lost_seconds=4, screens=1) as hosts:
        here, there = hosts.stacks.values()
        here.start_web("g1")
        here.admin("host-state", state="draining")
        hosts.wait("a", "b", "there")
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        enter(page, here.url("web"))
        type_line(page, "echo begun-$((7 + 1))")
        until(lambda: "begun-8" in screen(page), "the shell at the other host")
        here.admin("host-state", state="ready")
        (session,) = live(hosts, "b")
        copied(hosts, session, b"begun-8", at="a")
        for name in ("worker-g1", "manager", "holder"):
            there.kill(name)
        page.wait_for_selector("#retry:text('New shell')", timeout=60_000)
        # Who has seen it has it, and is not told of a picture.
        told = page.inner_text("#state")
        assert "This shell may be lost with it." in told
        assert "last screen" not in told
        assert "begun-8" in screen(page)
        page.click("#retry")
        type_line(page, "echo another-$((7 + 2))")
        rows = page.locator(".xterm-rows")
        until(lambda: "another-9" in rows.last.inner_text(), "a shell at this host")
        assert page.locator("#tabs [role=tab]").count() == 2
        page.locator("#tabs [role=tab]").first.click()
        page.wait_for_selector("#retry:text('New shell')", timeout=30_000)
        page.reload()
        page.locator("#tabs [role=tab]").first.click()
        page.wait_for_selector("#state:text('You see its last screen, of ')", timeout=60_000)
        assert "begun-8" in page.locator(".xterm-rows").first.inner_text()
        page.screenshot(path=str(tmp_path / "lost.png"))
        page.close()


@pytest.mark.slow("a page and an environment for two refusals")
def test_nobody_is_passed_on_where_there_are_no_other_hosts_or_who_is_not_known(hosts, browser, stack):
    stack.start_web("g1")
    page = browser.new_page()
    for address in (stack.url("web"), hosts.stacks["a"].url("web")):
        page.goto(address)
        assert page.evaluate("fetch('api/pass').then((answer) => answer.status)") == 401
    enter(page, stack.url("web"))
    assert page.evaluate("fetch('api/pass').then((answer) => answer.status)") == 404
    page.close()
