"""The page as people see it, on a desk and on a phone, by day and by night.

``KEEP_PICTURES=docs/images`` keeps what the documentation shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_browser import browser, needs_chromium
from tests.e2e.test_page import connected, enter
from tests.support.page import line_in, panes, shows
from tests.support.stack import Stack, running, until

__all__ = ["browser"]
pytestmark = [*needs_chromium, pytest.mark.slow("the pictures of the documentation")]

DESK = {"viewport": {"width": 1200, "height": 700}}
PHONE = {"viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True}
BASH = ["env", "TERM=xterm-256color", r"PS1=\[\e[32m\]ada@staging\[\e[0m\]:\[\e[34m\]~/shop\[\e[0m\]$ "]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Somebody's shop, with something to look at."""
    shop = tmp_path / "shop"
    (shop / "src").mkdir(parents=True)
    for name in ("README.md", "compose.yaml", "src/cart.py", "src/prices.py", "src/till.py"):
        (shop / name).write_text("def total(prices: list[float]) -> float:\n    return sum(prices)\n")
    shell = ["sh", "-c", f"cd {shop} && exec bash --norc --noprofile"]
    with running(
        "g42", profiles={"system": {"command": [*BASH, *shell]}, "claude": {"command": shell}}, web=True
    ) as stack:
        yield stack


@pytest.fixture
def address(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.status()['listeners']['web']}/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_pictures(stack, browser, address, tmp_path, device, scheme):
    kept = Path(os.environ.get("KEEP_PICTURES", tmp_path))
    context = browser.new_context(color_scheme=scheme, **(PHONE if device == "phone" else DESK))
    page = context.new_page()
    enter(page, address)

    def picture(name: str) -> None:
        path = kept / f"{name}-{device}-{scheme}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 5_000

    line_in(page, 0, "ls --color -l; grep -n --color total -r src")
    shows(page, 0, "till.py")
    stack.kill("worker-g42")
    page.keyboard.type("echo typed while the server was dead\n")
    page.get_by_text("Reconnecting").first.wait_for()
    stack.start("worker", "g42")
    until(lambda: "typed while the server was dead" in page.locator(".xterm-rows").inner_text(), "the line")
    connected(page)
    picture("terminal")

    page.get_by_role("button", name="Split side by side").click()
    until(lambda: page.locator(".pane").count() == 2, "two panes")
    line_in_focused(page, "watch -n 1 --color 'ls -l --color src'")
    page.get_by_role("button", name="Split one above the other").click()
    until(lambda: page.locator(".pane").count() == 3, "three panes")
    line_in_focused(page, "TERM=xterm-256color top -d 1")
    if device == "desktop":
        page.keyboard.press("Alt+ArrowLeft")
        page.get_by_role("button", name="Split one above the other").click()
        until(lambda: panes(page).count() == 4, "four panes")
        line_in_focused(page, "cat src/cart.py")
        shows(page, 3, "sum(prices)")
    until(lambda: "Tasks:" in page.locator(".pane").nth(2).locator(".xterm-rows").text_content(), "top")
    page.wait_for_timeout(1500)  # what is drawn meanwhile is no condition
    picture("splits")

    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    page.get_by_label("The link").wait_for()
    picture("share")
    context.close()


def line_in_focused(page, line: str) -> None:
    """Type a line in the pane that was begun last, once its shell is there."""
    connected(page)
    rows = page.locator(".pane[data-focused] .xterm-rows")
    until(lambda: "shop" in rows.inner_text(), "the prompt")
    page.keyboard.type(f"{line}\n")
