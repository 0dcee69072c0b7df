"""The dashboard in a real browser, while real rollouts go on that were asked for by the page."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_browser import browser, complaints, needs_chromium
from tests.support.project import TwoStages, source_of
from tests.support.stack import until

__all__ = ["browser"]
pytestmark = [
    *needs_chromium,
    pytest.mark.rollout,
    pytest.mark.in_order,
    pytest.mark.slow("four rollouts, each asked for by the page"),
]
PATIENT_MS = 240_000


@pytest.fixture(scope="module")
def project() -> Iterator[TwoStages]:
    """One build serves dev and staging, another dev."""
    with TwoStages.deployed() as project:
        assert project.run("promote", "staging", "--wait") == 0, project.said
        source = source_of("0.2.0", project.folder / "source")
        assert project.run("build", "--source", str(source)) == 0, project.said
        assert project.run("deploy", "dev") == 0, project.said
        yield project


@pytest.fixture(scope="module")
def link(project: TwoStages) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "rollout",
        "dashboard",
        "--port",
        "0",
        "--no-browser",
        "--interval",
        "500ms",
    ]
    process = subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(30)


@pytest.fixture
def page(browser, link):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    problems = complaints(page)
    page.set_default_timeout(PATIENT_MS)
    page.goto(link)
    page.get_by_role("status").filter(has_text="Live").wait_for()
    assert "key" not in page.url
    yield page
    assert [text for text in problems if "400 (Bad Request)" not in text] == []  # what was not confirmed


TOP = {"x": 0, "y": 0, "height": 1900}
"""The rollout that goes on, and the environments; below are commands and history, of any length."""


def keep(page, name: str, tmp_path: Path) -> None:
    """A picture of the page; ``KEEP_PICTURES=docs/images`` keeps what the documentation shows."""
    folder = Path(os.environ.get("KEEP_PICTURES") or tmp_path)
    page.screenshot(path=folder / f"{name}.png", full_page=True, clip={**TOP, "width": 1280})


def order(page, action: str, environment: str = "staging") -> None:
    page.locator(f'[data-do="{action}"][data-environment="{environment}"]').click()
    page.get_by_label("to confirm").fill(environment)
    page.get_by_role("button", name="Do it").click()
    page.get_by_role("dialog").wait_for(state="hidden")


def newest(project: TwoStages) -> dict:
    return project.json("history", "staging")[0]


def staging(project: TwoStages) -> dict[str, Any]:
    """What rollout.yaml says of it."""
    return json.loads((project.folder / "rollout.yaml").read_text())["environments"]["staging"]


@contextlib.contextmanager
def declared(project: TwoStages, **changes: Any) -> Iterator[None]:
    """While rollout.yaml says something else of staging."""
    path = project.folder / "rollout.yaml"
    before = path.read_text()
    whole = json.loads(before)
    whole["environments"]["staging"] |= changes
    path.write_text(json.dumps(whole))
    try:
        yield
    finally:
        path.write_text(before)


def test_what_is_asked_for_has_to_be_confirmed(page, project, tmp_path):
    page.locator('[data-do="promote"]').click()
    page.get_by_label("to confirm").fill("dev")
    page.get_by_role("button", name="Do it").click()
    page.get_by_text("to confirm, write the name of the environment: staging").wait_for()
    page.screenshot(path=tmp_path / "confirm.png")
    page.get_by_role("button", name="Leave it").click()
    page.set_viewport_size({"width": 390, "height": 800})
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_promotion_is_watched_step_by_step(page, project, tmp_path):
    order(page, "promote")
    going = page.locator("article.going")
    going.get_by_role("heading", name="promote running").wait_for()
    going.locator("li.running").first.wait_for()
    going.locator("li.done").first.wait_for()
    going.get_by_role("row").filter(has_text="load.").first.wait_for()
    going.locator("svg polyline").first.wait_for(state="attached")
    keep(page, "dashboard", tmp_path)
    page.locator("#orders").get_by_text("done").wait_for()
    going.wait_for(state="detached")
    assert newest(project)["state"] == "promoted"
    page.locator("#history").get_by_role("row").filter(has_text="promote").filter(
        has_text="0.2.0"
    ).first.wait_for()
    page.screenshot(path=tmp_path / "after.png", full_page=True)


def test_a_rollout_that_goes_on_is_cancelled_from_the_page(page, project, tmp_path):
    source = source_of("0.3.0", project.folder / "source")
    assert project.run("build", "--source", str(source)) == 0, project.said
    assert project.run("deploy", "dev") == 0, project.said
    # It is looked at for longer than any page needs to be told so, and anybody to say that it is to end.
    with declared(project, canary=[{"weight": 100, "hold": "10m"}], max_hold="11m"):
        order(page, "promote")
        page.locator("article.going li.running").filter(has_text="watch").first.wait_for()
        order(page, "cancel")
        page.locator("article.going.rolling-back li.back").first.wait_for()
        page.screenshot(path=tmp_path / "back.png", full_page=True)
        page.locator("article.going").wait_for(state="detached")
    record = until(
        lambda: (found := newest(project))["state"] == "rolled-back" and found, "it was taken back"
    )
    assert "0.3.0" in record["build"]
    page.get_by_role("link", name="incident").first.click()
    assert "0.3.0" in page.locator("body").inner_text()
    page.go_back()
    page.get_by_role("link", name="report").first.click()
    page.get_by_role("heading", name="Quality gates").wait_for()


def test_a_gate_that_fails_is_seen_to_fail(page, project, tmp_path):
    gate = {"metric": "generation.memory_bytes", "op": "<", "threshold": "1MB", "name": "little"}
    with declared(project, gates=[*staging(project)["gates"], gate]):
        order(page, "promote")
        going = page.locator("article.going.rolling-back")
        going.get_by_role("row").filter(has_text="little").filter(has_text="fail").first.wait_for()
        keep(page, "dashboard-failed", tmp_path)
        going.wait_for(state="detached")
        assert newest(project)["state"] == "rolled-back"


def test_back_to_the_build_before(page, project):
    order(page, "rollback")
    page.locator("#orders details").first.get_by_text("done").wait_for()
    record = newest(project)
    assert (record["kind"], record["state"]) == ("rollback", "promoted")
    assert "0.1.0" in record["build"]
    # Another who looks on, without the key, may do nothing.
    other = page.context.browser.new_context().new_page()
    other.goto(page.url)
    other.get_by_text("to look at only").wait_for()
    assert other.locator(".actions:visible").count() == 0
