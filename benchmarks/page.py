"""The page in Chromium: first paint, bytes transferred, and how fast output is shown, beside ttyd's page.

    python -m benchmarks.page [--megabytes 20] [--rounds 3]

Output has been shown once the terminal answers a question that was printed behind it. ttyd is measured in the
same browser, by turns, where its program is on PATH; a round in which output is not shown to its end within
LIMIT_SECONDS is counted, and left out of the throughput.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.stack import TOKEN, Stack, until

LIMIT_SECONDS = 60
SHELL = ["bash", "--norc", "--noprofile"]
ARGUMENTS = [
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    # Where there is no graphics processor, as on a server, WebGL is the processor's work: many times slower.
    "--disable-gpu",
    "--disable-3d-apis",
]
PAINTED = """() => {
  const entries = ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type));
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return [paint?.startTime ?? null, entries.reduce((sum, entry) => sum + entry.transferSize, 0)];
}"""


@contextmanager
def ours() -> Iterator[str]:
    """The address of our page."""
    stack = Stack(profiles={"system": {"command": SHELL}, "claude": {"command": SHELL}})
    try:
        stack.start_generation("g1", weight=100)
        stack.start_web("g1")
        yield f"http://127.0.0.1:{stack.status()['listeners']['web']}/#token={TOKEN}"
    finally:
        stack.close()


@contextmanager
def ttyd() -> Iterator[str]:
    """The address of ttyd's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["ttyd", "-W", "-i", "127.0.0.1", "-p", str(port), *SHELL]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(answers, "ttyd answering")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def first_look(browser: Any, address: str) -> tuple[float, int]:
    """Ms to the first contentful paint, and bytes transferred until the terminal is there; with no cache."""
    context = browser.new_context(viewport={"width": 1100, "height": 640})
    try:
        page = context.new_page()
        page.goto(address)
        page.locator(".xterm-screen").wait_for()
        until(lambda: page.evaluate(PAINTED)[0] is not None, "the first paint")
        painted, transferred = page.evaluate(PAINTED)
        return painted, transferred
    finally:
        context.close()


def shown(browser: Any, address: str, folder: Path, size: int) -> float | None:
    """Seconds until ``size`` bytes of text have been shown; ``None``: they were not."""
    output, begun, done = folder / "output", folder / "begun", folder / "done"
    if not output.exists():
        line = b"the quick brown fox jumps over the lazy dog, once more and then again \xe2\x9c\x93\n"
        output.write_bytes(line * (size // len(line)))
    for path in (begun, done):
        path.unlink(missing_ok=True)
    context = browser.new_context(viewport={"width": 1100, "height": 640})
    try:
        page = context.new_page()
        page.goto(address)
        page.locator(".xterm-screen").wait_for()
        page.locator(".xterm-helper-textarea").first.focus()

        def reads() -> bool:
            page.keyboard.type(f"touch {begun}\n")
            page.wait_for_timeout(300)
            return begun.exists()

        until(reads, "the shell")
        page.keyboard.type(f"cat {output}; printf '\\033[6n'; read -rsd R; touch {done}")
        started = time.perf_counter()
        page.keyboard.press("Enter")
        while not done.exists():
            if time.perf_counter() - started > LIMIT_SECONDS:
                return None
            page.wait_for_timeout(20)
        return time.perf_counter() - started
    finally:
        context.close()


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("Debian's chromium is not on PATH: nothing is measured")
    rivals = {"terminals": ours}
    if shutil.which("ttyd"):
        rivals["ttyd"] = ttyd
    else:
        print("ttyd is not on PATH: our page is measured alone")
    size = options.megabytes * 1_000_000
    taken: dict[str, list[tuple[float, int, float | None]]] = {name: [] for name in rivals}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for _ in range(options.rounds):
            for name, serve in rivals.items():
                with serve() as address:
                    painted, transferred = first_look(browser, address)
                    seconds = shown(browser, address, Path(folder), size)
                    taken[name].append((painted, transferred, seconds))
                    print(
                        f"{name}: {'not to its end' if seconds is None else f'{seconds:.1f} s'}", flush=True
                    )
        browser.close()
    speeds: dict[str, float] = {}
    for name, rounds in taken.items():
        first = statistics.median(each[0] for each in rounds)
        kilobytes = statistics.median(each[1] for each in rounds) / 1e3
        print(f"{name:<10} first paint {first:.0f} ms, {kilobytes:.0f} kB transferred,", end=" ")
        ended = [each[2] for each in rounds if each[2] is not None]
        print(f"{options.megabytes} MB shown to their end in {len(ended)} of {len(rounds)} rounds", end="")
        if ended:
            speeds[name] = size / statistics.median(ended) / 1e6
            print(f", at {speeds[name]:.1f} MB/s", end="")
        print()
    if len(speeds) == 2:
        print(f"throughput, ours / ttyd: {speeds['terminals'] / speeds['ttyd']:.2f}")


if __name__ == "__main__":
    main()
