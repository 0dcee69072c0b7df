"""Tabs that are split into panes, in a real browser."""

from __future__ import annotations

import time

import pytest

from tests.e2e.test_browser import address, browser, needs_chromium
from tests.e2e.test_page import connected, enter, needs_axe, page, serious
from tests.support.page import line_in, panes, shows, text, work_in, worker_connections
from tests.support.stack import until

__all__ = ["address", "browser", "page"]
pytestmark = needs_chromium
OTHERS = pytest.mark.slow("four panes through kills, moves and reloads are in the first tier")


@pytest.fixture
def four(page):
    """A page whose tab has four panes, in a square: 0 and 2 on the left, 1 and 3 on the right."""
    page.keyboard.press("Alt+Shift+D")
    until(lambda: panes(page).count() == 2, "two panes")
    page.keyboard.press("Alt+ArrowLeft")
    page.keyboard.press("Alt+Shift+E")
    until(lambda: panes(page).count() == 3, "three panes")
    page.keyboard.press("Alt+ArrowRight")
    page.get_by_role("button", name="Split one above the other").click()
    until(lambda: panes(page).count() == 4, "four panes")
    return page


def squares(page) -> list[tuple[int, int]]:
    """Where each pane begins, in the order of the document: left or right, upper or lower."""
    boxes = [panes(page).nth(at).bounding_box() for at in range(panes(page).count())]
    left, top = min(box["x"] for box in boxes), min(box["y"] for box in boxes)
    return [(round((box["x"] - left) > 50), round((box["y"] - top) > 50)) for box in boxes]


def test_four_panes_on_one_connection_live_through_a_killed_worker_a_move_and_a_reload(four, stack, tmp_path):
    page = four
    assert squares(page) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    for pane in range(4):
        line_in(page, pane, f"mine={pane}; echo mine-$((mine + 1000))")
    for pane in range(4):
        shows(page, pane, f"mine-{1000 + pane}")
    assert worker_connections(stack) == 1
    sessions = {entry["id"] for entry in stack.admin("sessions")["items"]}
    assert len(sessions) == 4
    page.screenshot(path=tmp_path / "splits.png")

    for pane in range(4):
        work_in(page, pane)
        page.keyboard.type("echo hal")
    stack.kill("worker-g1")
    for pane in range(4):
        work_in(page, pane)
        page.keyboard.type("f-$((mine")
    stack.start("worker", "g1")
    for pane in range(4):
        line_in(page, pane, " + 2000))")
    for pane in range(4):
        shows(page, pane, f"half-{2000 + pane}")
        assert text(page, pane).count(f"half-{2000 + pane}") == 1

    stack.start_generation("g2")
    stack.admin("weights", weights={"g1": 50, "g2": 50})
    order = {"to": "g2", "share": 25, "batch": 1, "interval": 0.1, "deadline": 60, "retry_after": 0.2}
    assert stack.admin("move", **order)["severed"] == 0
    for pane in range(4):
        line_in(page, pane, "echo moved-$((mine + 3000))")
    for pane in range(4):
        shows(page, pane, f"moved-{3000 + pane}")
    assert worker_connections(stack) == 1
    assert {entry["generation"] for entry in stack.admin("sessions")["items"]} == {"g2"}

    page.reload()
    until(lambda: panes(page).count() == 4, "the panes")
    connected(page)
    until(lambda: all("moved-" in text(page, pane) for pane in range(4)), "their screens")
    order_now = [next(at for at in range(4) if f"moved-{3000 + at}" in text(page, pane)) for pane in range(4)]
    assert squares(page) == [{0: (0, 0), 1: (1, 0), 2: (0, 1), 3: (1, 1)}[at] for at in order_now]
    for pane, at in enumerate(order_now):
        line_in(page, pane, "echo again-$((mine + 4000))")
        shows(page, pane, f"again-{4000 + at}")
    assert {entry["id"] for entry in stack.admin("sessions")["items"]} == sessions
    assert worker_connections(stack) == 1


@OTHERS
def test_focus_dividers_and_the_end_of_a_pane(page):
    page.get_by_role("button", name="Split side by side").click()
    until(lambda: panes(page).count() == 2, "two panes")
    focused = page.locator(".pane[data-focused]")
    line_in(page, 1, "echo right-$(tput cols)")
    shows(page, 1, "right-")
    page.keyboard.press("Alt+ArrowLeft")
    page.keyboard.type("echo left-$((1+1))\n")
    shows(page, 0, "left-2")
    assert focused.locator(".xterm-rows").inner_text() == text(page, 0)
    assert "left-2" not in text(page, 1)

    divider = page.get_by_role("separator")
    assert divider.get_attribute("aria-valuenow") == "50"
    assert divider.get_attribute("aria-orientation") == "vertical"
    divider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert divider.get_attribute("aria-valuenow") == "40"
    box = divider.bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 4 + 330, box["y"] + 100, steps=4)
    page.mouse.up()
    assert 68 <= int(divider.get_attribute("aria-valuenow")) <= 72
    line_in(page, 0, "echo wide-$(tput cols)-")
    line_in(page, 1, "echo narrow-$(tput cols)-")
    shows(page, 0, "wide-8")
    shows(page, 1, "narrow-3")

    # Its key is the program's again once there is one pane.
    line_in(page, 1, "sleep 2; exit 3")
    until(lambda: panes(page).count() == 1, "the pane whose shell has ended being closed")
    page.get_by_role("status").filter(has_text="ended with status 3").wait_for()
    page.keyboard.type("stty sane; cat -v\n")
    page.keyboard.press("Alt+ArrowLeft")
    page.keyboard.press("Enter")
    shows(page, 0, "^[[1;3D")


@OTHERS
def test_the_layout_and_the_place_of_a_divider_come_back_and_a_closed_pane_too(page):
    page.keyboard.press("Alt+Shift+D")
    until(lambda: panes(page).count() == 2, "two panes")
    line_in(page, 1, "echo second-$((1+1))")
    shows(page, 1, "second-2")
    divider = page.get_by_role("separator")
    divider.focus()
    page.keyboard.press("Home")
    page.get_by_role("button", name="+ shell").click()
    connected(page)
    page.get_by_role("tab").nth(0).click()
    page.reload()
    until(lambda: panes(page).count() == 2, "two panes of the tab that was looked at")
    assert page.get_by_role("separator").get_attribute("aria-valuenow") == "10"
    assert page.get_by_role("tab").count() == 2
    until(lambda: "second-2" in text(page, 1), "its screen")
    work_in(page, 1)
    page.keyboard.press("Alt+Shift+W")
    until(lambda: panes(page).count() == 1, "one pane")
    page.keyboard.press("Alt+Shift+T")
    until(lambda: page.get_by_role("tab").count() == 3, "the closed pane, as a tab")
    until(lambda: "second-2" in page.locator(".pane:visible .xterm-rows").inner_text(), "its screen")


@OTHERS
def test_what_happens_in_a_pane_shows_on_its_tab(page):
    page.keyboard.press("Alt+Shift+D")
    until(lambda: panes(page).count() == 2, "two panes")
    line_in(page, 1, r"printf '\033]2;build\007'; sleep 1; printf '\007'")
    page.get_by_role("tab", name="build, 2 panes").wait_for()
    page.keyboard.press("Alt+ArrowLeft")
    page.get_by_role("tab", name="shell 1, 2 panes").wait_for()
    page.get_by_role("button", name="+ shell").click()
    page.get_by_role("tab", name="2 panes, rang its bell").wait_for()


@OTHERS
def test_finding_and_pasting_are_of_the_pane_that_is_worked_in(page):
    page.keyboard.press("Alt+Shift+D")
    until(lambda: panes(page).count() == 2, "two panes")
    line_in(page, 0, "echo needle-$((40+2))")
    shows(page, 0, "needle-42")
    work_in(page, 1)
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Find", exact=True).fill("needle-42")
    page.get_by_text("not found").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+ArrowLeft")
    page.keyboard.press("Control+Shift+F")
    page.get_by_text("1 of 1").wait_for()


@OTHERS
def test_a_phone_shows_one_pane_at_a_time(browser, address, tmp_path):
    context = browser.new_context(viewport={"width": 390, "height": 700}, has_touch=True, is_mobile=True)
    page = context.new_page()
    enter(page, address)
    page.get_by_role("button", name="Split one above the other").tap()
    page.get_by_role("button", name="Pane 2").wait_for()
    assert panes(page).count() == 1
    page.keyboard.type("echo two-$((1+1))\n")
    shows(page, 1, "two-2")
    page.screenshot(path=tmp_path / "phone-splits.png")
    page.get_by_role("button", name="Pane 1").tap()
    # Longer than what ends at once, and so may have said why, stays to be read.
    page.keyboard.type("echo one-$((1+1)); sleep 3; exit\n")
    shows(page, 0, "one-2")
    until(lambda: page.get_by_role("button", name="Pane 1").count() == 0, "the choice, of one")
    until(lambda: "two-2" in page.locator(".pane:visible .xterm-rows").inner_text(), "the other pane")


@OTHERS
def test_images_are_drawn_where_they_are_wanted_and_loaded_only_then(page, address):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sixel = r"\033Pq\"1;1;60;60#1;2;100;0;0#1" + "!60~-" * 10 + r"\033\\"
    line_in(page, 0, f"printf '{sixel}'; echo drawn-$((1+1))")
    shows(page, 0, "drawn-2")
    assert page.locator(".xterm-image-layer").count() == 0
    assert not [url for url in asked if "later/" in url]
    page.get_by_role("button", name="Settings").click()
    with page.expect_response("**/later/images.js"):
        page.get_by_label("Images that programs draw").check()
    page.get_by_role("button", name="Settings").click()

    def reds() -> int:
        return page.evaluate(
            """() => {
              const layer = document.querySelector(".xterm-image-layer");
              if (!layer) return 0;
              const { data } = layer.getContext("2d").getImageData(0, 0, layer.width, layer.height);
              let found = 0;
              for (let at = 0; at < data.length; at += 4) found += data[at] > 200 && data[at + 3] > 200;
              return found;
            }"""
        )

    until(lambda: line_in(page, 0, f"printf '{sixel}'") or reds() > 1000, "the image")

    def slowly(route) -> None:
        time.sleep(1)  # longer than what was drawn takes to come
        route.continue_()

    page.route("**/later/images.js", slowly)
    page.reload()
    connected(page)
    until(lambda: reds() > 1000, "the image, which is wanted still")


@needs_axe
@pytest.mark.slow("one pane is looked at in the first tier")
def test_nothing_serious_is_in_the_way_of_assistive_technology_with_several_panes(four):
    assert serious(four) == []
