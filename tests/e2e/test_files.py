"""Files that are dropped on the page, and files that a shell sends to it, in a real browser."""

from __future__ import annotations

import base64
import random
import shlex
import sys
from pathlib import Path

import pytest

from tests.e2e.test_browser import browser, complaints, needs_chromium, screen, type_line
from tests.support.stack import TOKEN, running, until

__all__ = ["browser"]
pytestmark = needs_chromium

SHELL = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]
NAME = "<img src=x onerror=alert(1)>.txt"
SEND = shlex.join([sys.executable, "-m", "terminals", "send"])


@pytest.fixture(scope="module")
def stack():
    files = {"upload": True, "download": True, "max_bytes": 64 << 20}
    with running(
        profiles={"system": {"command": SHELL, "files": files}, "claude": {"command": SHELL}},
        breaker_threshold=1000,
        web=True,
    ) as stack:
        yield stack


@pytest.fixture
def page(browser, stack, tmp_path):
    """The page, in whose shell the folder is ``there``."""
    (tmp_path / "there").mkdir()
    page = browser.new_page(viewport={"width": 1100, "height": 640})
    problems = complaints(page)
    page.goto(f"{stack.url('web')}#token={TOKEN}")
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    type_line(page, f"cd {tmp_path / 'there'}; echo in-$((1+1))")
    until(lambda: "in-2" in screen(page), "the folder")
    yield page
    page.close()
    assert [text for text in problems if "WebSocket" not in text] == []


def drop(page, name: str, data: bytes) -> None:
    """As a browser does when a person drops a file on the terminal."""
    page.evaluate(
        """([name, text]) => {
          const data = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([data], name, { lastModified: 1 }));
          const target = document.querySelector(".xterm-screen");
          for (const kind of ["dragover", "drop"]) {
            target.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
          }
        }""",
        [name, base64.b64encode(data).decode()],
    )


def row(page, name: str):
    return page.get_by_role("region", name="Files").get_by_role("listitem").filter(has_text=name)


def test_a_dropped_file_is_where_the_shell_is(page, tmp_path):
    data = random.Random(1).randbytes(3 << 20)
    drop(page, "photo.jpg", data)
    row(page, "is there, as photo.jpg").wait_for()
    assert (tmp_path / "there" / "photo.jpg").read_bytes() == data
    # The person is told, and the terminal is what is typed in.
    assert page.locator("#file-said").text_content() == "photo.jpg: is there, as photo.jpg"
    # What a file is called is text and nothing else.
    drop(page, NAME, b"x")
    row(page, f"is there, as {NAME}").wait_for()
    assert page.locator("#files img").count() == 0
    page.get_by_role("button", name=f"Close {NAME}").click()
    page.get_by_role("button", name="Close photo.jpg").click()
    page.get_by_role("region", name="Files").wait_for(state="hidden")


@pytest.mark.slow("a page each: the first of them drops a file, and one of them is sent one")
def test_files_are_chosen_with_a_button_too(page, tmp_path):
    source = tmp_path / "chosen.txt"
    source.write_text("chosen")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload").click()
    chooser.value.set_files(source)
    row(page, "is there, as chosen.txt").wait_for()
    assert (tmp_path / "there" / "chosen.txt").read_text() == "chosen"


@pytest.mark.slow("a killed worker and a reload; tests/faults/test_upload_survives.py has more of that")
def test_an_upload_goes_on_when_its_worker_is_killed_and_after_a_reload(stack, page, tmp_path):
    there = tmp_path / "there"
    data = random.Random(2).randbytes(24 << 20)
    # What goes out is slowed, so that there is a middle.
    page.evaluate(
        """() => {
          const slice = File.prototype.slice;
          File.prototype.slice = function (...range) {
            const piece = slice.apply(this, range);
            const read = piece.arrayBuffer.bind(piece);
            piece.arrayBuffer = async () => {
              await new Promise((done) => setTimeout(done, 5));
              return read();
            };
            return piece;
          };
        }"""
    )

    def size() -> int:
        return next((path.stat().st_size for path in there.glob(".upload-*")), 0)

    drop(page, "disk.img", data)
    until(lambda: page.wait_for_timeout(20) or size() > 2 << 20, "a part of it")
    stack.kill("worker-g1")
    stack.start("worker", "g1")
    had = size()
    until(lambda: page.wait_for_timeout(20) or size() > had + (1 << 20), "it goes on")
    page.reload()
    page.get_by_role("status").filter(has_text="Connected").wait_for()
    had = size()
    assert 0 < had < len(data)
    drop(page, "disk.img", data)
    row(page, "is there, as disk.img").wait_for()
    assert [path.name for path in there.iterdir()] == ["disk.img"]
    assert (there / "disk.img").read_bytes() == data


@pytest.mark.slow("tests/integration/test_download.py has the server's side, vitest the page's")
def test_a_file_that_the_shell_sends_is_asked_about_and_kept(page, tmp_path):
    source = tmp_path / "report.pdf"
    source.write_bytes(random.Random(3).randbytes(2 << 20))
    type_line(page, f"{SEND} {source}; echo status-$?-")
    button = page.get_by_role("button", name="Download report.pdf")
    button.wait_for()
    with page.expect_download() as kept:
        button.click()
    assert kept.value.suggested_filename == "report.pdf"
    assert Path(kept.value.path()).read_bytes() == source.read_bytes()
    until(lambda: "status-0-" in screen(page), "its sender has heard")


@pytest.mark.slow("as its neighbour, the other way")
def test_one_that_is_declined_is_said_to_whoever_sends_it(page, tmp_path):
    source = tmp_path / "unwanted"
    source.write_text("x")
    type_line(page, f"{SEND} {source}; echo status-$?-")
    page.get_by_role("button", name="Decline unwanted").click()
    until(lambda: "status-1-" in screen(page), "its sender has heard")
    page.get_by_role("region", name="Files").wait_for(state="hidden")
