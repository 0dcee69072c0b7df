"""Session managers that do not answer for a moment: killed, or being replaced, they are back within seconds.

What is planned or judged without one is another thing: a first build, a way back to what has to be started
again, a verdict without data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from rollout.engine import Engine, HostFacts

SILENT_SECONDS: Final = 5.0
"""So long they are given to be back."""
SILENT_POLL: Final = 0.25

T = TypeVar("T")
Statuses = dict[str, dict[str, Any] | None]


def is_silent(host: HostFacts) -> bool:
    """Whether shells may live on a host of which no session manager answers."""
    return host.status is None and host.held


def facts_of(engine: Engine) -> list[HostFacts]:
    """What is on the hosts, with all session managers that are back in time.

    Raises:
        EngineError: a host is not reached.
    """
    return _asked(engine.facts, lambda facts: not any(map(is_silent, facts)))


def statuses_of(engine: Engine, hosts: Iterable[str]) -> Statuses:
    """What the session managers say, all those of ``hosts`` if they are back in time."""
    wanted = list(hosts)
    return _asked(engine.status, lambda found: all(found[host] is not None for host in wanted))


def live_in(statuses: Mapping[str, Mapping[str, Any] | None]) -> tuple[int, list[str]]:
    """How many live sessions there are, and the hosts of which nobody says how many they have."""
    live = sum(int(status["sessions"]["live"]) for status in statuses.values() if status is not None)
    return live, [host for host, status in statuses.items() if status is None]


def _asked(ask: Callable[[], T], enough: Callable[[T], bool]) -> T:
    end = time.monotonic() + SILENT_SECONDS
    while not enough(found := ask()) and time.monotonic() < end:
        time.sleep(SILENT_POLL)
    return found
