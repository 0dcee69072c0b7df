"""How quickly ``rollout --help`` answers, beside ``python -c 'import click'`` in the same run.

python -m benchmarks.help_speed
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Medians in milliseconds."""

    help_ms: float
    click_ms: float


def measure(rounds: int = 30) -> Figures:
    """Run both by turns, so that noise of the machine hits both, and take the medians."""
    times: dict[str, list[float]] = {"help": [], "click": []}
    commands = {
        "help": [sys.executable, "-m", "rollout", "--help"],
        "click": [sys.executable, "-c", "import click"],
    }
    for _ in range(rounds):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name].append((time.perf_counter() - started) * 1000)
    return Figures(statistics.median(times["help"]), statistics.median(times["click"]))


if __name__ == "__main__":
    figures = measure()
    limit = 1.5 * figures.click_ms + 100
    print(f"rollout --help {figures.help_ms:.0f} ms, limit {limit:.0f} ms")
    print(f"(1.5 times import click, {figures.click_ms:.0f} ms, plus 100 ms)")
