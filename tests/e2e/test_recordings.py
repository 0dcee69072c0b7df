"""Recordings in a real browser: whoever is recorded sees it, and sees it again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.test_browser import browser, complaints, needs_chromium, screen, type_line
from tests.e2e.test_page import AXE, connected, enter, serious
from tests.support.casts import read_cast
from tests.support.stack import Stack, running, until

__all__ = ["browser"]
pytestmark = needs_chromium


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    shell = ["env", "TERM=xterm-256color", "PS1=$ ", "bash", "--norc", "--noprofile"]
    profiles = {"system": {"command": shell, "record": True}, "claude": {"command": shell}}
    with running(profiles=profiles, stable_seconds=0, web=True) as stack:
        yield stack


@pytest.fixture
def page(browser, stack):
    page = browser.new_page(viewport={"width": 1100, "height": 700})
    problems = complaints(page)
    enter(page, stack.url("web"))
    yield page
    assert problems == []


HOSTILE = r"printf '\033]2;<img src=x onerror=alert(1)>\007<b>mar''kup</b> &amp;\n'"
"""What would be markup, if it were put into the page as such; typed so that it is no text yet."""


def replayed(page) -> str:
    return page.locator("dialog .xterm-rows").inner_text()


@pytest.mark.slow("a page for what the services' own tests of recordings ask for in the first tier")
def test_a_session_is_seen_to_be_recorded_and_is_replayed(stack, page, tmp_path):
    page.get_by_role("tab", name="is recorded").wait_for()
    page.locator(".tab .record").get_by_text("recorded").wait_for()
    page.get_by_role("status").filter(has_text="What this terminal shows is recorded").wait_for()
    assert "[this session is recorded]" in screen(page)
    type_line(
        page,
        "for w in alpha beta gamma; do echo the-$w; sleep 0.4; done; tput setaf 2; echo gr''een; tput sgr0",
    )
    until(lambda: "green" in screen(page), "the output")
    type_line(page, HOSTILE)
    until(lambda: "<b>markup</b>" in screen(page), "the output")
    page.screenshot(path=tmp_path / "recorded.png")
    if AXE.exists():
        assert serious(page) == []
    type_line(page, r"printf '\033]2;nightly build\007'")
    page.get_by_role("tab", name="nightly build").wait_for()
    type_line(page, "exit 5")
    page.get_by_role("status").filter(has_text="ended with status 5").wait_for()

    page.get_by_role("button", name="Recordings").click()
    page.get_by_role("button", name="Replay").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Pause").wait_for()
    dialog.get_by_label("Speed").select_option("16")
    dialog.get_by_text("The shell has ended with status 5").wait_for()
    assert "<b>markup</b>" in replayed(page)
    assert "the-gamma" in replayed(page)
    # Text of programs is text, wherever it is shown.
    assert page.locator("dialog b, dialog img").count() == 0
    assert page.title().endswith("Terminals")

    # To the moment at which something was printed.
    dialog.get_by_label("Find in the recording").fill("THE-BETA")
    page.keyboard.press("Enter")
    dialog.get_by_text("1 of 1").wait_for()
    until(lambda: "the-beta" in replayed(page) and "the-gamma" not in replayed(page), "the moment")
    page.screenshot(path=tmp_path / "replay.png")
    if AXE.exists():
        assert serious(page) == []
    page.keyboard.press("Shift+Enter")
    dialog.get_by_text("1 of 1").wait_for()
    dialog.get_by_label("Find in the recording").fill("never printed")
    page.keyboard.press("Enter")
    dialog.get_by_text("not found").wait_for()

    # By keys alone.
    dialog.get_by_label("Position").focus()
    for key, there in (("ArrowRight", True), ("ArrowLeft", False)):  # five seconds each
        until(
            lambda key=key, there=there: (
                page.keyboard.press(key) or ("<b>markup</b>" in replayed(page)) is there
            ),
            key,
        )
    page.keyboard.press("Space")
    dialog.get_by_role("button", name="Pause").wait_for()
    dialog.get_by_label("Skip pauses").check()

    with page.expect_download() as downloading:
        dialog.get_by_role("link", name="Download").click()
    cast = read_cast(downloading.value.path().read_bytes())
    assert downloading.value.suggested_filename.startswith("session_")
    assert downloading.value.suggested_filename.endswith(".cast")
    assert "the-gamma" in cast.text
    assert cast.of("x") == ["5"]
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")


@pytest.mark.slow("a recording in the page is in the first tier")
def test_one_is_recorded_on_a_wish_and_removed(stack, page):
    page.get_by_role("button", name="+ assistant").click()
    connected(page)
    tab = page.get_by_role("tab").last
    assert "recorded" not in (tab.get_attribute("aria-label") or "")
    page.get_by_role("button", name="Sessions").click()
    row = page.get_by_role("row").filter(has_text="assistant")
    row.get_by_role("button", name="Record", exact=True).click()
    row.get_by_role("button", name="Stop recording").wait_for()
    page.get_by_role("tab", name="is recorded").last.wait_for()
    until(lambda: "recorded" in (tab.get_attribute("aria-label") or ""), "the mark")
    row.get_by_role("button", name="Stop recording").click()
    row.get_by_role("button", name="Record", exact=True).wait_for()
    until(lambda: "recorded" not in (tab.get_attribute("aria-label") or ""), "the mark being gone")
    page.get_by_role("button", name="Recordings").click()
    one = page.get_by_role("row").filter(has_text="assistant")
    page.on("dialog", lambda dialog: dialog.accept())
    one.get_by_role("button", name="Remove").click()
    one.wait_for(state="detached")
