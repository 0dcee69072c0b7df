"""Whatever is killed, replaced or moved, when it likes: no shell, no byte and no command is lost or doubled.

The order is random and its seed is in the message of a failure; `CAMPAIGN=seed` has the same again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.support.stack import Stack, runs, until
from tests.support.typist import TALKER, Typist

PEOPLE = 6


class Campaign:
    """An environment in which things happen. What was killed is started again, as a supervisor does."""

    def __init__(self) -> None:
        talk = {"command": [sys.executable, "-c", TALKER]}
        self.stack = Stack(
            profiles={"system": talk, "claude": talk},
            ring_bytes=65536,  # so that screens are kept, by a keeper that can be killed
            stable_seconds=0,
        )
        for name in ("g1", "g2"):
            self.stack.start_generation(name)
            self.stack.start("web", name)
        self.weigh()

    def weigh(self) -> None:
        self.stack.admin("weights", weights=random.choice([{"g1": 60, "g2": 40}, {"g1": 100}, {"g2": 100}]))

    def kill_manager(self) -> None:
        self.stack.kill("manager")
        self.stack.start_manager()

    def replace_manager(self) -> None:
        assert self.stack.replace_manager() == 0

    def kill_worker(self) -> None:
        self._again("worker")

    def kill_web(self) -> None:
        self._again("web")

    def kill_keeper(self) -> None:
        if pid := self.stack.status()["screens"]["keeper"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def renew_holder(self) -> None:
        """It goes on as another build of itself, which is this one again."""
        self.stack.renew_holder_by_other_code("a copy")

    def move(self) -> None:
        to = random.choice(["g1", "g2"])
        self.stack.admin("move", to=to, share=100, batch=3, interval=0.05, deadline=20, retry_after=0.1)

    def kill_all_at_once(self) -> None:
        """As short of memory, or by somebody's hand: everything but the holder."""
        names = [name for name in self.stack.processes if name != "holder"]
        for name in names:
            self.stack.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            self.stack.processes.pop(name).wait(10)
        self.stack.start_manager()
        for name in names:
            if name != "manager":
                self.stack.start(*name.split("-"))

    def supervise(self) -> None:
        """Start again what has ended by itself: a worker that came while there was no manager, say."""
        for name, process in list(self.stack.processes.items()):
            if process.poll() is not None and name not in ("holder", "manager"):
                self.stack.start(*name.split("-"))

    def _again(self, role: str) -> None:
        generation = random.choice(["g1", "g2"])
        self.stack.kill(f"{role}-{generation}")
        self.stack.start(role, generation)

    def actions(self) -> list[Callable[[], None]]:
        often = [self.kill_manager, self.kill_worker, self.replace_manager]
        seldom = [self.kill_web, self.kill_keeper, self.renew_holder, self.move, self.weigh]
        return [*often, *often, *seldom, self.kill_all_at_once]


@pytest.fixture
def campaign() -> Iterator[Campaign]:
    campaign = Campaign()
    try:
        yield campaign
    finally:
        campaign.stack.close()


@pytest.mark.parametrize("rounds", [pytest.param(60, marks=pytest.mark.slow("sixty deaths and moves"))])
def test_nobody_loses_anything(campaign, rounds):
    seed = int(os.environ.get("CAMPAIGN", random.randrange(1 << 30)))
    random.seed(seed)
    stack = campaign.stack
    people = [Typist(stack.url("claude"), f"user-{number}") for number in range(PEOPLE)]
    until(lambda: all(one.is_on(1, 60) for one in people), "everybody at work")
    shells = {entry["id"]: entry["pid"] for entry in stack.admin("sessions")["items"]}
    happened: Counter[str] = Counter()
    for _ in range(rounds):
        act = random.choice(campaign.actions())
        happened[act.__name__] += 1
        act()
        if random.random() < 0.7:  # else the next comes while everybody is still on the way back
            more = max(one.typed for one in people) + 30
            what = f"everybody at work again, after {dict(happened)} with CAMPAIGN={seed}"

            def all_on(least: int = more) -> bool:
                campaign.supervise()
                return all(one.is_on(1, least) for one in people)

            until(all_on, what)
    assert {entry["id"]: entry["pid"] for entry in stack.admin("sessions")["items"]} == shells
    assert all(runs(pid) for pid in shells.values())
    for one in people:
        one.leave()
    print(f"CAMPAIGN={seed}: {dict(happened)}; {sum(one.typed for one in people)} lines typed")
