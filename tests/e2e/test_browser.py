"""The page in a real browser, against a real environment."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.support.stack import TOKEN, Stack, until

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ, reason="Debian's chromium is not installed"
    ),
]


@pytest.fixture
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def address(stack: Stack) -> str:
    stack.start("web", "g1")
    until(lambda: stack.generation("g1").get("web"), "web ready")
    return f"http://127.0.0.1:{stack.status()['listeners']['web']}/"


def screen(page) -> str:
    return page.locator(".xterm-rows").first.inner_text()


def type_line(page, text: str) -> None:
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def test_a_person_works_through_a_killed_worker_and_a_reload(stack, browser, address, tmp_path):
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    problems: list[str] = []
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"{address}#token={TOKEN}")
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    assert "token" not in page.url

    type_line(page, "echo hello-$((40+2))")
    until(lambda: "hello-42" in screen(page), "the answer on the screen")

    stack.kill("worker-g1")
    stack.start("worker", "g1")
    type_line(page, "echo again-$((6*7))")
    until(lambda: "again-42" in screen(page), "the answer after the worker was killed")
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    page.screenshot(path=tmp_path / "desktop.png")

    page.reload()
    until(lambda: "again-42" in screen(page), "the screen coming back after a reload")
    type_line(page, "echo once-$((1+1))")
    until(lambda: "once-2" in screen(page), "the same shell after a reload")
    assert screen(page).count("hello-42") == 1

    page.get_by_role("button", name="Sessions").click()
    page.get_by_role("cell", name="session_").wait_for()
    page.screenshot(path=tmp_path / "sessions.png")
    # While the worker is away the browser itself reports the refused WebSocket.
    assert [text for text in problems if "WebSocket" not in text] == []


def test_sign_in_by_hand_and_the_assistant_that_is_missing(stack, browser, address, tmp_path):
    page = browser.new_page(viewport={"width": 390, "height": 700})
    page.goto(address)
    page.get_by_label("Access token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("The token was not accepted.").wait_for()
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    page.get_by_role("button", name="+ assistant").click()
    page.get_by_role("status").filter(has_text="ended with status 127").wait_for()
    page.screenshot(path=tmp_path / "phone.png")
    assert "no-such-assistant" in page.locator(".xterm-rows").last.inner_text()
