"""Whether another session manager has come, and goes on with everything; whether another monitor has."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from terminals.control import packets
from terminals.control.answers import MonitorInfo, Sessions, Status
from terminals.control.asking import ControlError, ask
from terminals.control.holder import status_of

POLL: Final = 0.05
STEADY_SECONDS: Final = 1.0
"""It has to be the same process for so long: one that ends again and again is none."""

LOST_SECONDS: Final = 3.0
"""Shells that have had no session for so long are lost."""


class NotManaged(Exception):
    """It has not come, or has not taken everything over. The text says which, and where to look."""


def _shells(path: str) -> int:
    """How many run, as the holder has it, who alone knows for sure.

    Raises:
        NotManaged: no holder answers.
    """
    holder = str(Path(path).with_name("holder.sock"))
    try:
        return status_of(holder, timeout=5.0).shells
    except ControlError as error:
        raise NotManaged(f"the holder does not answer: {error}") from None


def until_managed(
    path: str, build: str, settings: str, timeout: float, sessions: Iterable[str] = ()
) -> Status:
    """Wait until the manager at ``path`` is of this build, with settings of this digest, and stays.

    ``sessions``: ids of those that were live before. Returns its status.

    Raises:
        NotManaged: it was not so within ``timeout`` seconds, or there are sessions that it has not
            taken over.
    """
    end = time.monotonic() + timeout
    since = (0.0, 0.0)
    complete = 0.0
    said = "it does not answer"
    while time.monotonic() < end:
        try:
            status = ask(path, packets.Status(), Status, timeout=2.0)
        except ControlError as error:
            said = str(error)
            since = (0.0, 0.0)
        else:
            manager, counts = status.manager, status.sessions
            if (manager.build, manager.settings) != (build, settings):
                said = f"build {manager.build} with settings {manager.settings} answers"
            elif since[0] != manager.started:  # in a container they all have the same pid
                said = "it has not been there for long enough"
                since = (manager.started, time.monotonic())
            elif time.monotonic() - since[1] >= STEADY_SECONDS:
                if counts.left:
                    raise NotManaged(f"it has left {counts.left} sessions with the holder; its log says why")
                ready = status.shells.ready if status.shells else 0
                more = _shells(path) - counts.live - ready
                complete = time.monotonic() if more <= 0 else complete or time.monotonic()
                if more > 0:  # or one has begun between the two answers
                    if time.monotonic() - complete > LOST_SECONDS:
                        raise NotManaged(f"it has lost {more} sessions, whose shells run")
                    time.sleep(POLL)
                    continue
                known = {entry.id for entry in ask(path, packets.Sessions(), Sessions).items}
                if lost := set(sessions) - known:
                    raise NotManaged(f"it has lost {len(lost)} sessions, {min(lost)} among them")
                return status
        time.sleep(POLL)
    raise NotManaged(
        f"no session manager of build {build} with settings {settings} after {timeout:g} s: {said}"
    )


def until_monitored(path: str, build: str, settings: str, timeout: float) -> MonitorInfo:
    """Wait until a monitor of this build, with settings of this digest, has told the manager at ``path``.

    Returns what it says of itself.

    Raises:
        NotManaged: none had within ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    said = "none has told"
    while True:
        try:
            found = ask(path, packets.Status(), Status, timeout=2.0).monitor
        except ControlError as error:
            said = str(error)
        else:
            if found is not None and (found.build, found.settings) == (build, settings):
                return found
            if found is not None:
                said = f"build {found.build} with settings {found.settings} has told"
        if time.monotonic() >= end:
            raise NotManaged(
                f"no monitor of build {build} with settings {settings} after {timeout:g} s: {said};"
                " its log says why"
            )
        time.sleep(POLL)
