"""The three figures that began this project: connect 2.4 ms, reconnect 2.6 ms, memory 7.47 MB.

python -m benchmarks.headline

They were averages over a validation run: a client of a terminal server connected, was cut and
connected again. The same here, with a blocking client on loopback:

* connect: TCP, WebSocket handshake and ``hello``, until the server's ``welcome``;
* connect with a new shell: the same and an attach, until its acknowledgement; the shell is running;
* reconnect: the same to a session that is alive, after the connection was reset;
* memory of a validation run: what the private memory of session manager and worker grew by while
  all 15 tests of ``rollout validate`` ran, what was printed into rings included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from terminals.client.link import Link
from terminals.protocol import messages

from rollout.checks.runner import Target
from rollout.checks.validate import validate
from tests.support.stack import TOKEN, Stack, until

PATIENCE = 10.0
PAUSE = 0.01
"""Seconds between two connections: people do not come back to back."""
STABLE = 2.1
"""Seconds after which losing a connection does not count towards a reconnection loop."""


@dataclass
class Figures:
    """Times in milliseconds, memory in bytes."""

    connect: list[float] = field(default_factory=list)
    new_shell: list[float] = field(default_factory=list)
    reconnect: list[float] = field(default_factory=list)
    private: dict[str, int] = field(default_factory=dict)
    """Of each process, idle, before the validation run."""
    proportional: dict[str, int] = field(default_factory=dict)
    """The same, with a share of what it shares."""
    growth: dict[str, int] = field(default_factory=dict)
    """Private bytes more after the validation run."""
    sessions: int = 0
    """Shells that the validation run started."""


class _Client:
    """A connection. With ``attach``, what that message says, it goes out right behind the hello."""

    def __init__(self, url: str, attach: dict[str, Any] | None = None) -> None:
        self.link = Link(url, PATIENCE)
        self._messages = self._receive()
        self._say("hello", versions=[1], client="headline", token=TOKEN)
        if attach is None:
            self._wait("welcome")
        else:
            self._say("attach", channel=0, **attach)
            self.attached = self._wait("attached")

    def kill(self) -> None:
        self._say("kill", channel=0)
        self.link.close()

    def _say(self, kind: str, **fields: Any) -> None:
        self.link.send(messages.encode_text(kind, **fields), text=True)

    def _receive(self) -> Iterator[bytes | str]:
        while True:
            yield from self.link.receive(PATIENCE)

    def _wait(self, kind: str) -> dict[str, Any]:
        for message in self._messages:
            if isinstance(message, str):
                fields = messages.decode_text(message.encode())
                if fields["type"] == kind:
                    return fields
                if fields["type"] == "error":
                    raise ConnectionError(str(fields["message"]))
        raise AssertionError("unreachable: the messages do not end")


def _timed(into: list[float], action: Callable[[], _Client]) -> _Client:
    began = time.perf_counter()
    client = action()
    into.append((time.perf_counter() - began) * 1000)
    time.sleep(PAUSE)
    return client


def _round(url: str, figures: Figures, count: int) -> None:
    for _ in range(count):
        _timed(figures.connect, lambda: _Client(url)).link.close()
    opened = [_timed(figures.new_shell, lambda: _Client(url, {"session": None})) for _ in range(count)]
    time.sleep(STABLE)
    for lost in opened:
        lost.link.abort()
        resume = {"output": lost.attached["output"], "epoch": lost.attached["epoch"]}
        attach = {"session": lost.attached["session"], "resume": resume}
        _timed(figures.reconnect, lambda attach=attach: _Client(url, attach)).kill()  # type: ignore[misc]


def _memory(pids: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Private and proportional bytes of each process, pages of the rings' files included."""
    private, proportional = {}, {}
    for name, pid in pids.items():
        kinds: dict[str, int] = {}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            kind, value = line.split(":")
            kinds[kind] = int(value.split()[0]) * 1024
        private[name] = kinds["Private_Clean"] + kinds["Private_Dirty"]
        proportional[name] = kinds["Pss"]
    return private, proportional


def run(rounds: int, count: int) -> Figures:
    """Measure ``rounds`` times ``count`` connections of each kind, then one validation run.

    Raises:
        RuntimeError: a validation test failed.
    """
    figures = Figures()
    stack = Stack()
    try:
        stack.start_generation("g1", weight=100)
        stack.start("web", "g1")
        until(lambda: stack.generation("g1").get("web"), "the web process")
        pids = {name.partition("-")[0]: process.pid for name, process in stack.processes.items()}
        figures.private, figures.proportional = _memory(pids)
        ports = stack.status()["listeners"]
        target = Target(
            "headline",
            "local",
            {profile: stack.url(profile) for profile in ("system", "claude")},
            f"http://127.0.0.1:{ports['web']}",
            TOKEN,
        )
        failed = [result for result in validate(target) if not result.ok]
        if failed:
            raise RuntimeError(f"validation failed: {failed[0].name}: {failed[0].detail}")
        after, _ = _memory(pids)
        figures.sessions = sum(stack.status()["shells"][kind] for kind in ("started", "found_ready"))
        figures.growth = {name: after[name] - before for name, before in figures.private.items()}
        _round(stack.url(), Figures(), 3)  # the first of anything is slower
        for _ in range(rounds):
            _round(stack.url(), figures, count)
    finally:
        stack.close()
    return figures


def table(figures: Figures) -> list[str]:
    """Lines to print."""
    lines = [f"{'':44}{'mean':>8}{'p50':>8}{'p99':>8}{'then':>8}"]
    for name, values, then in (
        ("connect, ms", figures.connect, 2.4),
        ("connect with a new shell, ms", figures.new_shell, 2.4),
        ("reconnect to a live session, ms", figures.reconnect, 2.6),
    ):
        ordered = sorted(values)
        p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
        lines.append(f"{name:44}{statistics.mean(values):8.2f}{p50:8.2f}{p99:8.2f}{then:8.2f}")
    services = {name: figures.growth[name] for name in ("manager", "worker")}
    total = sum(services.values()) / 1e6
    what = f"memory of a validation run ({figures.sessions} shells), MB"
    lines.append(f"{what:44}{total:8.2f}{'':16}{7.47:8.2f}")
    for name, growth in figures.growth.items():
        lines.append(
            f"  {name}: private {figures.private[name] / 1e6:.1f} MB,"
            f" proportional {figures.proportional[name] / 1e6:.1f} MB, grew by {growth / 1e6:.2f} MB"
        )
    return lines


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=30, help="connections of each kind in a round")
    parser.add_argument("--json", type=Path, help="write the raw figures there")
    options = parser.parse_args()
    figures = run(options.rounds, options.count)
    print("\n".join(table(figures)))
    if options.json:
        options.json.write_text(json.dumps(vars(figures), indent=1))


if __name__ == "__main__":
    main()
