"""What each session takes of a machine, and, by a line through what was measured, what ten thousand would.

python -m benchmarks.capacity --sessions 500 --sessions 1000 --sessions 2000

Each session is a shell at its prompt with a client attached. All on loopback; clients are in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.peers import Line, Ours
from benchmarks.terminal import at_prompt, cpu_seconds, memory

WANTED = 10_000
LOOKS = 5
"""Times that the session manager is asked how it is, at each size."""


@dataclass(frozen=True)
class Look:
    """What a number of sessions takes. Bytes, and seconds of CPU."""

    sessions: int
    memory: dict[str, int]
    """Anonymous, by role."""
    descriptors: dict[str, int]
    ring_bytes: int
    """Of the disk, or of the memory where the state folder is in memory."""
    status_seconds: float
    """The session manager's, for one answer."""


async def _measure(ours: Ours, sizes: Sequence[int]) -> list[Look]:
    lines: list[Line] = []
    looks = [_look(ours, 0)]
    for size in sizes:
        while len(lines) < size:
            line = await ours.open()
            await at_prompt(line)
            lines.append(line)
        looks.append(await asyncio.to_thread(_look, ours, size))
    for line in lines:
        await line.close()
    return looks


def _look(ours: Ours, sessions: int) -> Look:
    pids = ours.roles
    spent = []
    for _ in range(LOOKS):
        before = cpu_seconds([pids["manager"]])
        ours.stack.admin("sessions")
        spent.append(cpu_seconds([pids["manager"]]) - before)
    rings = list((ours.stack.root / "state").glob("**/*.ring"))
    return Look(
        sessions,
        {role: memory([pid]) for role, pid in pids.items()},
        {role: len(list(Path(f"/proc/{pid}/fd").iterdir())) for role, pid in pids.items()},
        sum(path.stat().st_blocks * 512 for path in rings),
        statistics.median(spent),
    )


def _each(first: float, last: float, sessions: int) -> float:
    return (last - first) / sessions


def table(looks: Sequence[Look]) -> list[str]:
    """Lines to print: what one session takes, at each size, and what :data:`WANTED` would by the last."""
    first, last = looks[0], looks[-1]
    head = "".join(f"{look.sessions:>10}" for look in looks[1:])
    lines = [f"{'each of':28}{head}{f'{WANTED} take':>16}"]

    def row(name: str, of: list[float], unit: str, scale: float) -> None:
        each = [_each(of[0], value, look.sessions) for value, look in zip(of[1:], looks[1:], strict=True)]
        whole = of[0] + each[-1] * WANTED
        shown = "".join(f"{value / scale:>10.2f}" for value in each)
        lines.append(f"{name:28}{shown}{whole / scale:>13.0f} {unit}")

    for role in first.memory:
        row(f"memory of {role}", [float(look.memory[role]) for look in looks], "KB", 1e3)
    for role in first.descriptors:
        row(f"descriptors of {role}", [float(look.descriptors[role]) for look in looks], "", 1)
    row("rings", [float(look.ring_bytes) for look in looks], "KB", 1e3)
    row("a list of all, CPU", [look.status_seconds for look in looks], "us", 1e-6)
    most = max(last.descriptors.values()) / max(1, last.sessions) * WANTED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        *lines,
        f"limits: descriptors {soft} of {hard} (the most that one process would need: {most:.0f}),"
        f" terminals {_limit('pty/max')}, processes {_limit('pid_max')}, threads {_limit('threads-max')}",
    ]


def _limit(name: str) -> str:
    return Path("/proc/sys/kernel", name).read_text().strip()


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, action="append", help="sizes, ascending (500, 1000, 2000)")
    options = parser.parse_args()
    sizes = sorted(options.sessions or [500, 1000, 2000])
    ours = Ours(sizes[-1])
    began = time.monotonic()
    try:
        print("\n".join(table(uvloop.run(_measure(ours, sizes)))))
    finally:
        ours.close()
    print(f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
