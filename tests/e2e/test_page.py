"""What the page does with what people and programs do to it, in a real browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import tickets
from terminals.tickets import Ticket

from tests.e2e.test_browser import (
    ARGUMENTS,
    CHROMIUM,
    address,
    browser,
    complaints,
    needs_chromium,
    screen,
    type_line,
)
from tests.support.stack import TOKEN, Stack, until

__all__ = ["address", "browser"]
pytestmark = needs_chromium
DETAIL = pytest.mark.slow("a page and a shell for one detail; seven such are in the first tier")


@pytest.fixture
def page(browser, address):
    """The page, signed in, at the prompt of its shell."""
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    problems = complaints(page)
    enter(page, address)
    yield page
    assert [text for text in problems if "WebSocket" not in text] == []


def enter(page, address: str) -> None:
    page.goto(f"{address}#token={TOKEN}")
    connected(page)


def connected(page) -> None:
    page.get_by_role("status").filter(has_text="Connected").wait_for()


def paste(page, text: str, times: int = 1) -> None:
    """As a browser does when a person pastes ``text``, so many times over."""
    page.evaluate(
        """([text, times]) => {
          const clipboardData = new DataTransfer();
          clipboardData.setData("text/plain", text.repeat(times));
          const event = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
          document.activeElement.dispatchEvent(event);
        }""",
        [text, times],
    )


def shown(page, *, tab: int = 0) -> str:
    return page.locator(".xterm-rows").nth(tab).inner_text()


def ran(page, text: str) -> None:
    until(lambda: text in screen(page), text)


def begin(page, program: str, *, modes: str = "sane") -> None:
    """Start a program that reads, in these modes of the terminal: what is typed now is not the shell's."""
    type_line(page, f"stty {modes}; echo begun-$((1+1)); {program}")
    ran(page, "begun-2")


def test_pasted_escape_sequences_run_nothing(page):
    type_line(page, "bind 'set enable-bracketed-paste on'; echo ready-$((1+1))")
    ran(page, "ready-2")
    paste(page, "echo harmless\x1b[201~\necho INJ$((1+1))\n")
    until(lambda: "harmless[201~" in screen(page), "the pasted text, as text")
    page.wait_for_timeout(300)
    assert "INJ2" not in screen(page)
    page.keyboard.press("Control+c")


@DETAIL
def test_several_lines_are_asked_about_where_each_would_run(page):
    begin(page, "cat")
    asked: list[str] = []

    def refuse(dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", refuse)
    paste(page, "one\ntwo\nthree")
    assert asked == ["Paste 3 lines? The program may run each of them at once."]
    page.once("dialog", lambda dialog: dialog.accept())
    paste(page, "four\nfive\n")
    until(lambda: screen(page).count("five") == 2, "the lines, and cat's copy")
    assert "one" not in screen(page)


@pytest.mark.slow("megabytes through a page; the client's are in the first tier")
def test_a_paste_of_any_size_arrives_whole_and_says_how_far_it_is(stack, page):
    path = stack.root / "pasted"
    begin(page, f"head -c 3000000 > {path}; echo got-$((1+1))", modes="-echo -icanon")
    paste(page, "0123456789", 300_000)
    page.get_by_text("Pasting:").wait_for()
    until(lambda: page.wait_for_timeout(50) or "got-2" in screen(page), "the end of the paste")
    assert path.read_text() == "0123456789" * 300_000
    page.get_by_text("Pasting:").wait_for(state="hidden")


@DETAIL
def test_a_paste_can_be_stopped(stack, page):
    path = stack.root / "pasted"
    begin(page, f"cat > {path}", modes="-echo -icanon")
    paste(page, "x", 30_000_000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("Pasting:").wait_for(state="hidden")
    prompts = screen(page).count("bash-")
    page.keyboard.press("Control+c")
    until(lambda: screen(page).count("bash-") > prompts, "the prompt, after what had gone out before")
    type_line(page, "stty sane; echo alive-$((1+1))")
    ran(page, "alive-2")
    assert path.stat().st_size < 10_000_000


@DETAIL
def test_the_keys_of_the_page_are_typed_only_where_they_are_off(page):
    page.get_by_role("button", name="+ shell").click()
    page.keyboard.press("Alt+1")
    begin(page, "cat -v")
    page.keyboard.press("Alt+1")  # chosen it is: what is typed would be seen
    page.keyboard.type("x\n")
    until(lambda: shown(page).count("x") >= 2, "cat, in the first tab")
    assert "^[1" not in shown(page)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Keys of this page").uncheck()
    page.get_by_role("button", name="Settings").click()
    page.locator(".xterm-screen").first.click()
    page.keyboard.press("Alt+1")
    page.keyboard.press("Enter")
    until(lambda: "^[1" in shown(page), "the program's key")


@DETAIL
def test_emoji_take_two_cells_as_everywhere_else(page):
    asked = r"printf '\033[6n'; read -rsd R at; stty echo; echo; echo AT-${at#*;}"
    type_line(page, r"stty -echo; clear; printf '\r\U1F600\U1F680\u2728'; " + asked)
    ran(page, "AT-7")


@DETAIL
def test_a_focus_report_is_typed_by_no_reload(page):
    # A report of the present is the program's, which takes it.
    type_line(
        page, r"printf '\033[?1004h'; read -rsn 3 -t 60 R; printf '\033[?1004l'; echo got-${#R}; cat -v"
    )
    ran(page, "got-3")
    page.reload()
    connected(page)
    type_line(page, "here")
    until(lambda: screen(page).count("here") >= 2, "cat")
    assert "^[[I" not in screen(page)
    assert "^[[O" not in screen(page)


@DETAIL
def test_a_huge_window_is_a_terminal_of_a_thousand_columns(page):
    page.set_viewport_size({"width": 12_000, "height": 600})
    type_line(page, "echo wide-$(tput cols)")
    ran(page, "wide-1000")
    page.set_viewport_size({"width": 900, "height": 600})
    until(lambda: type_line(page, "echo n-$(tput cols)-") or "n-1000-" not in screen(page)[-400:], "its size")
    connected(page)


@DETAIL
def test_what_is_typed_ahead_in_several_terminals_survives_a_reload(stack, page, address):
    paths = [stack.root / f"typed-{number}" for number in range(2)]
    for number, path in enumerate(paths):
        if number:
            page.get_by_role("button", name="+ shell").click()
            connected(page)
        page.keyboard.type(f"stty -echo -icanon; head -c 900000 > {path}\n")
        page.wait_for_timeout(400)
    stack.kill("worker-g1")
    for number in range(2):
        page.get_by_role("tab").nth(number).click()
        paste(page, "y", 900_000)
    page.wait_for_timeout(200)
    page.reload()
    page.get_by_role("status").filter(has_text="onnecting").wait_for()
    stack.start("worker", "g1", name="again")
    for path in paths:
        until(
            lambda path=path: page.wait_for_timeout(50) or (path.exists() and path.stat().st_size == 900_000),
            "all of it",
        )


@DETAIL
def test_a_silent_network_is_said_to_whoever_types(browser):
    stack = Stack(heartbeat_seconds=3600)  # or the next heartbeat would find out
    try:
        stack.start_generation("g1", weight=100)
        stack.start_web("g1")
        page = browser.new_page(viewport={"width": 1100, "height": 640})
        silent: list[object] = []

        def hold_back(socket) -> None:
            server = socket.connect_to_server()
            socket.on_message(lambda message: silent or server.send(message))
            server.on_message(lambda message: silent or socket.send(message))

        page.route_web_socket("**", hold_back)
        enter(page, f"http://127.0.0.1:{stack.status()['listeners']['web']}/")
        type_line(page, "echo heard-$((1+1))")
        ran(page, "heard-2")
        silent.append(True)
        key = page.get_by_role("status").filter(has_text="No answer for")
        until(lambda: page.keyboard.type("x") or page.wait_for_timeout(200) or key.count(), "its being said")
    finally:
        stack.close()


@pytest.mark.slow("a browser more, for a page without what needs TLS")
def test_a_page_of_plain_http_under_a_name_works(address):
    from playwright.sync_api import sync_playwright

    rules = "--host-resolver-rules=MAP terminals.test 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])
        page = browser.new_page()
        enter(page, address.replace("127.0.0.1", "terminals.test"))
        assert page.evaluate("isSecureContext") is False
        type_line(page, "echo plain-$((1+1))")
        ran(page, "plain-2")
        browser.close()


@DETAIL
def test_titles_marks_order_and_closed_tabs(page):
    type_line(page, r"printf '\033]2;deploy 7\007'")
    page.get_by_role("tab", name="deploy 7").wait_for()
    type_line(page, r"sleep 1; printf '\007'; echo rang")
    page.get_by_role("button", name="+ shell").click()
    page.get_by_role("tab", name="deploy 7, rang its bell").wait_for()
    page.keyboard.press("Alt+Shift+ArrowLeft")
    assert page.get_by_role("tab").all_inner_texts()[1].startswith("deploy 7")
    page.get_by_role("tab", name="deploy 7").click()
    assert "rang its bell" not in page.get_by_role("tab").nth(1).get_attribute("aria-label")
    page.get_by_title("Close the tab").nth(1).click()
    assert page.get_by_role("tab").count() == 1
    page.keyboard.press("Alt+Shift+T")
    until(lambda: page.get_by_role("tab").count() == 2, "the closed tab")
    until(lambda: "rang" in shown(page, tab=1), "its screen")
    page.get_by_role("tab").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    until(lambda: page.get_by_role("tab").count() == 1, "the tab closed by a key")


@DETAIL
def test_finding_in_what_was_shown(page):
    type_line(page, "seq 1 3000; echo needle-$((40+2))")
    ran(page, "needle-42")
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Find", exact=True).fill("1234")
    page.get_by_text("1 of 1").wait_for()
    until(lambda: "1234" in screen(page), "the place")
    page.get_by_label("Find", exact=True).fill("no-such-thing-here")
    page.get_by_text("not found").wait_for()
    page.keyboard.press("Escape")
    type_line(page, "echo typed-$((1+1))")
    ran(page, "typed-2")


@DETAIL
def test_a_program_writes_to_the_clipboard_once_a_person_has_said_so(browser, address):
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    enter(page, address)
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message) or dialog.accept())
    copy = r"printf '\033]52;c;%s\007' $(printf {} | base64)"
    for text in ("first", "second"):
        type_line(page, copy.format(text))
        until(lambda text=text: page.evaluate("navigator.clipboard.readText()") == text, text)
    assert len(asked) == 1
    page.reload()
    connected(page)
    type_line(page, "echo shown-$((1+1))")
    ran(page, "shown-2")
    assert len(asked) == 1, "a program of the past asks for nothing"


@DETAIL
def test_settings_hold_and_are_seen(page, tmp_path):
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Colours").select_option("light")
    page.get_by_label("Size of letters").fill("20")
    page.get_by_label("Size of letters").blur()
    page.screenshot(path=tmp_path / "settings.png")
    page.reload()
    connected(page)
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(251, 251, 250)"
    assert page.locator(".xterm-rows").evaluate("(rows) => getComputedStyle(rows).fontSize") == "20px"
    page.screenshot(path=tmp_path / "light.png")


@DETAIL
def test_a_phone_has_the_keys_that_its_keyboard_lacks(browser, address, tmp_path):
    context = browser.new_context(
        viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True, device_scale_factor=2
    )
    page = context.new_page()
    enter(page, address)
    type_line(page, "echo one-$((1+1)); cat")
    ran(page, "one-2")
    page.get_by_role("button", name="Control, for the next key").tap()
    page.keyboard.type("c")
    page.get_by_role("button", name="↑").tap()
    until(lambda: screen(page).count("echo one") == 2, "the line before, after cat has been interrupted")
    page.screenshot(path=tmp_path / "phone-keys.png")
    assert page.get_by_role("toolbar", name="Keys").is_visible()


def test_nothing_leaves_the_host_and_no_style_is_unknown(stack, browser, address):
    page = browser.new_page(color_scheme="dark")
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    with page.expect_response(address) as answered:
        page.goto(f"{address}#token={TOKEN}")
    connected(page)
    policy = answered.value.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "style-src 'self' 'nonce-" in policy
    assert {url.partition("//")[2].partition("/")[0].partition(":")[0] for url in asked} == {"127.0.0.1"}
    type_line(page, r"printf '\033[38;2;1;2;3mtrue\033[0m colour\n'")
    ran(page, "true colour")
    told = page.get_by_text("true", exact=True).last.evaluate("(text) => getComputedStyle(text).color")
    assert told == "rgb(1, 2, 3)"
    colour = page.locator(".xterm-rows").evaluate("(rows) => getComputedStyle(rows).color")
    assert colour == "rgb(215, 221, 229)", "xterm.js has made its styles"
    assert [text for text in said if "Content Security Policy" in text] == []


@pytest.fixture
def with_webgl() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    arguments = [each for each in ARGUMENTS if each not in ("--disable-3d-apis", "--disable-gpu")]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*arguments, "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        yield browser
        browser.close()


@DETAIL
def test_the_graphics_card_draws_where_there_is_one(with_webgl, address, tmp_path):
    page = with_webgl.new_page(viewport={"width": 1100, "height": 640})
    enter(page, address)
    type_line(page, r"printf '\033[31mred \033[44m on blue\033[0m \U1F680 drawn\n'")
    until(lambda: page.locator(".xterm-screen canvas").count() > 0, "a canvas")
    page.wait_for_timeout(500)
    page.screenshot(path=tmp_path / "webgl.png")
    assert page.locator(".xterm-rows").count() == 0


AXE = Path(__file__).parents[2] / "services/web-client/node_modules/axe-core/axe.min.js"


def serious(page) -> list[str]:
    """What axe finds that would be in somebody's way."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [
        f"{each['id']}: {[node['html'][:120] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


needs_axe = pytest.mark.skipif(
    not AXE.exists() and "CI" not in os.environ, reason="make check has not been run"
)


@needs_axe
@pytest.mark.parametrize("theme", [pytest.param("light", marks=pytest.mark.slow("its colours")), "dark"])
def test_nothing_serious_is_in_the_way_of_assistive_technology(browser, address, theme):
    page = browser.new_page(color_scheme=theme)
    page.goto(address)
    page.get_by_role("button", name="Sign in").wait_for()
    assert serious(page) == []
    enter(page, address)  # a link that is opened where the page is already
    type_line(page, "echo shown-$((1+1))")
    ran(page, "shown-2")
    assert serious(page) == []
    page.get_by_role("button", name="Sessions").click()
    page.get_by_role("cell", name="session_").wait_for()
    assert serious(page) == []
    page.get_by_role("button", name="Sessions").click()
    page.get_by_role("button", name="Settings").click()
    page.keyboard.press("Control+Shift+F")
    assert serious(page) == []


# --- signing in, sharing, roles ------------------------------------------------------------------


def by_ticket(address: str, user: str, role: str = "user") -> str:
    """The link that lets a user in."""
    ticket = tickets.issue(TOKEN.encode(), Ticket(user, role=role))
    return f"{address}#ticket={ticket}"


@pytest.fixture
def another(browser):
    """Pages of another browser, which has not signed in."""
    context = browser.new_context(viewport={"width": 1100, "height": 640})
    yield context
    context.close()


def test_no_script_can_read_what_lets_the_page_in(page, address):
    kept = page.evaluate(
        "JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie, location.href])"
    )
    assert TOKEN not in kept
    assert page.evaluate("document.cookie") == ""
    page.reload()
    connected(page)


def test_a_page_of_an_earlier_build_goes_on_without_asking(browser, address):
    page = browser.new_page()
    page.goto(f"{address}static/0/nothing")
    page.evaluate(f"sessionStorage.setItem('terminals.token', '{TOKEN}')")
    page.goto(address)
    connected(page)
    assert page.evaluate("sessionStorage.getItem('terminals.token')") is None


@DETAIL
def test_everything_is_below_one_path(browser, address):
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: asked.append(socket.url))
    page.goto(by_ticket(f"{address}terminals/", "ada"))
    connected(page)
    type_line(page, "echo below-$((1+1))")
    ran(page, "below-2")
    beside = f"{address}terminals/".removeprefix("http")
    assert [url for url in asked if not url.removeprefix("http").removeprefix("ws").startswith(beside)] == []
    assert any(url.startswith("ws:") for url in asked)


@pytest.mark.slow("two people's pages; links of the API are in the first tier")
def test_a_link_shows_a_session_to_somebody_else_until_it_is_revoked(page, another, tmp_path):
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("The link")
    link.wait_for()
    page.screenshot(path=tmp_path / "share.png")
    guest = another.new_page()
    guest.goto(link.input_value())
    guest.get_by_role("status").filter(has_text="Viewing").wait_for()
    assert "ticket" not in guest.url
    page.get_by_role("button", name="Share").click()  # closes it
    page.locator(".xterm-helper-textarea").first.focus()
    type_line(page, "echo shown-$((1+1))")
    until(lambda: "shown-2" in screen(guest), "what was typed, at the guest's")
    for name in ("+ shell", "+ assistant", "Share"):
        assert guest.get_by_role("button", name=name).count() == 0
    guest.keyboard.type("intruder")
    type_line(page, "echo again-$((1+1))")
    until(lambda: "again-2" in screen(guest), "what came after it")
    assert "intruder" not in screen(page)
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_text("No link is good at the moment.").wait_for()
    guest.get_by_label("Access token").wait_for()
    guest.screenshot(path=tmp_path / "revoked.png")


@DETAIL
def test_an_operator_follows_a_link_as_who_they_are(another, address):
    page = another.new_page()
    enter(page, address)
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("The link")
    link.wait_for()
    beside = another.new_page()
    beside.goto(link.input_value())
    beside.get_by_role("status").filter(has_text="Viewing").wait_for()
    beside.get_by_role("button", name="Settings").click()
    beside.get_by_text("Signed in as a holder of the token").wait_for()


@pytest.mark.slow("a page and a sign-in more; links of the API are in the first tier")
def test_nobody_becomes_somebody_else_by_a_link_without_being_asked(another, address):
    page = another.new_page()
    page.goto(by_ticket(address, "ada"))
    connected(page)
    asked: list[str] = []

    def answer(accept: bool) -> None:
        page.once(
            "dialog",
            lambda dialog: (asked.append(dialog.message), dialog.accept() if accept else dialog.dismiss()),
        )

    def visitor() -> str:
        return page.evaluate("fetch('api/visitor').then((answer) => answer.json())")["visitor"]["user"]

    for accept, user in ((False, "ada"), (True, "eve")):
        answer(accept)
        page.goto("about:blank")
        page.goto(by_ticket(address, "eve"))
        connected(page)
        assert visitor() == user
    assert asked == ["You are signed in here as ada. Come in as eve, in place of that?"] * 2
    # The same again is nobody else.
    page.goto("about:blank")
    page.goto(by_ticket(address, "eve"))
    connected(page)
    assert len(asked) == 2


@DETAIL
def test_who_may_only_look_on_is_offered_nothing_else(page, another, address):
    type_line(page, "echo seen-$((1+1))")
    ran(page, "seen-2")
    viewer = another.new_page()
    viewer.goto(by_ticket(address, "vera", "viewer"))
    viewer.get_by_role("cell", name="session_").wait_for()
    for name in ("+ shell", "Share", "Open", "Name", "End"):
        assert viewer.get_by_role("button", name=name, exact=True).count() == 0
    viewer.get_by_role("button", name="View").click()
    viewer.get_by_role("status").filter(has_text="Viewing").wait_for()
    until(lambda: "seen-2" in screen(viewer), "the screen")
    viewer.get_by_role("button", name="Settings").click()
    viewer.get_by_text("Signed in as vera, who looks on").wait_for()


def test_signing_out_leaves_nothing_behind(another, address, stack):
    page = another.new_page()
    enter(page, address)
    type_line(page, "echo mine-$((1+1))")
    ran(page, "mine-2")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Access token").wait_for()
    assert page.evaluate("JSON.stringify({...sessionStorage})") == "{}"
    page.reload()
    page.get_by_label("Access token").wait_for()
    assert stack.status()["sessions"]["live"] == 1, "the shell runs on"
    until(lambda: stack.status()["sessions"]["attached"] == 0, "nobody is at it any more")


def test_a_revoked_visitor_is_asked_who_they_are(browser, address, stack):
    page = browser.new_page()
    page.goto(by_ticket(address, "ada"))
    connected(page)
    stack.admin("revoke", user="ada")
    page.get_by_label("Access token").wait_for()
