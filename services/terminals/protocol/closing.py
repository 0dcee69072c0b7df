"""What a client does when a connection has ended, by the close code."""

from __future__ import annotations

from enum import StrEnum

from terminals.protocol.messages import CloseCode


class Action(StrEnum):
    """The values stand in ``docs/protocol.md`` and in ``vectors.json``."""

    RETURN = "return"
    """It was planned: come back within the time that the reason gives. No failure."""
    STOP = "stop"
    """Coming back by itself would be wrong: a person has to act."""
    BACK_OFF = "back-off"
    """It was lost: try again by backoff and breaker, not before a ``retry_after`` that was sent."""


STAY_AWAY = range(4400, 4500)
"""Our own codes, also those that are still to be invented, which say so ..."""
COME_BACK = range(4500, 4600)
"""... and those that were planned."""


def action(code: int | None) -> Action:
    """What to do after ``code``; ``None``: the connection was lost without a goodbye."""
    match code:
        case CloseCode.SERVICE_RESTART:
            return Action.RETURN
        case None | CloseCode.BREAKER_OPEN:
            return Action.BACK_OFF
        case _ if code in STAY_AWAY:
            return Action.STOP
        case _ if code in COME_BACK:
            return Action.RETURN
        case _:
            return Action.BACK_OFF
