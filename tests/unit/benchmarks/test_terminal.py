"""What the comparison with other terminals says of its own figures."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.terminal import Figures, bounds, cpu_seconds
from tests.support.stack import until


def figures(echo: float, key: float, idle: float) -> Figures:
    return Figures(echo_ms=[echo] * 3, cpu_us_per_key=[key] * 3, idle_session_bytes=idle, prompt_ms=[1.0])


def test_bounds_are_kept_up_to_their_limit():
    result = {"terminals": figures(0.2, 100, 12_000), "ttyd": figures(0.1, 40, 20_000)}
    assert [kept for _, kept in bounds(result)] == [True, True, True]


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        (figures(0.21, 100, 12_000), "echo p50, ms"),
        (figures(0.2, 101, 12_000), "CPU, us per key"),
        (figures(0.2, 100, 12_100), "memory, KB per idle session"),
    ],
)
def test_a_bound_that_is_missed_is_named(ours, missed):
    lines = [line for line, kept in bounds({"terminals": ours, "ttyd": figures(0.1, 40, 1)}) if not kept]
    assert len(lines) == 1
    assert missed in lines[0]
    assert "MISSED" in lines[0]


def test_what_was_not_measured_is_not_kept():
    found = bounds({"terminals": figures(0.1, 10, 1_000)})
    assert [kept for _, kept in found] == [False, False, True]
    assert all("not measured" in line for line, kept in found if not kept)


def test_cpu_of_a_process_is_counted_finer_than_by_ticks_of_ten_milliseconds():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            seconds = until(lambda: cpu_seconds([process.pid]), "some work")
            assert round(seconds * 1e9) % 10_000_000
            until(lambda: cpu_seconds([process.pid, process.pid]) > 2 * seconds, "more of it")
        finally:
            process.kill()
