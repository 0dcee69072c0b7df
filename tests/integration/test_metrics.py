"""The metrics of a live service, read by Prometheus' own parser."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import TOKEN, Stack, until


def scrape(stack) -> dict[str, dict[tuple, float]]:
    """Values by sample name and labels."""
    request = urllib.request.Request(f"http://127.0.0.1:{stack.status()['listeners']['web']}/metrics")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    found: dict[str, dict[tuple, float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type != "unknown", family
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


@pytest.fixture
def served(stack):
    stack.start("web", "g1")
    until(lambda: stack.generation("g1").get("web"), "the web process")
    return stack


def test_metrics_need_the_token(served):
    port = served.status()["listeners"]["web"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics")


def test_metrics_count_what_happened(served):
    g1 = (("build", "build-g1"), ("generation", "g1"))
    before = scrape(served)
    assert before["terminals_attach_seconds_count"].get(g1, 0) == 0
    with served.terminal() as terminal:
        terminal.send(b"echo [$((6 * 7))]\n")
        terminal.expect(rb"\[42\]")
        terminal.cut()
        terminal.open()
        terminal.send(b"echo [$((7 * 7))]\n")
        terminal.expect(rb"\[49\]")
        after = scrape(served)
    assert after["terminals_attaches_total"][g1] == 2
    assert after["terminals_attach_seconds_count"][g1] == 2
    assert 0 < after["terminals_attach_seconds_sum"][g1] < 60
    assert after["terminals_reconnect_gap_seconds_count"][g1] == 1
    assert after["terminals_sessions"][("profile", "system"), ("state", "attached")] == 1
    assert after["terminals_input_bytes_total"][()] == 2 * len(b"echo [$((6 * 7))]\n")
    assert after["terminals_output_bytes_total"][()] >= terminal.received - 100
    assert after["terminals_breakers"][("scope", "session"), ("state", "closed")] == 1
    assert after["terminals_shell_starts_total"][(("source", "started"),)] == 1
    assert after["terminals_generation_weight"][g1] == 100
    assert after["terminals_connections"][g1] >= 1
    memory = {dict(labels)["role"]: value for labels, value in after["terminals_memory_bytes"].items()}
    assert set(memory) == {"manager", "worker", "web"}
    assert all(value > 1 << 20 for value in memory.values())


def test_counters_do_not_go_back_when_a_session_is_forgotten():
    stack = Stack(max_ended_sessions=1)
    try:
        stack.start_generation("g1", weight=100)
        stack.start("web", "g1")
        until(lambda: stack.generation("g1").get("web"), "the web process")
        printed = 0.0
        for _ in range(3):
            with stack.terminal() as terminal:
                terminal.send(b"echo [$((6 * 7))]; exit\n")
                until(lambda one=terminal: one.pump(0.1) or one.exit_status is not None, "exit")
            now = scrape(stack)["terminals_output_bytes_total"][()]
            assert now > printed
            printed = now
        until(lambda: len(stack.admin("sessions")["items"]) == 1, "the others being forgotten")
        assert scrape(stack)["terminals_output_bytes_total"][()] >= printed
    finally:
        stack.close()
