"""Signing in by a provider of another site, in a real browser: its rules for cookies are what decides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.test_browser import browser, needs_chromium
from tests.e2e.test_page import connected
from tests.integration.test_oidc import Environment

__all__ = ["browser"]
pytestmark = needs_chromium


@pytest.fixture
def there(tmp_path) -> Iterator[Environment]:
    environment = Environment(tmp_path)
    yield environment
    environment.close()


def sign_in(page, login: str) -> None:
    page.get_by_role("button", name="Sign in with the test's provider").click()
    page.get_by_placeholder("Enter any login").fill(login)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_from_the_button_to_a_shell_and_out_again(there, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    breach = "Content Security Policy"
    page.on("console", lambda said: breach in said.text and problems.append(said.text))
    page.goto(there.pages[0])
    page.get_by_role("button", name="Sign in with").wait_for()
    page.screenshot(path=tmp_path / "panel.png")
    sign_in(page, "bob")
    connected(page)
    assert page.url == there.pages[0]
    page.reload()
    connected(page)
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("Signed in as oidc:bob").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(there.pages[0])
    # Out there, too: it asks who they are. And whoever is none of its groups' is told so, in our words.
    sign_in(page, "eve")
    page.get_by_role("alert").filter(has_text="You are none of those who may sign in here.").wait_for()
    assert page.url == there.pages[0]
    page.screenshot(path=tmp_path / "refused.png")
    assert [text for text in problems if there.provider.issuer not in text and "fonts." not in text] == []
