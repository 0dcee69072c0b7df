"""What watching costs: memory and processor time of the monitor, beside those of a worker.

``python -m benchmarks.monitor`` prints a table. A round is one check of both profiles through the front
door, with its records and summaries, over a day's history at one-minute rounds.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from terminals.control.memory import proportional_set_size
from terminals.monitor.clock import Clock, Reading
from terminals.monitor.journal import Journal
from terminals.monitor.records import Writer

from tests.support.monitor import Monitored
from tests.support.stack import Stack, until

ROUNDS = 10
IDLE_SECONDS = 20.0
DAY = 86400.0
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def write_a_day(directory: Path) -> None:
    """What a monitor that checks each minute has left after a day."""
    now = Clock().read()
    journal, make = Journal(directory, 14 * DAY), Writer("00000000", 60.0)
    for minute in range(1440, 0, -1):
        back = 60.0 * minute
        then = Reading(now.wall - back, now.boottime - back, now.monotonic - back, now.boot)
        checks = [
            make.make(
                "check",
                then,
                profile=profile,
                ok=True,
                generation="g1",
                build="b1",
                connect_ms=2.0 + minute % 7,
                attach_ms=3.0 + minute % 11,
                command_ms=9.0,
                reconnect_ms=5.0 + minute % 13,
                acknowledged=True,
                resumed=True,
                error="",
            )
            for profile in ("system", "claude")
        ]
        journal.append(checks)
    journal.close()


def main() -> None:
    """Measure and print."""
    stack = Stack()
    try:
        stack.start_generation("g1", weight=100)
        worker = stack.processes["worker-g1"].pid
        watched = Monitored(stack, settle=2.1)
        write_a_day(watched.directory)
        watched.start(every=3)
        assert watched.process is not None
        pid = watched.process.pid
        until(lambda: len(watched_rounds(watched)) >= 2, "the first rounds", 60)
        begin, first = cpu(pid), len(watched_rounds(watched))
        began_worker = cpu(worker)
        until(lambda: len(watched_rounds(watched)) >= first + ROUNDS, "the rounds", 120)
        each = (cpu(pid) - begin) / ROUNDS
        each_worker = (cpu(worker) - began_worker) / ROUNDS
        memory, of_worker = proportional_set_size(pid), proportional_set_size(worker)
        watched.end(signal.SIGTERM)
        watched.start(every=3600)
        pid = watched.process.pid
        runs = {record["run"] for record in watched_rounds(watched)}
        until(lambda: {record["run"] for record in watched_rounds(watched)} - runs, "its round", 60)
        begin, started = cpu(pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = (cpu(pid) - begin) / (time.monotonic() - started)
        watched.end(signal.SIGTERM)
    finally:
        stack.close()
    print(f"memory: {memory / 1e6:.1f} MB, {memory / of_worker:.2f} of the worker's {of_worker / 1e6:.1f} MB")
    print(f"processor: {1000 * each:.0f} ms a round, and {1000 * each_worker:.0f} ms of the worker")
    share = each / 60 + idle
    print(f"between rounds: {60_000 * idle:.0f} ms a minute; at a round a minute {share:.3%} of a core")


def watched_rounds(watched: Monitored) -> list[dict]:
    """The records of this day's services, one a round."""
    lines = [
        line
        for path in watched.directory.glob("checks-*.jsonl")
        for line in path.read_bytes().split(b"\n")[:-1]
        if b'"kind":"services"' in line
    ]
    return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
