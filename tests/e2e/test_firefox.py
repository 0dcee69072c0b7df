"""The page in Debian's Firefox, and, where that is not seen elsewhere, in Chromium, by the same hands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from rollout.errors import ExitCode
from tests.e2e.test_browser import ARGUMENTS, CHROMIUM, address
from tests.support.firefox import PROGRAM, Firefox
from tests.support.page import worker_connections
from tests.support.project import TwoStages
from tests.support.stack import TOKEN, until

__all__ = ["address"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow("what a person does in Chromium is in the first tier"),
    pytest.mark.skipif(
        PROGRAM is None and "CI" not in os.environ, reason="Debian's firefox-esr is not installed"
    ),
]


class Chromium:
    """Debian's, driven as :class:`Firefox` is."""

    def __init__(self) -> None:
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        self._page = self._browser.new_page(viewport={"width": 1100, "height": 640})

    def open(self, address: str) -> None:
        self._page.goto(address)

    def js(self, expression: str) -> Any:
        return self._page.evaluate(expression)

    def type(self, text: str) -> None:
        self._page.keyboard.type(text)

    def press(self, keys: str) -> None:
        self._page.keyboard.press(keys)

    def reload(self) -> None:
        self._page.reload()

    def close(self) -> None:
        self._browser.close()
        self._playwright.stop()


Browser = Firefox | Chromium


@pytest.fixture(params=[Firefox, Chromium])
def browser(request) -> Iterator[Browser]:
    browser = request.param()
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def page(browser, address) -> Browser:
    """The page, signed in, at the prompt of its shell."""
    browser.open(f"{address}#token={TOKEN}")
    connected(browser)
    return browser


def connected(page: Browser) -> None:
    until(lambda: page.js("document.getElementById('state')?.textContent") == "Connected", "Connected")


def text(page: Browser, pane: int) -> str:
    shown = page.js(f"document.querySelectorAll('.pane')[{pane}]?.querySelector('.xterm-rows')?.innerText")
    return shown or ""


def shows(page: Browser, pane: int, wanted: str) -> None:
    until(lambda: wanted in text(page, pane), f"{wanted} in pane {pane}")


def test_a_person_works_through_a_cut_and_a_reload(page, stack):
    page.type("echo hello-$((40+2))\n")
    shows(page, 0, "hello-42")
    page.type("echo hal")
    stack.kill("worker-g1")
    page.type("f-$((1+1))\n")
    stack.start("worker", "g1")
    shows(page, 0, "half-2")
    page.reload()
    connected(page)
    shows(page, 0, "half-2")
    page.type("echo again-$((1+1))\n")
    shows(page, 0, "again-2")
    assert text(page, 0).count("hello-42") == 1


def beside_top(page: Browser) -> None:
    """Have top in one pane, and a prompt beside it."""
    page.type("TERM=xterm top -d 0.2\n")
    shows(page, 0, "load average")
    page.press("Alt+Shift+D")
    until(lambda: page.js("document.querySelectorAll('.pane').length") == 2, "two panes")
    page.type("echo ready-$((1+1))\n")
    shows(page, 1, "ready-2")


def test_a_manager_is_replaced_under_top_and_a_half_typed_line(page, stack):
    beside_top(page)
    assert worker_connections(stack) == 1

    page.type("echo hal")
    assert stack.replace_manager() == 0
    page.type("f-$((1+1))\n")
    shows(page, 1, "half-2")
    goes_on(page)

    page.type("echo kil")
    stack.kill("manager")
    page.type("le")
    stack.start_manager()
    page.type("d-$((1+1))\n")
    shows(page, 1, "killed-2")
    goes_on(page)
    page.press("Alt+ArrowLeft")
    page.type("q")
    page.type("echo left-$((1+1))\n")
    shows(page, 0, "left-2")


@pytest.mark.rollout
def test_a_build_comes_and_another_is_taken_back_under_top_and_a_half_typed_line(browser):
    page = browser
    with TwoStages.deployed() as project:
        token = (project.folder / "dev" / "run" / "token").read_text().strip()
        page.open(f"http://127.0.0.1:{project.listen('dev')['web']}/#token={token}")
        connected(page)
        beside_top(page)

        page.type("echo prom")
        assert project.run("deploy", "dev") == ExitCode.DONE, project.said
        page.type("oted-$((1+1))\n")
        shows(page, 1, "promoted-2")
        goes_on(page)

        page.type("echo back")
        project.configure(gates=[{"metric": "generation.memory_bytes", "op": "<", "threshold": "1MB"}])
        assert project.run("deploy", "dev") == ExitCode.GATE_FAILED, project.said
        page.type("again-$((1+1))\n")
        shows(page, 1, "backagain-2")
        goes_on(page)
        assert text(page, 1).count("promoted-2") == 1


def goes_on(page: Browser) -> None:
    before = text(page, 0)
    until(lambda: text(page, 0) != before and "load average" in text(page, 0), "top, going on")
