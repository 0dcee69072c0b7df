"""A host that is cut off from the others, for as long as networks are: what becomes of its people.

    python -m benchmarks.apart [--cuts 25 60 600] [--people 4]

Three hosts that ask each other, with the usual times. People work on the one that is cut off, and reach it;
each second somebody asks another host for a session of it, and it is written down what they are told.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from terminals.client import ClientError

from tests.support.fleet import Fleet, fleet
from tests.support.somebody import Somebody
from tests.support.stack import until

USUAL = 60.0
"""Seconds of silence after which a host is taken for lost."""


@dataclass(slots=True)
class Outcome:
    """Of one cut. Times in seconds; ``told``: when newcomers at another host were first told what."""

    cut: float
    people: int
    alive: int = 0
    numbers: int = 0
    told: dict[str, float] = field(default_factory=dict)
    back: float = 0.0
    """From the healing to a newcomer being in the shell."""


def ask(hosts: Fleet, session: str | None, seconds: float) -> set[str]:
    """Somebody comes to the host a for a session, and leaves after so long; gives what they were told."""
    said: set[str] = set()
    newcomer = hosts.stacks["a"].terminal(
        session=session, watch=True, on_event=lambda event: said.add(type(event).__name__)
    )
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and "Connected" not in said:
        newcomer.pump(left)
    newcomer.close()
    time.sleep(max(0.0, end - time.monotonic()))
    return said


def cut_off(hosts: Fleet, seconds: float, people: int) -> Outcome:
    """Cut the host b off from the others for ``seconds``."""
    there = [Somebody(hosts, "b", "b") for _ in range(people)]
    outcome = Outcome(seconds, people)
    session = there[0].session
    hosts.cut("b")
    began = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        for event in ask(hosts, session, min(1.0, left)):
            outcome.told.setdefault(event, round(time.monotonic() - began, 1))
    hosts.heal()
    healed = time.monotonic()
    until(lambda: "Connected" in ask(hosts, session, 1.0), "a newcomer being in the shell", 120)
    outcome.back = time.monotonic() - healed
    for person in there:
        try:
            outcome.numbers += person.leave()
        except (AssertionError, ClientError) as error:
            print(f"{type(error).__name__}: {error}")
        else:
            outcome.alive += 1
    for other in "ac":
        hosts.wait(other, "b", "there")
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=float, nargs="+", default=[25.0, 60.0, 600.0])
    parser.add_argument("--people", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, fleet(Path(folder), "abc", lost_seconds=USUAL) as hosts:
        for seconds in options.cuts:
            found = cut_off(hosts, seconds, options.people)
            waiting, lost = (found.told.get(name, "-") for name in ("Waiting", "HostLost"))
            print(
                f"cut off for {seconds:g} s: {found.alive} of {found.people} shells alive, {found.numbers}"
                f" lines, none missing or twice; newcomers elsewhere: asked to wait from {waiting} s on, told"
                f" of a lost host from {lost} s on, in the shell {found.back:.1f} s after the cut",
                flush=True,
            )


if __name__ == "__main__":
    main()
