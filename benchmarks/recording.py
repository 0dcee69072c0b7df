"""What recording costs: a shell's throughput and echo with and without, by turns in one run.

python -m benchmarks.recording [--megabytes 20] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from tests.support.stack import Stack, until

SHELL = ["env", "TERM=dumb", "PS1=", "bash", "--norc", "--noprofile"]
KEYS = 200
"""Of one round, each typed when the one before has come back."""
KINDS = {
    "lines": "yes 'the quick brown fox jumps over the lazy dog'",
    "escapes": r"yes $'\e[1;32mgreen\e[0m \u20ac'",
}


def _seconds(stack: Stack, profile: str, what: str, megabytes: int) -> float:
    """Until so much output of a new session was received."""
    with stack.terminal(profile) as terminal:
        terminal.send(b"stty -echo; echo rea''dy\n")
        terminal.expect(b"ready\r\n")
        size = megabytes * 1_000_000
        terminal.send(f"{what} | head -c {size}; echo 'do''ne'\n".encode())
        began, got, tail = time.perf_counter(), 0, b""
        while b"done" not in tail:
            data = terminal.read(0.05)
            got, tail = got + len(data), (tail + data)[-64:]
        took = time.perf_counter() - began
        assert got >= size
        terminal.close(kill=True)
    return took


def _echo(stack: Stack, profile: str) -> float:
    """Median milliseconds of a key and its echo."""
    times = []
    with stack.terminal(profile) as terminal:
        terminal.send(b"stty -icanon; echo rea''dy; exec cat > /dev/null\n")
        terminal.expect(b"ready\r\n")
        for _ in range(KEYS):
            began = time.perf_counter()
            terminal.send(b"k")
            terminal.expect(b"k")
            times.append((time.perf_counter() - began) * 1000)
        terminal.close(kill=True)
    return statistics.median(times)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    profiles = {"system": {"command": SHELL, "record": True}, "claude": {"command": SHELL}}
    stack = Stack(profiles=profiles, stable_seconds=0, recordings={"max_recording_bytes": 0, "max_bytes": 0})
    try:
        stack.start_generation("g1", weight=100)
        for name, what in KINDS.items():
            took: dict[str, list[float]] = {"system": [], "claude": []}
            for _ in range(asked.rounds):
                for profile, seconds in took.items():
                    seconds.append(_seconds(stack, profile, what, asked.megabytes))
            with_it, without = (
                asked.megabytes / statistics.median(took[each]) for each in ("system", "claude")
            )
            print(
                f"{name}: recorded {with_it:.1f} MB/s, not {without:.1f} MB/s, ratio {with_it / without:.2f}"
            )
        folder = Path(stack.settings["state_dir"]) / "recordings"
        until(
            lambda: not any(item["state"] == "running" for item in stack.admin("recordings")["items"]),
            "the ends",
        )
        size = sum(path.stat().st_size for path in folder.glob("*.cast"))
        print(f"file: {size / (len(KINDS) * asked.rounds * asked.megabytes * 1e6):.2f} bytes a byte printed")
        echo = {
            profile: [_echo(stack, profile) for _ in range(asked.rounds)] for profile in ("system", "claude")
        }
        with_it, without = (statistics.median(echo[each]) for each in ("system", "claude"))
        print(f"echo: recorded {with_it:.2f} ms, not {without:.2f} ms")
    finally:
        stack.close()


if __name__ == "__main__":
    main()
