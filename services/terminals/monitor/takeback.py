"""Taking a bad build back from the host itself, when the control machine may be off.

Only where the environment allows it (``takeback: true``), only to the generation that is kept warm for that,
and only once: what was done is left as a mark, which every ``rollout`` command asks to be adopted, and
which keeps the monitor from doing it again.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from terminals.control import packets
from terminals.control.answers import GenerationInfo, Moved, Status
from terminals.control.asking import ask, tell
from terminals.control.back import lead_back
from terminals.control.framing import BadPacket, Record, reader
from terminals.monitor.files import write_json

log = logging.getLogger("terminals.monitor")

OPERATOR = "monitor@"
LEFT_SECONDS = 86400.0
"""How long the bad one is left to be looked at, where it is not known how long the good one was to stay."""


@dataclass(frozen=True, slots=True)
class WayBack:
    """From which generation to which, each with its build. ``fence``: what the manager has seen last."""

    from_generation: str
    from_build: str
    to_generation: str
    to_build: str
    fence: int
    retire_at: float


class Mark(Record):
    """What is left on the host of a takeback; every ``rollout`` command asks for it to be adopted."""

    when: float
    operator: str
    from_generation: str
    from_build: str
    to_generation: str
    to_build: str
    fence: int
    reason: str


_read_mark = reader(Mark)


def way_back(status: Status, now: float) -> WayBack | None:
    """Where to go back to, by a manager's status; ``None`` while a shift goes on, or when it is not warm.

    Others may be warm, too: the one before it, or a bad one that is left to be looked at.
    """
    serving = [entry for entry in status.generations if entry.weight]
    if len(serving) != 1 or serving[0].weight != 100:
        return None
    bad = serving[0]
    good = _before(status, bad.name)
    # The same build may have been brought twice: what was bad of it is bad of it there, too.
    passed = {bad.name}
    while good is not None and good.build == bad.build and good.name not in passed:
        passed.add(good.name)
        good = _before(status, good.name)
    if good is None or good.name in passed or good.weight or not good.workers:
        return None
    if good.retire_at is None or good.retire_at <= now:
        return None
    return WayBack(bad.name, bad.build, good.name, good.build, status.fence, good.retire_at)


def _before(status: Status, name: str) -> GenerationInfo | None:
    return next((entry for entry in status.generations if entry.way_back_from == name), None)


def called_for(alerts: Sequence[Mapping[str, Any]], way: WayBack) -> Mapping[str, Any] | None:
    """The alert, of those that are active, for which the build that serves has to go."""
    for alert in alerts:
        # Whoever could not even attach was served by nobody: that is the build's, too; but not a check that
        # could not be made (NOT_MADE).
        if alert["severity"] == "critical" and alert["generation"] in (None, way.from_generation):
            return alert
    return None


def consider(
    manager: str, mark: Path, alerts: Sequence[Mapping[str, Any]], now: float
) -> tuple[WayBack, str] | None:
    """Take the build back when an active alert calls for it; gives from where to where, and why.

    Not when it was done before: a second time it would go to the very build that was taken back.

    Raises:
        ControlError, OSError: see :func:`take_back`.
    """
    if mark.exists():
        return _finish(manager, mark, now)
    if not any(alert["severity"] == "critical" for alert in alerts):
        return None
    way = way_back(ask(manager, packets.Status(), Status), now)
    if way is None:
        log.warning("no way back for now: a shift goes on, or nothing is kept warm for what serves")
        return None
    alert = called_for(alerts, way)
    if alert is None:
        return None
    reason = f"{alert['rule']}: {alert['text']}"
    take_back(manager, way, mark, reason=reason, now=now)
    return way, reason


def take_back(manager: str, way: WayBack, mark: Path, *, reason: str, now: float) -> Moved:
    """Lead everybody back; gives what became of the live sessions.

    The mark is left first: killed in between, the host says that it is not as the ledger believes. The
    fence is raised by one, so that a rollout that was going on elsewhere cannot act here any more.

    Raises:
        ControlError: the manager refused or is not there.
        OSError: the mark could not be left; nothing was done.
    """
    fence = way.fence + 1
    _leave(mark, way, fence, reason, now)
    return _lead(manager, way, fence, now)


def _finish(manager: str, path: Path, now: float) -> tuple[WayBack, str] | None:
    """Go on with what was interrupted after its mark: by a kill, or by a manager that did not answer."""
    mark = _own(path)
    if mark is None:
        return None
    status = ask(manager, packets.Status(), Status)
    known = {entry.name: entry for entry in status.generations}
    bad, good = known.get(mark.from_generation), known.get(mark.to_generation)
    if bad is None or good is None or not good.workers:
        return None  # it cannot be
    left_there = not bad.weight and bad.assigned and bad.retire_at is None
    if bad.weight != 100 and not left_there:
        return None  # it is done
    if status.fence > mark.fence:
        return None  # somebody else is in charge by now
    retire_at = good.retire_at or now + LEFT_SECONDS
    way = WayBack(bad.name, bad.build, good.name, good.build, status.fence, retire_at)
    _lead(manager, way, mark.fence, now)
    return way, mark.reason


def _own(path: Path) -> Mark | None:
    """The mark, if a monitor left it."""
    try:
        mark = _read_mark(path.read_bytes())
    except (OSError, BadPacket):
        return None
    return mark if mark.operator.startswith(OPERATOR) else None


def _lead(manager: str, way: WayBack, fence: int, now: float) -> Moved:
    moved = lead_back(manager, way.to_generation, fence).moved
    # Left warm, to be looked at, for as long as the other one was to be.
    after = max(0.0, way.retire_at - now)
    tell(manager, packets.Retire(generation=way.from_generation, after=after, fence=fence))
    return moved


def _leave(path: Path, way: WayBack, fence: int, reason: str, now: float) -> None:
    mark = Mark(
        when=now,
        operator=f"{OPERATOR}{socket.gethostname()}",
        from_generation=way.from_generation,
        from_build=way.from_build,
        to_generation=way.to_generation,
        to_build=way.to_build,
        fence=fence,
        reason=reason,
    )
    write_json(path, msgspec.structs.asdict(mark))
