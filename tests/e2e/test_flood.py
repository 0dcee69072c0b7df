"""A page into which a program prints far more than anybody reads."""

from __future__ import annotations

import pytest

from tests.e2e.test_browser import address, browser, needs_chromium
from tests.e2e.test_page import page
from tests.support.page import line_in, panes, shows, text, work_in
from tests.support.stack import until

__all__ = ["address", "browser", "page"]
pytestmark = [*needs_chromium, pytest.mark.slow("50 MB of output")]

LINE = b"the quick brown fox jumps over the lazy dog, once more and then again \xe2\x9c\x93\n"
MEGABYTES = 50


@pytest.fixture
def heap(page):
    """Bytes of the page's heap that are in use, garbage apart."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")

    def used() -> int:
        session.send("HeapProfiler.collectGarbage")
        return session.send("Runtime.getHeapUsage")["usedSize"]

    return used


def output(stack, megabytes: int):
    path = stack.root / f"output-{megabytes}"
    path.write_bytes(LINE * (megabytes * 1_000_000 // len(LINE)))
    return path


def test_whoever_types_beside_a_flood_is_answered_and_the_page_stays_small(page, stack, heap):
    page.keyboard.press("Alt+Shift+D")
    until(lambda: panes(page).count() == 2, "two panes")
    # What can be scrolled back to is full by then, and takes what it takes.
    line_in(page, 0, f"cat {output(stack, 5)}; echo full-$((1+1))")
    until(lambda: page.wait_for_timeout(50) or "full-2" in text(page, 0), "the first flood, to its end")
    full = heap()

    # Without an end, so that whoever is answered is answered beside it, however slow the machine is.
    printed = stack.root / "printed"
    line_in(page, 0, f"while :; do cat {output(stack, MEGABYTES)}; echo once >>{printed}; done")
    until(lambda: "quick brown fox" in text(page, 0), "the flood")
    work_in(page, 1)
    answered, most = 0, 0
    while answered < 5 or not printed.exists():
        page.keyboard.type(f"echo k-$(({answered}+1000))\n")
        shows(page, 1, f"k-{1000 + answered}")
        answered += 1
        most = max(most, heap())
    work_in(page, 0)
    page.keyboard.press("Control+c")
    page.keyboard.type("echo ended-$((1+1))\n")
    shows(page, 0, "ended-2")
    # What is on its way is bounded by windows: a small part of what was printed, however much that was.
    assert most - full < MEGABYTES * 1e6 / 5, f"{most / 1e6:.0f} MB of heap, after {full / 1e6:.0f}"
    assert heap() - full < MEGABYTES * 1e6 / 10


def test_a_flood_is_stopped_by_ctrl_c_long_before_its_end(page, stack):
    flood = "yes " + "x" * 60
    line_in(page, 0, flood)
    # More than the line that was typed: what is pressed before the program runs, it never hears of.
    until(lambda: text(page, 0).count("x" * 60) > 5, "the flood")
    page.keyboard.press("Control+c")
    page.keyboard.type("echo stopped-$((1+1))\n")
    shows(page, 0, "stopped-2")
