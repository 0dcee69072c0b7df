"""The page in a real browser, against a real environment."""

from __future__ import annotations

import contextlib
import os
import shutil

import pytest
from terminals.protocol.messages import FrameType

from tests.support.stack import TOKEN, Stack, until

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-3d-apis",  # without WebGL the terminal is drawn with elements, whose text can be read
]

needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ, reason="Debian's chromium is not installed"
    ),
]
pytestmark = needs_chromium
DETAIL = pytest.mark.slow("a page and a shell for one detail; a dozen such are in the first tier")


@pytest.fixture
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def address(stack: Stack) -> str:
    stack.start_web("g1")
    return f"http://127.0.0.1:{stack.status()['listeners']['web']}/"


def complaints(page) -> list[str]:
    """What the browser says is wrong with a page, as it comes.

    Chromium ends all requests when the machine gets or loses an address, as it does with each container of
    other tests: the page asks again, and that is no fault of anybody's.
    """
    found: list[str] = []

    def said(message) -> None:
        if message.type == "error" and "ERR_NETWORK_CHANGED" not in message.text:
            found.append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def screen(page) -> str:
    return page.locator(".xterm-rows").first.inner_text()


def type_line(page, text: str) -> None:
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def test_a_person_works_through_a_killed_worker_and_a_reload(stack, browser, address, tmp_path):
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    problems = complaints(page)
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


@pytest.mark.slow("a page and a break of its connection for one question")
def test_a_question_that_was_asked_while_the_connection_was_away_is_answered(
    stack, browser, address, tmp_path
):
    """Only what an earlier page has seen is of the past: a program waits for its answer."""
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    page.goto(f"{address}#token={TOKEN}")
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    go, asked = tmp_path / "go", tmp_path / "asked"
    wait = f"until [ -e {go} ]; do sleep .05; done; printf '\\033[6n'; touch {asked}"
    type_line(
        page, f"echo ready-$((1+1)); {wait}; read -rsd R -t 60 && echo GOT-$((1+1)) || echo NONE-$((1+1))"
    )
    until(lambda: "ready-2" in screen(page), "the program")
    stack.kill("worker-g1")
    until(lambda: not stack.status()["sessions"]["attached"], "nobody being attached")
    go.touch()
    until(asked.exists, "the question")
    stack.start("worker", "g1")
    until(lambda: "GOT-2" in screen(page) or "NONE-2" in screen(page), "the answer")
    assert "GOT-2" in screen(page)
    # Shown once more by another page, it is not asked again.
    page.reload()
    until(lambda: "GOT-2" in screen(page), "the screen coming back")
    type_line(page, "echo clean-$((1+1))")
    until(lambda: "clean-2" in screen(page), "the prompt")
    assert ";" not in screen(page).split("GOT-2")[1].split("echo clean")[0]


def test_sign_in_by_hand_and_the_assistant_that_is_missing(stack, browser, address, tmp_path):
    page = browser.new_page(viewport={"width": 390, "height": 700})
    page.goto(address)
    page.get_by_label("Access token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Not let in: wrong token.").wait_for()
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    page.get_by_role("button", name="+ assistant").click()
    page.get_by_role("status").filter(has_text="ended with status 127").wait_for()
    page.screenshot(path=tmp_path / "phone.png")
    assert "no-such-assistant" in page.locator(".xterm-rows").last.inner_text()


@DETAIL
def test_watching_beside_whoever_works(stack, browser, address, tmp_path):
    with stack.terminal(cols=100, rows=30) as worker:
        worker.send(b"echo before-$((40 + 2))\n")
        worker.expect(rb"before-42")
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        page.goto(f"{address}#token={TOKEN}")
        page.get_by_role("status").filter(has_text="Connected").wait_for()
        page.get_by_role("button", name="Sessions").click()
        row = page.get_by_role("row").filter(has_text=worker.session)
        row.wait_for()
        page.once("dialog", lambda dialog: dialog.accept("release 7"))
        row.get_by_role("button", name="Name").click()
        row = page.get_by_role("row").filter(has_text="release 7")
        row.wait_for()
        page.screenshot(path=tmp_path / "sessions-watch.png")
        row.get_by_role("button", name="View").click()
        page.get_by_role("status").filter(has_text="Viewing").wait_for()
        watched = page.locator(".xterm-rows").last
        until(lambda: "before-42" in watched.inner_text(), "what was printed before")
        until(lambda: watched.locator("> div").count() == 30, "the size of the terminal that is watched")
        type_line(page, "echo intruder")
        worker.send(b"echo after-$((40 + 3))\n")
        shown = worker.expect(rb"after-43")
        until(lambda: "after-43" in watched.inner_text(), "what is printed now")
        assert b"intruder" not in shown
        assert worker.stats.losses == 0
        page.set_viewport_size({"width": 900, "height": 500})
        worker.resize(120, 17)
        worker.pump(0.1)
        until(lambda: watched.locator("> div").count() == 17, "its next size")
        worker.send(b"stty size\n")
        worker.expect(rb"17 120")
        page.screenshot(path=tmp_path / "watching.png")
        page.get_by_role("button", name="Sessions").click()
        row.wait_for()
        page.once("dialog", lambda dialog: dialog.accept())
        row.get_by_role("button", name="End").click()
        until(lambda: worker.pump(0.05) or worker.exit_status is not None, "the shell's end")


@DETAIL
def test_coming_back_past_the_ring_and_keys_typed_before_a_reload(browser, tmp_path):
    stack = Stack(ring_bytes=1 << 16, hold_seconds=0)
    try:
        stack.start_generation("g1", weight=100)
        stack.start_web("g1")
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        page.goto(f"http://127.0.0.1:{stack.status()['listeners']['web']}/#token={TOKEN}")
        page.get_by_role("status").filter(has_text="Connected").wait_for()
        go = stack.root / "go"
        type_line(
            page,
            f"until [ -e {go} ]; do sleep 0.02; done; seq 100000; echo far-$((1+1)); read x; echo got-$x",
        )
        until(lambda: "got-$x" in screen(page), "the command typed, to its end")
        stack.kill("worker-g1")
        page.get_by_role("status").filter(has_text="onnecting").wait_for()
        # Typed while nobody serves it, and then the page itself is loaded again.
        type_line(page, "kept-over-a-reload")
        go.touch()
        until(lambda: stack.admin("sessions")["items"][0]["output"] > 688_000, "the output")
        stack.start("worker", "g1", name="again")
        page.reload()
        until(lambda: "got-kept-over-a-reload" in screen(page), "the keys arriving, once")
        assert "far-2" in screen(page)
        page.screenshot(path=tmp_path / "past-the-ring.png")
    finally:
        stack.close()


@DETAIL
def test_a_screen_that_is_lost_on_its_way_is_painted_the_next_time(browser):
    stack = Stack(ring_bytes=1 << 16, hold_seconds=0, stable_seconds=0)
    lost: list[int] = []

    def lose_the_first_screen(socket) -> None:
        server = socket.connect_to_server()

        def pass_on(message) -> None:
            if isinstance(message, bytes) and message[0] == FrameType.SNAPSHOT and not lost:
                lost.append(len(message))
                server.close()
                socket.close(code=1011)
            else:
                socket.send(message)

        server.on_message(pass_on)

    try:
        stack.start_generation("g1", weight=100)
        stack.start_web("g1")
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        page.route_web_socket("**", lose_the_first_screen)
        page.goto(f"http://127.0.0.1:{stack.status()['listeners']['web']}/#token={TOKEN}")
        page.get_by_role("status").filter(has_text="Connected").wait_for()
        go = stack.root / "go"
        type_line(page, f"until [ -e {go} ]; do sleep 0.02; done; seq 100000; echo far-$((1+1))")
        until(lambda: "far-$((1+1))" in screen(page), "the command typed, to its end")
        stack.kill("worker-g1")
        page.get_by_role("status").filter(has_text="onnecting").wait_for()
        go.touch()
        until(lambda: stack.admin("sessions")["items"][0]["output"] > 688_000, "the output")
        stack.start("worker", "g1", name="again")
        until(lambda: page.wait_for_timeout(50) or lost, "the screen being lost")
        until(lambda: page.wait_for_timeout(50) or "far-2" in screen(page), "the screen")
    finally:
        stack.close()


@DETAIL
def test_a_page_whose_position_was_forgotten_says_so_and_types_nothing_twice(forgetful_stack, browser):
    stack = forgetful_stack
    stack.start_web("g1")
    page = browser.new_page(viewport={"width": 1100, "height": 640})

    def lose_acknowledgements(socket) -> None:
        server = socket.connect_to_server()
        lost = lambda message: isinstance(message, bytes) and message[0] == FrameType.ACK  # noqa: E731
        server.on_message(lambda message: lost(message) or socket.send(message))

    page.route_web_socket("**", lose_acknowledgements)
    page.goto(f"http://127.0.0.1:{stack.status()['listeners']['web']}/#token={TOKEN}")
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    ran = stack.root / "ran"
    type_line(page, f"echo once >> {ran}")
    until(ran.exists, "the command run")
    session = stack.admin("sessions")["items"][0]["id"]
    for _ in range(5):
        with contextlib.closing(stack.terminal(session=session)) as other:
            other.open()
            other.send(b":\n")
            until(lambda t=other: t.pump(0.02) or t.unacknowledged == 0, "another client's input taken")
    page.get_by_role("button", name="Take it back").click()
    until(lambda: "typed here may not have arrived" in screen(page), "being told")
    page.locator(".xterm-screen").first.click()  # the button had the keyboard
    type_line(page, f"echo again >> {ran}; echo done-$((1+1))")
    until(lambda: "done-2" in screen(page), "what is typed now being run")
    assert ran.read_text() == "once\nagain\n"
