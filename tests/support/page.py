"""What tests see and do of the terminals of a page."""

from __future__ import annotations

import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import TOKEN, Stack, until


def panes(page: Any) -> Any:
    """The panes that are seen, in the order in which they were begun."""
    return page.locator(".pane:visible")


def text(page: Any, pane: int) -> str:
    """What stands in a pane."""
    return page.locator(".pane").nth(pane).locator(".xterm-rows").inner_text()


def work_in(page: Any, pane: int) -> None:
    """Click into a pane, as a person does."""
    page.locator(".pane").nth(pane).locator(".xterm-screen").click()


def line_in(page: Any, pane: int, line: str) -> None:
    """Type a line in a pane."""
    work_in(page, pane)
    page.keyboard.type(line)
    page.keyboard.press("Enter")


def shows(page: Any, pane: int, wanted: str) -> None:
    """Wait until ``wanted`` stands in a pane."""
    until(lambda: wanted in text(page, pane), f"{wanted} in pane {pane}")


def worker_connections(stack: Stack) -> float:
    """WebSockets that are open, as the server counts them."""
    return _metric(stack, "terminals_process_connections", role="worker")


def accepted(stack: Stack) -> float:
    """Connections that workers were ever given."""
    return _metric(stack, "terminals_passed_connections_total", role="worker")


def _metric(stack: Stack, name: str, **labels: str) -> float:
    request = urllib.request.Request(f"http://127.0.0.1:{stack.status()['listeners']['web']}/metrics")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
