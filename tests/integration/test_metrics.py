"""The metrics of a live service, read by Prometheus' own parser."""

from __future__ import annotations

import socket
import threading
import time
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
    stack.start_web("g1")
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


def test_the_pool_counts_connections_and_how_long_they_waited(served):
    before = scrape(served)
    assert before["terminals_dropped_connections_total"] == {
        (("reason", reason),): 0 for reason in ("failed", "full", "late")
    }
    served.kill("worker-g1")
    terminal = served.terminal()
    waiting = threading.Thread(target=terminal.open)
    waiting.start()
    until(lambda: scrape(served)["terminals_waiting_connections"][()] == 1, "a connection waiting")
    told = served.status()["pool"]
    assert (told["waiting"], told["room"], told["dropped"]) == (1, 4096, 0)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.3, "it has waited")
    served.start("worker", "g1")
    waiting.join(60)
    after = scrape(served)
    assert after["terminals_waiting_connections"][()] == 0
    assert after["terminals_waiting_connections_limit"][()] == 4096

    def grown(name: str, **labels: str) -> float:
        key = tuple(sorted(labels.items()))
        return after[name][key] - before[name].get(key, 0)

    assert grown("terminals_accepted_connections_total", listener="system") == 1
    assert grown("terminals_passed_connections_total", role="worker", generation="g1") == 1
    assert grown("terminals_connection_wait_seconds_count") >= 2  # and those of the scrapes
    assert 0.3 < grown("terminals_connection_wait_seconds_sum") < 60
    assert grown("terminals_connection_wait_seconds_bucket", le="0.25") == (
        grown("terminals_connection_wait_seconds_count") - 1
    )
    then = served.status()["pool"]
    assert then["waiting"] == 0
    assert then["passed"] > told["passed"]
    assert 0.3 < then["waited"] - told["waited"] < 60
    counts = {dict(key)["role"]: value for key, value in after["terminals_process_connections"].items()}
    assert counts["worker"] == 1
    terminal.close(kill=True)


@pytest.mark.slow("waits for as long as a connection may")
def test_a_connection_that_nobody_takes_is_let_go_and_counted(served):
    served.kill("worker-g1")
    port = served.status()["listeners"]["system"]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        assert sock.recv(1) == b"", "nothing is said, and it ends"
    assert scrape(served)["terminals_dropped_connections_total"][(("reason", "late"),)] == 1


def test_counters_do_not_go_back_when_a_session_is_forgotten():
    stack = Stack(max_ended_sessions=1)
    try:
        stack.start_generation("g1", weight=100)
        stack.start_web("g1")
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
