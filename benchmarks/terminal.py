"""Our terminals beside other web terminals, by turns in one run.

python -m benchmarks.terminal --assert

Peers: terminado (from PyPI, into an environment of its own), ttyd (where it is on PATH), and
a bare pseudo-terminal with no service at all, the floor. One client, with the same library,
measures all. All on loopback. With --assert it ends with 1 where a bound is not kept, or could
not be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from benchmarks.peers import Line, Peer, Ready, available

PATIENCE = 60.0
PROMPTS = (b"# ", b"$ ")
CONNECTS = 20
"""Connections, and reattachments, of one round."""
KEYS = 200
"""Of one round, each typed when the one before has come back."""


@dataclass
class Figures:
    """Raw figures of one peer. Times in milliseconds."""

    megabytes_per_second: list[float] = field(default_factory=list)
    cpu_seconds_per_gb: list[float] = field(default_factory=list)
    echo_ms: list[float] = field(default_factory=list)
    cpu_us_per_key: list[float] = field(default_factory=list)
    prompt_ms: list[float] = field(default_factory=list)
    reattach_ms: list[float] = field(default_factory=list)
    idle_session_bytes: float | None = None


async def _until(line: Line, found: Callable[[bytes], bool], keep: int = 64) -> int:
    """Receive until the tail of the output satisfies ``found``; returns how many bytes came."""
    tail, count = b"", 0
    while not found(tail):
        data = await asyncio.wait_for(line.receive(), PATIENCE)
        count += len(data)
        tail = (tail + data)[-max(keep, len(data)) :]
    return count


def _prompt(tail: bytes) -> bool:
    return tail.endswith(PROMPTS)


async def at_prompt(line: Line) -> None:
    """Wait until a new shell is there."""
    await _until(line, _prompt)


async def _connects(peer: Peer, figures: Figures) -> None:
    for _ in range(CONNECTS):
        began = time.perf_counter()
        line = await peer.open()
        await _until(line, _prompt)
        figures.prompt_ms.append((time.perf_counter() - began) * 1000)
        if peer.keeps_sessions:
            await line.send(b"exit\n")  # or it would stay, and load what comes after
            await asyncio.sleep(0)
        await line.close()


async def _reattaches(peer: Peer, figures: Figures, round_: int) -> None:
    if not peer.keeps_sessions:
        return
    key = f"reattach{round_}"
    line = await peer.open(key)
    await _until(line, _prompt)
    for _ in range(CONNECTS):
        await line.close()
        began = time.perf_counter()
        line = await peer.open(key)
        await line.send(b"x")
        await _until(line, lambda tail: tail.endswith(b"x"))
        figures.reattach_ms.append((time.perf_counter() - began) * 1000)
    await line.send(b"\x15exit\n")
    await line.close()


async def _echoes(peer: Peer, line: Line, figures: Figures) -> None:
    # The kernel echoes here: a line editor would draw more than the key at the end of a row.
    # The reader itself says that it is there, or the Ctrl-C below could meet the shell alone.
    await line.send(b"sh -c 'echo G\"\"O; exec cat > /dev/null'\n")
    await _until(line, lambda tail: tail.endswith(b"GO\r\n"))
    pids = peer.pids  # asked for once: the answer costs the servers some, too
    cpu = cpu_seconds(pids)
    for number in range(KEYS):
        key = b"abcdefghij"[number % 10 :][:1]
        began = time.perf_counter()
        await line.send(key)
        await _until(line, lambda tail, key=key: tail.endswith(key))  # type: ignore[misc]
        figures.echo_ms.append((time.perf_counter() - began) * 1000)
    if pids:
        figures.cpu_us_per_key.append((cpu_seconds(pids) - cpu) * 1e6 / KEYS)
    await line.send(b"\x03")
    await _until(line, _prompt)


async def _throughput(peer: Peer, line: Line, figures: Figures, size: int) -> None:
    text = "x" * 78
    pids = peer.pids
    cpu = cpu_seconds(pids)
    began = time.perf_counter()
    await line.send(f"yes {text} | head -c {size}; echo E''ND\n".encode())
    count = await _until(line, lambda tail: b"\r\nEND\r\n" in tail or b"xEND\r\n" in tail)
    seconds = time.perf_counter() - began
    figures.megabytes_per_second.append(count / 1e6 / seconds)
    if pids:
        figures.cpu_seconds_per_gb.append((cpu_seconds(pids) - cpu) / (count / 1e9))


async def _idle(peer: Peer, figures: Figures, sessions: int) -> None:
    if not peer.pids:
        return
    before = memory(peer.pids)
    lines = []
    for _ in range(sessions):
        line = await peer.open()
        await _until(line, _prompt)
        lines.append(line)
    figures.idle_session_bytes = (memory(peer.pids) - before) / sessions
    for line in lines:
        await line.close()


def cpu_seconds(pids: list[int]) -> float:
    """CPU seconds, of user and system, that the processes have used; their children's are not among them."""
    # The clock of clock_getcpuclockid(3). That of /proc/PID/stat ticks once in dozens of keys.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory(pids: list[int]) -> int:
    """Anonymous proportional set size of processes in bytes: rings are pages of files, and not counted."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                total += int(line.split()[1]) * 1024
    return total


async def _measure(peers: list[Peer], rounds: int, size: int, idle: int) -> dict[str, Figures]:
    result = {peer.name: Figures() for peer in peers}
    for peer in peers:
        await _connects(peer, Figures())  # the first of anything is slower, and nobody's figure
    for number in range(rounds):
        # By turns, and each in another's place of the round next time.
        first = number % len(peers)
        for peer in peers[first:] + peers[:first]:
            figures = result[peer.name]
            if isinstance(peer, Ready):
                peer.wait()
                await _connects(peer, figures)
                continue
            await _connects(peer, figures)
            await _reattaches(peer, figures, number)
            line = await peer.open()
            await _until(line, _prompt)
            await _echoes(peer, line, figures)
            await _throughput(peer, line, figures, size)
            await line.close()
    for peer in peers:
        if isinstance(peer, Ready):
            continue
        await _idle(peer, result[peer.name], idle)
    return result


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


ROWS: list[tuple[str, Callable[[Figures], float | None]]] = [
    ("throughput, MB/s", lambda f: statistics.median(f.megabytes_per_second) if f.echo_ms else None),
    ("CPU, s/GB", lambda f: statistics.median(f.cpu_seconds_per_gb) if f.cpu_seconds_per_gb else None),
    ("echo p50, ms", lambda f: percentile(f.echo_ms, 0.5) if f.echo_ms else None),
    ("echo p99, ms", lambda f: percentile(f.echo_ms, 0.99) if f.echo_ms else None),
    ("CPU, us per key", lambda f: statistics.median(f.cpu_us_per_key) if f.cpu_us_per_key else None),
    ("connect to prompt p50, ms", lambda f: percentile(f.prompt_ms, 0.5)),
    ("connect to prompt p99, ms", lambda f: percentile(f.prompt_ms, 0.99)),
    ("reattach p50, ms", lambda f: percentile(f.reattach_ms, 0.5) if f.reattach_ms else None),
    ("reattach p99, ms", lambda f: percentile(f.reattach_ms, 0.99) if f.reattach_ms else None),
    ("memory, KB per idle session", lambda f: f.idle_session_bytes and f.idle_session_bytes / 1e3),
]
BY_TURNS: dict[str, Callable[[Figures], list[float]]] = {
    "throughput, MB/s": lambda f: f.megabytes_per_second,
    "CPU, s/GB": lambda f: f.cpu_seconds_per_gb,
    "CPU, us per key": lambda f: f.cpu_us_per_key,
}
"""Figures with one value a round: their ratio is the median of the rounds' ratios, since what else
runs on the machine changes from round to round more than from turn to turn."""
TARGETS = {
    "throughput, MB/s": (">=", 1.5),
    "CPU, s/GB": ("<=", 0.8),
    "connect to prompt p50, ms": ("<=", 1.0),
}
"""Ours divided by ttyd's, as we should like it. A reattach is to take at most half of ttyd's connect."""
TIMES_TTYD = {"echo p50, ms": 2.0, "CPU, us per key": 2.5}
"""Bounds, which are promised: the most that ours divided by ttyd's may be, on a machine at rest."""
AT_MOST = {"memory, KB per idle session": 12.0}
"""Bounds of ours alone."""


def table(result: dict[str, Figures]) -> list[str]:
    """Lines to print: a row a figure, a column a peer, ratios of ours to each of the others."""
    others = [name for name in result if name != "terminals"]
    lines = [f"{'':28}" + "".join(f"{name:>12}" for name in result) + "   ours / " + ", ".join(others)]
    for name, value in ROWS:
        shown = "".join(
            f"{'-' if v is None else f'{v:.2f}':>12}" for v in (value(figures) for figures in result.values())
        )
        ratios = ("-" if r is None else f"{r:.2f}" for r in (_ratio(result, name, other) for other in others))
        lines.append(f"{name:28}{shown}   {', '.join(ratios)}")
    return [*lines, *_verdicts(result), *(line for line, _ in bounds(result))]


def bounds(result: dict[str, Figures]) -> list[tuple[str, bool]]:
    """A line a bound, and whether it is kept; one that was not measured is not."""
    times = [
        (f"{name} <= {limit} x ttyd", _ratio(result, name, "ttyd"), limit)
        for name, limit in TIMES_TTYD.items()
    ]
    alone = [
        (f"{name} <= {limit}", dict(ROWS)[name](result["terminals"]), limit)
        for name, limit in AT_MOST.items()
    ]
    found = []
    for text, value, limit in times + alone:
        kept = value is not None and value <= limit
        said = "not measured" if value is None else f"{value:.2f}, {'kept' if kept else 'MISSED'}"
        found.append((f"bound: {text}: {said}", kept))
    return found


def _ratio(result: dict[str, Figures], name: str, other: str) -> float | None:
    """Ours divided by another's; ``None`` where either has no such figure."""
    if other not in result:
        return None
    ours, theirs = result["terminals"], result[other]
    if name in BY_TURNS:
        pairs = list(zip(BY_TURNS[name](ours), BY_TURNS[name](theirs), strict=False))
        return statistics.median(mine / its for mine, its in pairs) if pairs else None
    value = dict(ROWS)[name]
    mine, its = value(ours), value(theirs)
    return mine / its if mine and its else None


def _verdicts(result: dict[str, Figures]) -> list[str]:
    if "ttyd" not in result:
        return ["targets against ttyd: not measured, ttyd is not on PATH"]
    lines = []
    for name, (sign, limit) in TARGETS.items():
        ratio = _ratio(result, name, "ttyd") or 0.0
        met = ratio >= limit if sign == ">=" else ratio <= limit
        lines.append(f"target: {name} {sign} {limit} x ttyd: {ratio:.2f}, {'met' if met else 'MISSED'}")
    ratio = percentile(result["ready"].prompt_ms, 0.5) / percentile(result["ttyd"].prompt_ms, 0.5)
    met = "met" if ratio <= 1.0 else "MISSED"
    lines.append(f"the same with sessions kept ready: {ratio:.2f}, {met}")
    ratio = percentile(result["terminals"].reattach_ms, 0.5) / percentile(result["ttyd"].prompt_ms, 0.5)
    met = "met" if ratio <= 0.5 else "MISSED"
    return [*lines, f"target: reattach p50 <= 0.5 x ttyd's connect: {ratio:.2f}, {met}"]


def run(rounds: int, size: int, idle: int, *, alone: bool = False) -> dict[str, Figures]:
    """Measure everything that is to be had here. ``size``: bytes of one throughput round."""
    peers = available(idle, alone=alone)
    try:
        return uvloop.run(_measure(peers, rounds, size, idle))
    finally:
        for peer in peers:
            peer.close()


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=150_000_000, help="of one throughput round")
    parser.add_argument("--idle", type=int, default=1000, help="sessions of the memory figure")
    parser.add_argument("--alone", action="store_true", help="no peers, only the bare pseudo-terminal")
    parser.add_argument("--json", type=Path, help="write the raw figures there")
    parser.add_argument(
        "--assert", dest="strict", action="store_true", help="end with 1 where a bound is not kept"
    )
    options = parser.parse_args()
    # Started in the background, it is ignored here, and so in the peers' shells: their Ctrl-C ends nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    result = run(options.rounds, options.bytes, options.idle, alone=options.alone)
    print("\n".join(table(result)))
    if options.json:
        options.json.write_text(json.dumps({name: asdict(f) for name, f in result.items()}, indent=1))
    if options.strict and not all(kept for _, kept in bounds(result)):
        sys.exit(1)


if __name__ == "__main__":
    main()
